"""The main results of an audit, in sentences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from btw_jax.reports import tables
from btw_jax.reports.audit import interactions as audit_interactions

# The level below which a p-value counts as significant.
_LEVEL = 0.05
# Fewer questions tell nothing of others.
_FEW_QUESTIONS = 20


def describe(content: Mapping[str, Any]) -> list[str]:
  """Returns the number of questions and the role of each condition."""
  number, labelled = content["num_questions"], content["num_labelled"]
  shares = {0: "none with a right answer (label)", number: "all with a label"}
  text = shares.get(labelled, f"{labelled:,} with a label")
  lines = [f"{tables.quantity(number, 'question')}, {text}."]
  if content["roles"]:
    lines.append(f"The roles of the conditions: {content['roles']}.")
  return lines


def say(content: Mapping[str, Any]) -> Iterator[str]:
  """Says what the predictions tell."""
  if content["num_questions"] < _FEW_QUESTIONS:
    yield (
      f"There are fewer than {_FEW_QUESTIONS} questions: the tables describe"
      " them, but say little of others."
    )
    return
  yield from _say_changes(content)
  yield from _say_accuracy(content)
  yield from _say_interactions(content)
  yield from _say_information(content)


def _say_changes(content):
  """Says under which condition the most and the fewest decisions change."""
  rows = [row for row in content["changes"] if "flipped" in row]
  if not rows:
    return
  reference = tables.quote(content["reference"])
  most = max(rows, key=lambda row: row["flipped"])
  least = min(rows, key=lambda row: row["flipped"])
  if most["flipped"] == 0:
    yield f"No decision differs from that under {reference}."
    return
  text = (
    f"Under {tables.quote(most['condition'])}, {_share(most)} of the decisions"
    f" differ from those under {reference}"
  )
  if least["flipped"] == most["flipped"]:
    yield f"{text}."
  else:
    yield (
      f"{text}: the largest share of all conditions. The smallest is that under"
      f" {tables.quote(least['condition'])}, {_share(least)}."
    )


def _share(row):
  interval = tables.interval(row["flipped_interval"], 100, 1)
  return f"{tables.percent(row['flipped'])} % (95 % interval {interval})"


def _say_accuracy(content):
  """Says under which conditions the accuracy changes."""
  rows = [row for row in content["changes"] if "accuracy_change" in row]
  verdicts = [verdict(row["accuracy_change_interval"]) for row in rows]
  for word, sign in (("lower", -1), ("higher", 1)):
    moved = [r for r, v in zip(rows, verdicts, strict=True) if v == sign]
    if moved:
      yield _say_moved(moved, word, sign, tables.quote(content["reference"]))
  unclear = [
    tables.quote(row["condition"])
    for row, v in zip(rows, verdicts, strict=True)
    if v == 0
  ]
  if unclear:
    yield (
      f"Under {tables.listing(unclear)}, the 95 % interval of the change in"
      " accuracy contains 0: these questions do not show if accuracy changes."
    )


def verdict(interval: Sequence[float]) -> int:
  """Returns the sign of all values of an interval; 0 if they have both."""
  low, high = interval
  return int(low > 0) - int(high < 0)


def _say_moved(rows, word, sign, reference):
  most = max(rows, key=lambda r: sign * r["accuracy_change"])
  ends = sorted(sign * end for end in most["accuracy_change_interval"])
  points = (
    f"{100 * sign * most['accuracy_change']:.1f} points (95 % interval"
    f" {tables.interval(ends, 100, 1)})"
  )
  names = tables.listing([tables.quote(row["condition"]) for row in rows])
  if len(rows) > 1:
    points = f"most under {tables.quote(most['condition'])}, by {points}"
  else:
    points = f"by {points}"
  return f"Accuracy is {word} under {names} than under {reference}: {points}."


def _say_interactions(content):
  """Says where the largest part of the information comes from."""
  by_sources: dict[str, list] = {}
  for row in audit_interactions.solved(content):
    sources = audit_interactions.name_sources(row)
    by_sources.setdefault(sources, []).append(row)
  for sources, rows in by_sources.items():
    tasks: dict[str, list] = {}
    for row in rows:
      if not row["task"]:
        yield _say_whole(sources, row)
      elif leaders := _leaders(row):
        tasks.setdefault(" or ".join(leaders), []).append(row["task"])
    if tasks:
      parts = [f"{name} in {tables.listing(of)}" for name, of in tasks.items()]
      yield f"By task, most information from {sources} is {'; '.join(parts)}."


def _say_whole(sources, row):
  leaders = _leaders(row)
  total = sum(atom["mean"] for atom in row["atoms"].values())
  if not leaders or total <= 0:
    return f"The decisions show no information from {sources}."
  text = (
    f"The decisions hold {total:.3f} nats of information from {sources}. The"
    " largest part is"
  )
  parts = [f"{name}, {mean:.3f} nats" for name, mean in leaders.items()]
  if len(parts) == 1:
    return f"{text} {parts[0]}."
  return (
    f"{text} {' or '.join(parts)}: these questions do not tell which is larger."
  )


def _leaders(row):
  """Returns the largest parts of the information: name -> mean.

  These are all parts that their intervals, and the cut of token lists, could
  make the largest.
  """
  names = {
    "redundant": "redundant (from either source)",
    "unique1": f"unique to {row['first']}",
    "unique2": f"unique to {row['second']}",
    "synergistic": "synergistic (from both sources only together)",
  }
  lows, highs = {}, {}
  for atom in names:
    values = [atoms[atom] for _, atoms in audit_interactions.versions(row)]
    ends = [audit_interactions.limits(value) for value in values]
    lows[atom] = min(low for low, _ in ends)
    highs[atom] = max(high for _, high in ends)
  floor = max(lows.values())
  return {
    name: row["atoms"][atom]["mean"]
    for atom, name in names.items()
    if highs[atom] >= floor and row["atoms"][atom]["mean"] > 0
  }


def _say_information(content):
  """Says which modality alone shows no information about the reference."""
  for row in content["information"]:
    if row["p_value"] >= _LEVEL:
      yield (
        f"The test finds no information in the predictions from"
        f" {row['modality']} alone about those under"
        f" {tables.quote(content['reference'])}"
        f" ({tables.p_text(row['p_value'])})."
      )
