"""A profile over audits: interactions against the accuracy that is lost.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959, reports that synergy goes with the accuracy
lost without vision, over models and tasks, and text-unique information against
it.
"""

from collections.abc import Mapping, Sequence
import csv
import io
import json
import pathlib
from typing import Any

import numpy as np
from scipy import stats

from btw_jax import errors
from btw_jax.pipeline import files
from btw_jax.pipeline.audit import interactions
from btw_jax.pipeline.audit import run
from btw_jax.reports.audit import profile_plot
from btw_jax.reports.audit import profile_tables

# The least number of points that a rank correlation is given for.
_LEAST_POINTS = 4
_NUM_RESAMPLES = 9999


def read(folders: Sequence[str]) -> list[dict[str, Any]]:
  """Reads the interactions of audits.

  Args:
    folders: of finished audits; their names tell them apart.

  Returns:
    A point per audit, or per task of an audit that has tasks: `audit`, `task`,
    the atoms in nats, and `lost_first` and `lost_second`, the accuracy that is
    lost without the first and without the second source.

  Raises:
    InputError: naming the first folder that holds no audit, or an audit whose
      sources are others, or that has no interactions or no labels.
  """
  if len(set(folders)) < len(folders):
    raise errors.InputError(
      f"--audits={','.join(folders)}: has a folder twice: name each once."
    )
  points, sources = [], None
  names = _names(folders)
  for folder, name in zip(folders, names, strict=True):
    rows = _interactions(folder)
    named = rows[0]["first"], rows[0]["second"]
    sources = sources or named
    if named == sources[::-1]:
      rows = [_swap(row) for row in rows]
    elif named != sources:
      raise errors.InputError(
        f"{folder}: has the sources {' and '.join(named)}, but {folders[0]} has"
        f" {' and '.join(sources)}: name audits of the same sources."
      )
    points += [_point(folder, name, row) for row in rows]
  return points


def _names(folders):
  """Returns the last parts of paths, or the whole ones if two are alike."""
  names = [pathlib.Path(folder).resolve().name for folder in folders]
  return names if len(set(names)) == len(names) else list(folders)


def _interactions(folder):
  """Returns the rows of an audit's first pair: its tasks, or the whole set."""
  path = pathlib.Path(folder, run.RESULTS)
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = content["interactions"]
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise errors.InputError(
      f"{path}: is no result of an audit: name the folder that btw-jax audit"
      " left."
    ) from error
  rows = [row for row in rows if row["atoms"] is not None]
  if not rows:
    raise errors.InputError(
      f"{path}: has no interactions: audit three conditions, such as both,"
      " vision and text."
    )
  pair = [rows[0][name] for name in ("first", "second", "control")]
  rows = [
    r for r in rows if [r[n] for n in ("first", "second", "control")] == pair
  ]
  return [row for row in rows if row["task"]] or rows


def _swap(row):
  """Returns a row whose first source is the second one, and the reverse."""
  atoms, accuracy = row["atoms"], row["accuracy"]
  swapped = {"first": row["second"], "second": row["first"]}
  swapped["atoms"] = atoms | {
    "unique1": atoms["unique2"], "unique2": atoms["unique1"],
  }  # fmt: skip
  if accuracy is not None:
    swapped["accuracy"] = accuracy | {
      "first": accuracy["second"], "second": accuracy["first"],
    }  # fmt: skip
  return row | swapped


def _point(folder, name, row):
  accuracy = row["accuracy"]
  if accuracy is None:
    raise errors.InputError(
      f"{folder}: has no accuracy: audit predictions with labels."
    )
  return {
    "audit": name,
    "task": row["task"],
    "first": row["first"],
    "second": row["second"],
    "num_questions": row["num_answered"],
    **{atom: row["atoms"][atom]["mean"] for atom in interactions.ATOMS},
    "lost_first": accuracy["both"] - accuracy["second"],
    "lost_second": accuracy["both"] - accuracy["first"],
  }


def correlate(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Computes Spearman's correlation of each atom with the accuracy lost.

  Returns:
    A row per atom and source: `rho`, and the two-sided p-value of a permutation
    test; none with fewer than four points.
  """
  if len(points) < _LEAST_POINTS:
    return []
  rows = []
  for lost in ("lost_first", "lost_second"):
    losses = np.array([point[lost] for point in points])
    for atom in interactions.ATOMS:
      values = np.array([point[atom] for point in points])
      if np.ptp(values) == 0 or np.ptp(losses) == 0:
        continue
      test = stats.permutation_test(
        (values,),
        lambda x, losses=losses: stats.spearmanr(x, losses).statistic,
        permutation_type="pairings",
        n_resamples=_NUM_RESAMPLES,
        rng=np.random.default_rng(0),
      )
      rows.append(
        {
          "atom": atom,
          "lost": lost,
          "rho": float(test.statistic),
          "p_value": float(test.pvalue),
        }
      )
  return rows


def write(folders: Sequence[str], output: str) -> str:
  """Writes profile.json, profile.csv, profile.md and profile.png.

  Returns the text of profile.md.
  """
  points = read(folders)
  correlations = correlate(points)
  folder = pathlib.Path(output)
  text = profile_tables.write(points, correlations)
  table = io.StringIO()
  writer = csv.DictWriter(table, list(points[0]))
  writer.writeheader()
  writer.writerows(points)
  files.write_text(folder / "profile.csv", table.getvalue())
  files.write_text(folder / "profile.md", text)
  files.write(
    folder / "profile.png",
    lambda path: profile_plot.picture(points, correlations, path),
  )
  files.write_json(
    folder / "profile.json", {"points": points, "correlations": correlations}
  )
  return text
