"""The report of a study, as one HTML page without external files."""

from collections.abc import Mapping, Sequence
import json
import re
from typing import Any, NamedTuple

from btw_jax.reports import contributions
from btw_jax.reports import curves
from btw_jax.reports import examples
from btw_jax.reports import gain_plot
from btw_jax.reports import interactions
from btw_jax.reports import interference
from btw_jax.reports import page_texts
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import routing
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables
from btw_jax.reports import template

# heading of a table -> the same with its unit
_HEADINGS = {
  heading: text
  for metric, change in tables.CHANGES.items()
  for heading, text in (
    (f"Δ {tables.COLUMNS[metric].heading}", change),
    (tables.COLUMNS[metric].heading, change.removeprefix("Δ ")),
  )
  # Values of the accuracy are in %, and only its changes in points.
  if (metric, heading[0]) != ("accuracy", "a")
}


class _Group(NamedTuple):
  """A heading, an explanation and the panels below them."""

  title: str
  text: str
  panels: Sequence[Mapping[str, str]]


def write(problems: Sequence[study_lib.Problem]) -> str:
  """Writes the HTML page of a study."""
  runs = {
    m.run.path: m.run for p in problems for m in p.methods.values()
  }.values()
  first = problems[0].base.run
  dates = [run.results["finished"] for run in runs if "finished" in run.results]
  regression = {problem.is_regression for problem in problems}
  num_seeds = len(first.results["seeds"])
  num_compared = sum(len(p.others) for p in problems)
  return template.render(
    "page.html",
    title="Does weighting the modalities help?",
    subtitle=(
      f"{'; '.join(p.name for p in problems)}:"
      f" {tables.quantity(num_seeds, 'seed')},"
      f" {tables.quantity(num_compared, 'comparison')} with the uniform model"
    ),
    date=max(dates, default=""),
    sections=[
      _section(problem, advice)
      for problem, advice in zip(
        problems, recommendation.paragraphs(problems), strict=True
      )
    ],
    limits=[
      *recommendation.spread(problems),
      *recommendation.limits(problems),
    ],
    overview=[_with_units(row) for row in results.overview(problems)],
    legend=results.legend(problems),
    glossary=page_texts.glossary(
      classification=False in regression,
      regression=True in regression,
      contributions=any(_read(run, "contribution") for run in runs),
    ),
    ranks=results.ranks(problems),
    versions=", ".join(f"{k} {v}" for k, v in first.versions.items()),
    seconds=[
      f"{run.path.name}: trained in {run.results['seconds']:.0f} s"
      for run in runs
    ],
    configs={r.path.name: json.dumps(r.config, indent=1) for r in runs},
  )


def _section(problem, advice) -> Mapping[str, Any]:
  """Returns the template's fields of one problem."""
  return {
    "name": problem.name,
    "anchor": re.sub(r"\W+", "_", problem.name),
    "advice": advice,
    "rows": [_with_units(row) for row in results.rows(problem)],
    "held_fixed": results.held_fixed(problem),
    "groups": [group for group in _groups(problem) if group[2]],
  }


def _with_units(row):
  """Returns a row, heading -> cell, with the units of headings and metrics."""
  return {
    _HEADINGS.get(heading, heading): (
      _HEADINGS.get(cell, cell) if heading == "metric" else cell
    )
    for heading, cell in row.items()
  }


def _groups(problem):
  """Yields the groups of panels of one problem; some may have no panels."""
  by_epoch = curves.draw_curves(problem)
  by_example = examples.draw_examples(problem)
  panels = (
    gain_plot.draw_gains(problem),
    [*by_epoch[:2], by_example[0]],
    by_epoch[2:],
    by_example[1:],
    _experts(problem),
    _contributions(problem),
    _interactions(problem),
    _interference(problem),
  )
  captions = page_texts.captions(regression=problem.is_regression)
  for (title, text), of_group in zip(captions.items(), panels, strict=True):
    yield _Group(title, text, [template.encode(panel) for panel in of_group])


def _experts(problem):
  shares = {}
  methods = curves.distinct_methods(problem.methods.values())
  for label, method in methods.items():
    path, choice = method.run.path / "routing.csv", method.row["choice"]
    if path.exists():
      shares[label] = routing.read(path, choice["variant"], choice["strength"])
  return routing.panels(shares)


def _contributions(problem):
  content = _read(problem.base.run, "contribution")
  return [contributions.panel(content["rows"])] if content else []


def _interactions(problem):
  drawings = []
  methods = curves.distinct_methods(problem.methods.values())
  for label, method in methods.items():
    content = _read(method.run, "interactions")
    if content and not method.run.config["mitigation"]:
      rows = content["decompositions"]
      drawings.append(interactions.drawing(rows, method.weighting, label))
  return svg.draw(drawings, share="y")


def _interference(problem):
  runs = {m.run.path: m.run for m in problem.methods.values()}.values()
  rows = []
  for run in runs:
    rows += _read(run, "interference").get("effects", [])
  return interference.panels(rows, regression=problem.is_regression)


def _read(run, analysis) -> Mapping[str, Any]:
  """Reads what an analysis of a run found; empty if it did not run."""
  file = run.path / f"{analysis}.json"
  if not file.exists():
    return {}
  return json.loads(file.read_text(encoding="utf-8"))
