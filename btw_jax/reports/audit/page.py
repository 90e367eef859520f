"""The report of an audit, as one HTML page without external files."""

from collections.abc import Mapping
import json
from typing import Any

from btw_jax.reports import tables
from btw_jax.reports import template
from btw_jax.reports.audit import glossary
from btw_jax.reports.audit import plots as audit_plots
from btw_jax.reports.audit import sentences as audit_sentences
from btw_jax.reports.audit import tables as audit_tables


def write(content: Mapping[str, Any]) -> str:
  """Writes the HTML page of an audit from the content of audit.json."""
  number = tables.quantity(content["num_questions"], "question")
  conditions = tables.quantity(len(content["conditions"]), "condition")
  panels = audit_plots.draw(content)
  sections = [
    {
      "table": table,
      "panels": [
        template.encode(panel) for panel in panels.get(table.name, [])
      ],
    }
    for table in audit_tables.all_tables(content)
  ]
  fields = {
    "description": audit_sentences.describe(content),
    "advice": audit_tables.sentences(content),
    "lacking": audit_tables.lacking(content),
    "notes": content["notes"],
  }
  versions, options = content.get("versions", {}), content.get("options")
  return template.render(
    "audit.html",
    title="Which modalities do the decisions rest on?",
    subtitle=f"Audit of predictions: {number}, {conditions}",
    date=content.get("finished", ""),
    sections=sections,
    glossary=glossary.explain(_words(fields, sections)),
    files=_list_files(content),
    versions=", ".join(f"{name} {v}" for name, v in versions.items()),
    options=json.dumps(options, indent=1) if options else "",
    **fields,
  )


def _words(fields, sections):
  """Returns the text in which the terms of the glossary are sought."""
  lines = [line for part in fields.values() for line in part]
  for section in sections:
    table = section["table"]
    lines += [table.title, table.caption, table.note, *table.rows[0]]
    lines += [next(iter(row.values())) for row in table.rows]
    lines += [panel["title"] for panel in section["panels"]]
  return "\n".join(lines)


def _list_files(content):
  """Returns a row for each condition: its file, and what that holds."""
  return [
    {
      "condition": name,
      "file": file,
      "holds": (
        "probabilities"
        if name in content["probabilities"]
        else "answers without probabilities"
      ),
    }
    for name, file in content["files"].items()
  ]
