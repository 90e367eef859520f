"""The rows of the interactions (PID) of an audit, and their names."""

from collections.abc import Iterator, Mapping, Sequence
import math
from typing import Any, NamedTuple

from btw_jax.reports import tables

ATOMS = {
  "redundant": "either source (R)",
  "unique1": "first alone (U1)",
  "unique2": "second alone (U2)",
  "synergistic": "only both (S)",
}
# Names of the results with the scores as read, and with cut-off lists of token
# scores that hold all the probability they could.
AS_READ, AT_LIMIT = "as read", "at their limit"


class Group(NamedTuple):
  """Decompositions to show together.

  Attributes:
    sources: the pair of sources, if all rows have the same.
    rows: rows of audit.json, all with atoms.
  """

  sources: str
  rows: Sequence[Mapping[str, Any]]


def name_sources(row: Mapping[str, Any]) -> str:
  """Names the two sources of a row, and what both of its passes show."""
  text = f"{row['first']} and {row['second']}"
  return f"{text}, given {row['control']}" if row["control"] else text


def name_task(row: Mapping[str, Any]) -> str:
  """Names the task of a row; the row of all questions has none."""
  return row["task"] or "all"


def solved(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
  """Returns the rows that have atoms."""
  return [row for row in content["interactions"] if row["atoms"] is not None]


def group(content: Mapping[str, Any]) -> list[Group]:
  """Groups rows by their sources, or puts all in one group without tasks."""
  by_sources: dict[str, list] = {}
  for row in solved(content):
    by_sources.setdefault(name_sources(row), []).append(row)
  rows = solved(content)
  if not any(row["task"] for row in rows):
    sources = next(iter(by_sources)) if len(rows) == 1 else ""
    return [Group(sources, rows)] if rows else []
  return [Group(*item) for item in by_sources.items()]


def name_atoms(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
  """Returns atom -> heading, with the names of sources that all rows share."""
  names = {(row["first"], row["second"]) for row in rows}
  if len(names) > 1:
    return dict(ATOMS)
  first, second = names.pop()
  unique = {"unique1": f"{first} alone (U1)", "unique2": f"{second} alone (U2)"}
  return ATOMS | unique


def versions(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yields `AS_READ` and the atoms of a row, and those `AT_LIMIT` if any."""
  yield AS_READ, row["atoms"]
  if row.get("at_ceiling"):
    yield AT_LIMIT, row["at_ceiling"]


def format_gap(gap: float) -> str:
  """Formats a bound with one digit, rounded up: 0.00053 is "6e-04"."""
  if gap <= 0:
    return "0"
  unit = 10.0 ** math.floor(math.log10(gap))
  # 5e-4 divided by its unit is a little more than 5.
  return f"{math.ceil(gap / unit - 1e-6) * unit:.0e}"


def largest_gap(rows: Sequence[Mapping[str, Any]]) -> float:
  """Returns the largest numerical error of an atom, in nats."""
  # A gap below 0 is rounding of an exact solution.
  return max(max(row["gap"], 0.0) for row in rows)


def make_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
  """Returns the rows of the table, heading -> cell."""
  rows = solved(content)
  has_tasks = any(row["task"] for row in rows)
  has_limits = any(row.get("at_ceiling") for row in rows)
  shows_sources = not has_tasks or len({name_sources(r) for r in rows}) > 1
  made = []
  for row in rows:
    for version, atoms in versions(row):
      cells = {}
      if has_tasks:
        cells["task"] = name_task(row)
      if shows_sources:
        cells["sources"] = name_sources(row)
      if has_limits:
        cells["token lists"] = version
      cells["questions"] = f"{row['num_answered']:,}"
      for atom, heading in name_atoms(rows).items():
        cells[heading] = _format(atoms[atom])
      spreads = [atom["spread"] for atom in atoms.values()]
      if row["kind"] == "probabilities" and None not in spreads:
        cells["spread"] = f"{max(spreads):.3f}"
      if distances := row.get("distance"):
        largest = max(d["total_variation"] for d in distances.values())
        cells["distance"] = f"{largest:.3f}"
      made.append(cells)
  return made


def _format(atom):
  """Formats the mean of an atom, with its interval or its spread."""
  # Rounding first and adding 0 turns −0 into 0.
  text = f"{round(atom['mean'], 3) + 0.0:.3f}"
  if atom.get("interval"):
    return f"{text} ({tables.interval(atom['interval'], 1, 3)})"
  if atom["spread"] is not None:
    text += f" ± {atom['spread']:.3f}"
  return text


def limits(atom: Mapping[str, Any]) -> tuple[float, float]:
  """Returns the ends of the interval of an atom, or its mean ± its spread."""
  if atom.get("interval"):
    return tuple(atom["interval"])
  spread = atom["spread"] or 0.0
  return atom["mean"] - spread, atom["mean"] + spread


def explain(content: Mapping[str, Any]) -> str:
  """Returns the note of the table."""
  rows = solved(content)
  kinds = {row["kind"] for row in rows}
  parts = ["The information about the decision, in nats."]
  if "probabilities" in kinds:
    parts.append("Brackets hold 95 % bootstrap intervals over questions.")
  if any(row.get("num_batches", 1) > 1 for row in rows):
    parts.append(
      "The questions are decomposed in batches that are alike; spread is the"
      " largest standard deviation of a value over batches. A batch knows less"
      " than the whole set: unique information comes out too large, synergy and"
      " redundancy too small. Batches of twice the size halve this error."
    )
  if "answers" in kinds:
    parts.append(
      "Where a file has no probabilities, the sources are the answers that the"
      " model gives with one source. Information that these answers do not show"
      " is not counted. What chance alone gives is subtracted: the mean over"
      " shuffled answers; ± is the standard deviation over shuffles."
    )
  parts.append(
    "A value can be negative, because no value is clipped. The numerical error"
    f" (gap) of a value is at most {format_gap(largest_gap(rows))} nats."
  )
  if any("distance" in row for row in rows):
    parts.append(
      "The conditions with one source are moved to the mean probabilities of"
      " the condition with both first; distance says how far apart these were,"
      " from 0 to 1. Above .1, the three conditions hardly describe one model."
    )
  if any(row.get("at_ceiling") for row in rows):
    parts.append(
      "Some lists of token scores are cut off. The row “at their limit” gives"
      " every option the largest probability that its list allows: its"
      " difference from the row “as read” shows what the cut may change."
    )
  return " ".join(parts)
