"""Tables of an audit, from the content of audit.json."""

from collections.abc import Mapping
from typing import Any

from btw_jax.reports import tables
from btw_jax.reports.audit import interactions as audit_interactions
from btw_jax.reports.audit import sentences as audit_sentences
from btw_jax.reports.audit import weight_tables


def write(content: Mapping[str, Any]) -> str:
  """Writes the tables of an audit as Markdown."""
  parts = ["# Audit of predictions", *audit_sentences.describe(content)]
  parts += sentences(content)
  for table in all_tables(content):
    rows = [
      {_escape(head): _escape(cell) for head, cell in row.items()}
      for row in table.rows
    ]
    parts += [f"## {table.title}", table.note, tables.markdown(rows)]
  for title, lines in (
    ("What these predictions do not allow", lacking(content)),
    ("Notes on the files", content["notes"]),
  ):
    if lines:
      parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
  return "\n\n".join(parts) + "\n"


def all_tables(content: Mapping[str, Any]) -> list[tables.Table]:
  """Returns the tables of an audit that have rows."""
  makers = (
    _conditions,
    _changes,
    _interactions,
    weight_tables.information,
    weight_tables.weights,
    weight_tables.ensembles,
    weight_tables.training_weights,
  )
  made = filter(None, (make(content) for make in makers))
  return [table._replace(rows=_align(table.rows)) for table in made]


def lacking(content: Mapping[str, Any]) -> list[str]:
  """Returns a line for each measure that the predictions do not allow."""
  lines = [f"{what}: give {need}." for what, need in content["lacking"].items()]
  unsolved: dict[tuple[str, str], list[str]] = {}
  for row in content["interactions"]:
    if row["atoms"] is None:
      reason = audit_interactions.name_sources(row), row["lacking"]
      unsolved.setdefault(reason, []).append(row["task"])
  for (sources, need), tasks in unsolved.items():
    where = "" if "" in tasks else f" in {tables.listing(tasks)}"
    lines.append(f"interactions (PID) of {sources}{where}: give {need}.")
  return lines


def sentences(content: Mapping[str, Any]) -> list[str]:
  """Returns the main results of an audit in sentences."""
  return list(audit_sentences.say(content))


def guess_accuracy(content: Mapping[str, Any]) -> float | None:
  """Returns the accuracy of random guesses; None if labels are missing."""
  counts = {int(k): n for k, n in content["num_options"].items()}
  number = content["num_questions"]
  if not number or content["num_labelled"] < number or min(counts) < 1:
    return None
  return sum(n / k for k, n in counts.items()) / number


def _conditions(content):
  rows = []
  for row in content["conditions"]:
    cells = {"condition": row["condition"]}
    if "accuracy" in row:
      cells["accuracy %"] = _with_interval(row, "accuracy", 100, 1)
    if "nll" in row:
      cells["NLL"] = f"{row['nll']:.3f}"
    if "ece" in row:
      cells["ECE %"] = tables.percent(row["ece"])
    cells["without an answer"] = f"{row['unanswered']:,}"
    rows.append(cells)
  if not rows:
    return None
  parts = ["The number of questions that a condition leaves without an answer."]
  if any("accuracy" in row for row in content["conditions"]):
    parts = [
      "Accuracy is of all labelled questions, with its 95 % bootstrap interval;"
      " a question without an answer counts as wrong."
    ]
    if guess := guess_accuracy(content):
      parts.append(f"Random guesses would reach {tables.percent(guess)} %.")
  if any("nll" in row for row in content["conditions"]):
    parts.append("Lower NLL and ECE are better.")
  caption = "Answers under each condition"
  return tables.Table("conditions", "Answers", caption, " ".join(parts), rows)


def _changes(content):
  changes = content["changes"]
  if not changes:
    return None
  fewer = any(
    row["num_questions"] < content["num_questions"] for row in changes
  )
  reference = tables.quote(content["reference"])
  parts = [
    f"Each condition is compared with {reference}, on the questions that are"
    " answered under both conditions. Brackets hold 95 % bootstrap intervals."
  ]
  if any("divergence" in row for row in changes):
    parts.append(
      "KL is the divergence of the probabilities under the condition (after)"
      f" from those under {reference} (before)."
    )
  return tables.Table(
    "changes",
    "Changed decisions",
    f"Decisions that differ from those under {reference}",
    " ".join(parts),
    [_compare(row, with_number=fewer) for row in changes],
  )


def _compare(row, with_number):
  """Returns the cells of a condition that is compared with the reference."""
  cells = {"condition": row["condition"]}
  if with_number:
    cells["questions"] = f"{row['num_questions']:,}"
  for field, heading, factor, digits in (
    ("flipped", "decisions changed %", 100, 1),
    ("accuracy_before", "accuracy before %", 100, 1),
    ("accuracy_after", "accuracy after %", 100, 1),
    ("accuracy_change", "change, points", 100, 1),
    ("divergence", "KL(before‖after), nats", 1, 3),
  ):
    if field in row:
      sign = field == "accuracy_change"
      cells[heading] = _with_interval(row, field, factor, digits, sign=sign)
  return cells


def _interactions(content):
  rows = audit_interactions.make_rows(content)
  if not rows:
    return None
  return tables.Table(
    "interactions",
    "Interactions (PID)",
    "Information about the decisions, nats",
    audit_interactions.explain(content),
    rows,
  )


def _escape(cell):
  """Returns a cell that does not end where it holds a bar or a new line."""
  return " ".join(cell.replace("|", r"\|").split())


def _align(rows):
  """Gives all rows the same headings, and leaves out empty columns."""
  heads = {head: None for row in rows for head, cell in row.items() if cell}
  return [{head: row.get(head, "") for head in heads} for row in rows]


def _with_interval(row, field, factor, digits, *, sign=False):
  """Formats a value with its interval in brackets."""
  plus = "+" if sign else ""
  interval = tables.interval(
    row[f"{field}_interval"], factor, digits, sign=sign
  )
  return f"{factor * row[field] + 0.0:{plus}.{digits}f} ({interval})"
