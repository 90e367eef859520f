"""Tables of interactions in language models, in bits."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from btw_jax.pipeline.language import interactions
from btw_jax.pipeline.language import truth as truth_lib

ATOMS = ("R", "U1", "U2", "S")


def tables(measured: interactions.Interactions) -> dict[str, list]:
  """Returns name -> rows: "grid", "masked" and, with open tasks, "layers"."""
  truth = measured.truth
  rows = {"masked": _by_task(measured.masked, truth)}
  if measured.grid:
    rows["grid"] = _by_task(measured.grid, truth)
    rows["layers"] = _by_layer(measured.grid, truth)
  return rows


def to_json(measured: interactions.Interactions) -> dict[str, Any]:
  """Returns all numbers, "grid" or "masked" -> task -> bits of every seed."""
  return {
    name: {
      task: {
        "sources": str(truth_lib.sources(task)),
        "truth": measured.truth[task].tolist(),
        **{
          field: x.tolist() if isinstance(x, np.ndarray) else x
          for field, x in atoms._asdict().items()
        },
      }
      for task, atoms in tasks.items()
    }
    for name, tasks in (("grid", measured.grid), ("masked", measured.masked))
  }


def bars(
  measured: interactions.Interactions,
) -> dict[str, dict[str, np.ndarray]]:
  """Returns label -> "grid", "masked" or "truth" -> mean bits `[4]`."""
  labelled = {}
  for task, atoms in measured.masked.items():
    kinds = {"masked": atoms.bits.mean(axis=0), "truth": measured.truth[task]}
    if task in measured.grid:
      kinds = {"grid": measured.grid[task].bits.mean(axis=0), **kinds}
    labelled[f"{task}: {truth_lib.sources(task)}"] = kinds
  return labelled


def profiles(
  measured: interactions.Interactions,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Returns label -> mean bits `[L + 1, 4]` of every layer, and the truth."""
  return {
    f"{task}\n{truth_lib.sources(task)}": (
      atoms.layers.mean(axis=0),
      measured.truth[task],
    )
    for task, atoms in measured.grid.items()
  }


def _by_task(
  measured: Mapping[str, interactions.TaskAtoms], truth: Mapping
) -> list[dict[str, str]]:
  """Returns a row per task: each atom with its interval, and the truth."""
  rows = []
  for task, atoms in measured.items():
    row = {"task": task, "sources": str(truth_lib.sources(task))}
    means = atoms.bits.mean(axis=0)
    for number, atom in enumerate(ATOMS):
      ends = " to ".join(map(_number, atoms.intervals[number]))
      row[atom] = f"{_number(means[number])} ({ends})"
      row[f"{atom} true"] = _number(truth[task][number])
    row["largest error"] = _number(np.abs(means - truth[task]).max())
    if atoms.moved is not None:
      row["P(Y) moved"] = _number(atoms.moved)
    rows.append(row)
  return rows


def _by_layer(
  measured: Mapping[str, interactions.TaskAtoms], truth: Mapping
) -> list[dict[str, str]]:
  """Returns a row per task and atom, with a column for each layer."""
  rows = []
  for task, atoms in measured.items():
    means = atoms.layers.mean(axis=0)
    for number, atom in enumerate(ATOMS):
      row = {"task": task, "atom": atom}
      for layer, bits in enumerate(means[:, number]):
        row[f"layer {layer}"] = _number(bits)
      rows.append(row | {"true": _number(truth[task][number])})
  return rows


def _number(value):
  """Formats a number; one that is rounded to 0 has no sign."""
  return f"{value:.2f}".replace("-0.00", "0.00")
