"""Plots of losses and mean weights over epochs, from the tables of a run."""

from collections.abc import Iterable, Mapping, Sequence
import functools
import itertools
from typing import Any

from matplotlib import axes as axes_lib
from matplotlib import ticker
import numpy as np
import pyarrow
from pyarrow import compute
from pyarrow import csv

from btw_jax import errors
from btw_jax.reports import palette
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg

SPLITS = {"train": "training", "valid": "validation"}
# A line has about this number of markers, whatever its number of epochs.
_NUM_MARKERS = 6


def draw_losses(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws the training loss and the validation loss of all methods.

  All plots share their scale. Each pair shows as many methods as `parts` lets.
  """
  split_parts = parts(distinct_methods(problem.methods.values()))

  def plot(methods, split, ax):
    plot_losses(ax, methods, split)
    svg.legend(ax)

  losses = [
    svg.Drawing(
      f"loss_{split}{suffix(number, split_parts, '_{0}')}",
      f"{name} loss{suffix(number, split_parts)}, mean ± std over seeds",
      functools.partial(plot, methods, split),
    )
    for number, methods in enumerate(split_parts, 1)
    for split, name in SPLITS.items()
  ]
  return svg.draw(losses, share="y")


def draw_weights(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws the weights over epochs by method, on one scale."""
  weights = [
    svg.Drawing(
      f"weights_{method.name}",
      f"{label}: weights, mean ± std over seeds",
      lambda ax, method=method: (plot_weights(ax, method), svg.legend(ax)),
    )
    for label, method in logged_methods(problem.methods.values()).items()
  ]
  return svg.draw(weights, share="y")


def parts(
  methods: Mapping[str, study_lib.Method],
) -> list[Mapping[str, study_lib.Method]]:
  """Splits methods, by label, into parts whose lines can be told apart.

  The first method, which all others are compared with, is in each part.
  """
  (first, base), *others = methods.items()
  most = len(palette.LIGHT.series) - 1
  number = max(1, -(-len(others) // most))
  bounds = np.linspace(0, len(others), number + 1).round().astype(int)
  return [
    {first: base, **dict(others[start:end])}
    for start, end in itertools.pairwise(bounds)
  ]


def suffix(number: int, parts: Sequence, style: str = " ({0} of {1})") -> str:
  """Numbers a part from 1, as the end of a title; empty for the only one."""
  return style.format(number, len(parts)) if len(parts) > 1 else ""


def distinct_methods(
  methods: Iterable[study_lib.Method],
) -> dict[str, study_lib.Method]:
  """Joins the methods that are the same model.

  A method that chooses its setting, such as auto, may equal another method.

  Returns:
    Label -> the first of the methods that are the same model. The label names
    all of them: "uniform, gate, auto".
  """
  joined = {}
  for method in methods:
    choice = method.row["choice"]
    key = (
      method.run.path,
      study_lib.stage(choice),
      study_lib.run_name(choice),
      choice["strength"],
    )
    joined.setdefault(key, []).append(method)
  return {", ".join(m.name for m in same): same[0] for same in joined.values()}


def weighted_methods(
  methods: Iterable[study_lib.Method],
) -> dict[str, study_lib.Method]:
  """Returns the distinct methods whose weights vary in training, by label."""
  return {
    label: method
    for label, method in distinct_methods(methods).items()
    if method.choice["variant"] not in (study_lib.BASE, study_lib.GATE)
  }


def logged_methods(
  methods: Iterable[study_lib.Method],
) -> dict[str, study_lib.Method]:
  """Returns the weighted methods whose weights `weights.csv` holds.

  It has no weights of models that are trained with a balancing method.
  """
  return {
    label: method
    for label, method in weighted_methods(methods).items()
    if not method.balance
  }


def read_table(
  method: study_lib.Method, file: str, columns: Sequence[str], **where: str
) -> Mapping[str, np.ndarray]:
  """Reads the rows of a method's chosen setting from a table of its run.

  Args:
    method: the method.
    file: name of the table, such as "metrics.csv".
    columns: the columns to read.
    **where: column -> the value that rows must have.

  Returns:
    Column -> `[epochs, S]`.
  """
  choice = method.row["choice"]
  setting = {
    "run": study_lib.run_name(choice),
    "strength": choice["strength"],
    "scale": choice["scale"],
  }
  return read_rows(method.run, file, columns, setting | where)


def read_rows(
  run: study_lib.RunFiles,
  file: str,
  columns: Sequence[str],
  where: Mapping[str, Any],
) -> Mapping[str, np.ndarray]:
  """Reads the rows of one setting from a table of a run.

  Args:
    run: the run.
    file: name of the table, such as "metrics.csv".
    columns: the columns to read.
    where: column -> the value that rows must have.

  Returns:
    Column -> `[epochs, S]`.

  Raises:
    InputError: if the table is damaged.
  """
  types = {name: _cell_type(value) for name, value in where.items()}
  types |= {name: pyarrow.int64() for name in ("seed", "epoch")}
  types |= dict.fromkeys(columns, pyarrow.float64())
  num_seeds = len(run.results["seeds"])
  try:
    table = csv.read_csv(
      run.path / file,
      convert_options=csv.ConvertOptions(
        include_columns=list(types), column_types=types
      ),
    )
    for name, value in where.items():
      table = table.filter(compute.equal(table[name], value))
    table = table.sort_by([("epoch", "ascending"), ("seed", "ascending")])
    return {c: table[c].to_numpy().reshape(-1, num_seeds) for c in columns}
  except (OSError, pyarrow.ArrowException, ValueError) as error:
    raise errors.InputError(
      f"{run.path / file}: cannot be read ({str(error).splitlines()[0]}): the"
      " file is damaged: train again for its curves."
    ) from error


def _cell_type(value):
  is_number = isinstance(value, int | float)
  return pyarrow.float64() if is_number else pyarrow.string()


def plot_losses(
  ax: axes_lib.Axes, methods: Mapping[str, study_lib.Method], split: str
) -> None:
  """Plots the loss of every method, by label, over epochs."""
  for number, (label, method) in enumerate(methods.items()):
    stage = study_lib.stage(method.choice)
    where = {"stage": stage, "split": split}
    loss = read_table(method, "metrics.csv", ["loss"], **where)["loss"]
    plot_band(ax, loss, label, number)
  label_axes(ax, "loss, nats")


def plot_weights(ax: axes_lib.Axes, method: study_lib.Method) -> None:
  """Plots the mean weight of every modality over epochs."""
  modalities = method.run.results["modalities"]
  values = read_table(method, "weights.csv", modalities)
  for number, modality in enumerate(modalities):
    plot_band(ax, values[modality], modality, number)
  ax.set_ylim(bottom=0)
  label_axes(ax, "mean weight")


def label_axes(ax: axes_lib.Axes, quantity: str) -> None:
  """Labels the axes of a quantity over epochs, which are whole numbers."""
  ax.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
  ax.set_xlabel("epoch")
  ax.set_ylabel(quantity)


def plot_band(
  ax: axes_lib.Axes, values: np.ndarray, label: str, number: int
) -> None:
  """Plots the mean ± standard deviation over seeds of values `[epochs, S]`.

  `number` is that of the series, which chooses its style.
  """
  epochs = np.arange(1, len(values) + 1)
  mean, std = values.mean(axis=1), values.std(axis=1)
  style = palette.line(number)
  # The markers of neighbouring lines stand at different epochs.
  step = max(1, len(values) // _NUM_MARKERS)
  first = 3 * number % step
  ax.plot(
    epochs, mean, label=label, linewidth=1.4, markevery=(first, step),
    **style,
  )  # fmt: skip
  ax.fill_between(
    epochs, mean - std, mean + std, color=style["color"], alpha=0.15, lw=0
  )
