"""How weights and losses went, from the tables of a run."""

from collections.abc import Mapping, Sequence

import numpy as np
from pyarrow import compute
from pyarrow import csv

from btw_jax.reports import study as study_lib
from btw_jax.reports import svg


def of_problem(problem: study_lib.Problem) -> list[svg.Panel]:
  """Learning curves of all methods, and weights of those that weigh.

  Args:
    problem: of a study.

  Returns:
    Panels.
  """
  found = [_losses(problem, split) for split in ("train", "valid")]
  return found + [_weights(m) for m in weighing(problem)]


def distinct(problem: study_lib.Problem) -> list[study_lib.Method]:
  """Methods without those that chose what another is.

  Args:
    problem: of a study.

  Returns:
    The first of each choice.
  """
  found = {}
  for method in problem.methods.values():
    choice = method.row["choice"]
    key = (method.cell.path, choice["variant"], choice["strength"])
    found.setdefault(key, method)
  return list(found.values())


def weighing(problem: study_lib.Problem) -> list[study_lib.Method]:
  """Those of them that weigh.

  Args:
    problem: of a study.

  Returns:
    Methods with weights of their own.
  """
  return [
    method
    for method in distinct(problem)
    if method.row["choice"]["variant"] != study_lib.BASE
  ]


def read(
  method: study_lib.Method, file: str, columns: Sequence[str], **where: str
) -> Mapping[str, np.ndarray]:
  """Of a run's table, the rows of what a method chose, by epoch and seed.

  Args:
    method: of the run.
    file: name of the table.
    columns: to read.
    **where: column -> the value that rows must have.

  Returns:
    Column -> `[epochs, S]`.
  """
  choice = method.row["choice"]
  keys = ["run", "strength", "scale", "seed", "epoch", *where]
  table = csv.read_csv(
    method.cell.path / file,
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
  num_seeds = len(method.cell.results["seeds"])
  return {c: table[c].to_numpy().reshape(-1, num_seeds) for c in columns}


def _losses(problem, split):
  """The loss of every method over epochs."""

  def plot(ax):
    for number, method in enumerate(problem.methods.values()):
      where = {"stage": "multimodal", "split": split}
      loss = read(method, "metrics.csv", ["loss"], **where)["loss"]
      _band(ax, loss, method.name, f"C{number}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss, nats")
    svg.legend(ax)

  name = f"loss_{split}"
  return svg.draw(name, f"{split} loss, mean ± std of seeds", plot)


def _weights(method):
  """The mean weight of every modality over epochs."""
  modalities = method.cell.results["modalities"]

  def plot(ax):
    values = read(method, "weights.csv", modalities)
    for number, modality in enumerate(modalities):
      _band(ax, values[modality], modality, f"C{number}")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("epoch")
    ax.set_ylabel("mean weight")
    svg.legend(ax)

  title = f"{method.name}: weights, mean ± std of seeds"
  return svg.draw(f"weights_{method.name}", title, plot)


def _band(ax, values, label, color):
  """A mean over seeds with its spread, `[epochs, S]`."""
  epochs = np.arange(1, len(values) + 1)
  mean, std = values.mean(axis=1), values.std(axis=1)
  ax.plot(epochs, mean, label=label, color=color, linewidth=1.2)
  ax.fill_between(epochs, mean - std, mean + std, color=color, alpha=0.2, lw=0)
