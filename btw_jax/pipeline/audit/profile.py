"""A profile over audits: interactions against the accuracy that is lost.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959, reports that synergy goes with the accuracy
lost without vision, over models and tasks, and text-unique information against
it.
"""

from collections.abc import Mapping, Sequence
import pathlib
from typing import Any

import numpy as np
from scipy import stats

from btw_jax import errors
from btw_jax.pipeline import files
from btw_jax.pipeline.audit import interactions
from btw_jax.pipeline.audit import run
from btw_jax.reports import csv_text
from btw_jax.reports.audit import profile_plot
from btw_jax.reports.audit import profile_tables

# The least number of points that a rank correlation is given for.
_LEAST_POINTS = 4
_NUM_RESAMPLES = 9999


def read(
  folders: Sequence[str], sources: Sequence[str] = ()
) -> list[dict[str, Any]]:
  """Reads the interactions of audits.

  Args:
    folders: of finished audits; their names tell them apart.
    sources: names of the two sources; by default, the first pair that all
      audits have.

  Returns:
    A point per audit, or per task of an audit that has tasks: `audit`, `task`,
    the atoms in nats, and `lost_first` and `lost_second`, the accuracy that is
    lost without the first and without the second source.

  Raises:
    InputError: naming the first folder that holds no audit, or an audit that
      lacks the sources, interactions or labels.
  """
  resolved = [pathlib.Path(folder).resolve() for folder in folders]
  if not folders or len(set(resolved)) < len(resolved):
    problem = "has a folder twice" if folders else "is empty"
    raise errors.InputError(
      f"--audits={','.join(folders)}: {problem}: name each audit once."
    )
  audits = [_interactions(folder) for folder in folders]
  key = _choose_pair(folders, audits, sources)
  points = []
  for folder, name, rows in zip(folders, _names(folders), audits, strict=True):
    rows = [_turn(row, key) for row in rows if _pair(row) == _unordered(key)]
    points += [_point(folder, name, r) for r in rows if r["task"]] or [
      _point(folder, name, row) for row in rows
    ]
  return points


def _choose_pair(folders, audits, sources):
  """Returns the first source, the second and the control to compare."""
  keys = [(r["first"], r["second"], r["control"]) for r in audits[0]]
  if sources:
    if len(sources) != 2:
      raise errors.InputError(
        f"--sources={','.join(sources)}: name two sources."
      )
    keys = [k for k in keys if set(k[:2]) == set(sources)]
    keys = [(*sources, control) for _, _, control in keys]
  for key in keys:
    if all(
      any(_pair(row) == _unordered(key) for row in rows) for rows in audits
    ):
      return key
  pairs = [
    f"{folder} has {', '.join(sorted({_name_pair(row) for row in rows}))}"
    for folder, rows in zip(folders, audits, strict=True)
  ]
  wanted = (
    f"the sources {' and '.join(sources)}" if sources else "the same pair"
  )
  raise errors.InputError(
    f"--audits: not all have {wanted}: {'; '.join(pairs)}: name audits of the"
    " same sources."
  )


def _name_pair(row):
  given = f" given {row['control']}" if row["control"] else ""
  return f"{row['first']} and {row['second']}{given}"


def _pair(row):
  return _unordered((row["first"], row["second"], row["control"]))


def _unordered(key):
  return frozenset(key[:2]), key[2]


def _turn(row, key):
  """Returns a row whose first source is that of the key."""
  return row if row["first"] == key[0] else _swap(row)


def _names(folders):
  """Returns the last parts of paths, or the whole ones if two are alike."""
  names = [pathlib.Path(folder).resolve().name for folder in folders]
  return names if len(set(names)) == len(names) else list(folders)


def _interactions(folder):
  """Returns the rows of an audit that have atoms."""
  path = pathlib.Path(folder, run.RESULTS)
  content = files.read_json(path, "name the folder that btw-jax audit left")
  try:
    rows = [row for row in content["interactions"] if row["atoms"] is not None]
  except (KeyError, TypeError) as error:
    raise errors.InputError(
      f"{path}: is no result of an audit: name the folder that btw-jax audit"
      " left."
    ) from error
  if not rows:
    raise errors.InputError(
      f"{path}: has no interactions: audit three conditions, such as both,"
      " vision and text."
    )
  return rows


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


def write(
  folders: Sequence[str], output: str, sources: Sequence[str] = ()
) -> str:
  """Writes profile.json, profile.csv, profile.md and profile.png.

  Returns the text of profile.md.
  """
  points = read(folders, sources)
  correlations = correlate(points)
  folder = pathlib.Path(output)
  text = profile_tables.write(points, correlations)
  table = csv_text.write(list(points[0]), points)
  files.write_text(folder / "profile.csv", table)
  files.write_text(folder / "profile.md", text)
  files.write(
    folder / "profile.png",
    lambda path: profile_plot.picture(points, correlations, path),
  )
  files.write_json(
    folder / "profile.json", {"points": points, "correlations": correlations}
  )
  return text
