"""Plots of losses and mean weights over epochs, from the tables of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from pyarrow import compute
from pyarrow import csv

from btw_jax.reports import study as study_lib
from btw_jax.reports import svg


def draw_curves(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws the training loss, the validation loss, then weights by method."""
  losses = [_draw_losses(problem, split) for split in ("train", "valid")]
  return losses + [_draw_weights(m) for m in weighted_methods(problem)]


def distinct_methods(problem: study_lib.Problem) -> list[study_lib.Method]:
  """Returns the methods of a problem without repeated settings.

  A method that chooses its setting, such as auto, may equal another method.
  """
  methods = {}
  for method in problem.methods.values():
    choice = method.row["choice"]
    key = (method.run.path, choice["variant"], choice["strength"])
    methods.setdefault(key, method)
  return list(methods.values())


def weighted_methods(problem: study_lib.Problem) -> list[study_lib.Method]:
  """Returns the distinct methods whose weights vary in training."""
  return [
    method
    for method in distinct_methods(problem)
    if method.row["choice"]["variant"] not in (study_lib.BASE, study_lib.GATE)
  ]


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
  keys = ["run", "strength", "scale", "seed", "epoch", *where]
  table = csv.read_csv(
    method.run.path / file,
    convert_options=csv.ConvertOptions(
      include_columns=list(dict.fromkeys([*keys, *columns]))
    ),
  )
  wanted = {
    "run": choice["variant"],
    "strength": choice["strength"],
    "scale": choice["scale"],
    **where,
  }
  for name, value in wanted.items():
    table = table.filter(compute.equal(table[name], value))
  table = table.sort_by([("epoch", "ascending"), ("seed", "ascending")])
  num_seeds = len(method.run.results["seeds"])
  return {c: table[c].to_numpy().reshape(-1, num_seeds) for c in columns}


def _draw_losses(problem, split):
  """Draws the loss of every method over epochs."""

  def plot(ax):
    for number, method in enumerate(problem.methods.values()):
      stage = study_lib.stage(method.row["choice"]["variant"])
      where = {"stage": stage, "split": split}
      loss = read_table(method, "metrics.csv", ["loss"], **where)["loss"]
      _plot_band(ax, loss, method.name, f"C{number}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss, nats")
    svg.legend(ax)

  title = {"train": "training", "valid": "validation"}[split]
  return svg.draw(f"loss_{split}", f"{title} loss, mean ± std over seeds", plot)


def _draw_weights(method):
  """Draws the mean weight of every modality over epochs."""
  modalities = method.run.results["modalities"]

  def plot(ax):
    values = read_table(method, "weights.csv", modalities)
    for number, modality in enumerate(modalities):
      _plot_band(ax, values[modality], modality, f"C{number}")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean weight")
    svg.legend(ax)

  title = f"{method.name}: weights, mean ± std over seeds"
  return svg.draw(f"weights_{method.name}", title, plot)


def _plot_band(ax, values, label, color):
  """Plots the mean ± standard deviation over seeds of values `[epochs, S]`."""
  epochs = np.arange(1, len(values) + 1)
  mean, std = values.mean(axis=1), values.std(axis=1)
  ax.plot(epochs, mean, label=label, color=color, linewidth=1.2)
  ax.fill_between(epochs, mean - std, mean + std, color=color, alpha=0.2, lw=0)
