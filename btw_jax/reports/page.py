"""The report of a study, as one HTML page without external files."""

from collections.abc import Mapping, Sequence
import itertools
import json
import re
from typing import Any, NamedTuple

from btw_jax.reports import contributions
from btw_jax.reports import costs
from btw_jax.reports import curves
from btw_jax.reports import examples
from btw_jax.reports import gain_plot
from btw_jax.reports import imbalance
from btw_jax.reports import interactions
from btw_jax.reports import interference
from btw_jax.reports import overall
from btw_jax.reports import page_texts
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import routing
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables
from btw_jax.reports import template
from btw_jax.reports import tuning

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
  num_seeds = len(first.results["seeds"])
  num_compared = sum(len(p.others) for p in problems)
  return template.render(
    "page.html",
    title=_title(problems),
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
    question=results.question(problems),
    summary=overall.paragraphs(problems),
    overview=[_with_units(row) for row in results.overview(problems)],
    legend=results.legend(problems),
    imbalance_legend=imbalance.LEGEND,
    glossary=_glossary(problems, runs),
    ranks=results.ranks(problems),
    versions=", ".join(f"{k} {v}" for k, v in first.versions.items()),
    seconds=[
      f"{run.path.name}: trained in {run.results['seconds']:.0f} s"
      for run in runs
    ],
    configs={r.path.name: json.dumps(r.config, indent=1) for r in runs},
  )


def _glossary(problems, runs):
  """Returns the terms of a page, with what balancing methods do."""
  regression = {problem.is_regression for problem in problems}
  return page_texts.glossary(
    classification=False in regression,
    regression=True in regression,
    contributions=any(map(imbalance.read, runs)),
    costs=costs.LEGEND in results.legend(problems),
    methods={
      name: entry["does"]
      for run in runs
      for name, entry in run.results.get("balance", {}).items()
    },
  )


def _title(problems):
  balanced = study_lib.has_balance(problems)
  what = "weighting or balancing" if balanced else "weighting"
  return f"Does {what} the modalities help?"


def _section(problem, advice) -> Mapping[str, Any]:
  """Returns the template's fields of one problem."""
  return {
    "name": problem.name,
    "anchor": re.sub(r"\W+", "_", problem.name),
    "advice": advice,
    "rows": [_with_units(row) for row in results.rows(problem)],
    "held_fixed": results.held_fixed(problem),
    "settings": tuning.rows(problem),
    "imbalance": imbalance.rows(problem),
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
  losses = curves.draw_losses(problem)
  calibrations, weights = examples.draw_examples(problem)
  # Each part of the methods has two plots of losses and one of calibration.
  pairs = zip(losses[::2], losses[1::2], calibrations, strict=True)
  panels = (
    gain_plot.draw_gains(problem),
    [*itertools.chain(*pairs)],
    curves.draw_weights(problem),
    weights,
    _experts(problem),
    [*_contributions(problem), *imbalance.draw(problem)],
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
    path, choice = method.run.path / "routing.csv", method.choice
    if path.exists():
      run = study_lib.run_name(choice)
      shares[label] = routing.read(path, run, choice["strength"])
  return routing.panels(shares)


def _contributions(problem):
  content = imbalance.read(problem.base.run)
  if not content:
    return []
  usual = (study_lib.BASE, study_lib.GATE)
  return [contributions.panel(content["rows"], usual)]


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
  runs = {m.run.path: m.run for m in problem.methods.values()}
  effects = {
    path: _read(run, "interference").get("effects", [])
    for path, run in runs.items()
  }
  rows = []
  for name, method in problem.methods.items():
    # A run names its models without the way that weights are normalised.
    there = " + ".join([method.weighting, *method.run.config["mitigation"]])
    rows += [
      row | {"model": name}
      for row in effects[method.run.path]
      if row["model"] == there
    ]
  return interference.panels(rows, regression=problem.is_regression)


def _read(run, analysis) -> Mapping[str, Any]:
  """Reads what an analysis of a run found; empty if it did not run."""
  file = run.path / f"{analysis}.json"
  if not file.exists():
    return {}
  return json.loads(file.read_text(encoding="utf-8"))
