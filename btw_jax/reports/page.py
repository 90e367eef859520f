"""The report of a study: one page that needs nothing else."""

import base64
from collections.abc import Mapping, Sequence
import json
import pathlib
import re
from typing import Any, NamedTuple

import jinja2

from btw_jax.reports import curves
from btw_jax.reports import examples
from btw_jax.reports import gain_plot
from btw_jax.reports import interactions
from btw_jax.reports import interference
from btw_jax.reports import recommendation
from btw_jax.reports import results
from btw_jax.reports import routing
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")


class _Group(NamedTuple):
  """Panels under a heading."""

  title: str
  text: str
  panels: Sequence[Mapping[str, str]]


def write(problems: Sequence[study_lib.Problem]) -> str:
  """The page.

  Args:
    problems: of a study.

  Returns:
    HTML.
  """
  cells = {
    m.cell.path: m.cell for p in problems for m in p.methods.values()
  }.values()
  first = problems[0].base.cell
  seeds = len(first.results["seeds"])
  compared = sum(len(p.others) for p in problems)
  template = jinja2.Template(
    _TEMPLATE.read_text(encoding="utf-8"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  return template.render(
    title="Does weighting the modalities help?",
    subtitle=(
      f"{', '.join(p.name for p in problems)}: {seeds} seeds,"
      f" {compared} comparisons with the uniform model"
    ),
    sections=[
      _section(problem, advice)
      for problem, advice in zip(
        problems, recommendation.paragraphs(problems), strict=True
      )
    ],
    limits=[
      recommendation.spread(problems),
      *recommendation.limits(problems),
    ],
    overview=results.overview(problems),
    legend=results.LEGEND,
    ranks=results.ranks(problems),
    versions=", ".join(f"{k} {v}" for k, v in first.versions.items()),
    seconds=[
      f"{cell.path.name}: trained in {cell.results['seconds']:.0f} s"
      for cell in cells
    ],
    configs={c.path.name: json.dumps(c.config, indent=1) for c in cells},
  )


def _section(problem, advice) -> Mapping[str, Any]:
  return {
    "name": problem.name,
    "anchor": re.sub(r"\W+", "_", problem.name),
    "advice": advice,
    "rows": results.rows(problem),
    "held_fixed": results.held_fixed(problem),
    "groups": [group for group in _groups(problem) if group[2]],
  }


def _groups(problem):
  curved, per_example = curves.of_problem(problem), examples.of_problem(problem)
  for title, text, found in (
    (
      "What each weighting gains",
      "Mean paired difference to the first row of the table; green is better"
      " and red worse beyond chance.",
      gain_plot.of_problem(problem),
    ),
    (
      "Learning curves and calibration",
      "Loss over training; how often decisions of a certainty are right, or"
      " targets lie below a predicted quantile: the closer to the dotted line,"
      " the better.",
      [*curved[:2], per_example[0]],
    ),
    (
      "Weights over training",
      "The mean over training examples; what is equal is the plain model.",
      curved[2:],
    ),
    (
      "Weights of single examples",
      "How many test examples got which weight, and whether decisions are"
      " better where a modality weighs more.",
      per_example[1:],
    ),
    (
      "Experts",
      "Which experts the tokens of a modality went to after the last epoch.",
      _experts(problem),
    ),
    (
      "Who knows what",
      "Partial information decomposition of the decision between a modality"
      " and all others: what either tells, one alone, or only both together.",
      _interactions(problem),
    ),
    (
      "Interference",
      "How many decisions change when one modality is replaced by noise, or by"
      " another example's of another class.",
      _interference(problem),
    ),
  ):
    yield _Group(title, text, [_encoded(panel) for panel in found])


def _experts(problem):
  found = []
  for method in curves.distinct(problem):
    path, choice = method.cell.path / "routing.csv", method.row["choice"]
    if path.exists():
      shares = routing.read(path, choice["variant"], choice["strength"])
      found.append(routing.panel(shares, method.name))
  return found


def _interactions(problem):
  found = []
  for method in curves.distinct(problem):
    file = method.cell.path / "interactions.json"
    if file.exists() and not method.cell.config["mitigation"]:
      rows = json.loads(file.read_text(encoding="utf-8"))["decompositions"]
      found.append(interactions.panel(rows, method.weighting))
  return found


def _interference(problem):
  rows = []
  for path in dict.fromkeys(m.cell.path for m in problem.methods.values()):
    file = path / "interference.json"
    if file.exists():
      rows += json.loads(file.read_text(encoding="utf-8"))["effects"]
  kinds = dict.fromkeys(row["kind"] for row in rows)
  return [interference.panel(rows, kind) for kind in kinds]


def _encoded(panel: svg.Panel) -> Mapping[str, str]:
  svg = base64.b64encode(panel.svg.encode()).decode()
  return {"name": panel.name, "title": panel.title, "encoded": svg}
