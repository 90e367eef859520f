"""The report of a study, as one HTML page without external files."""

import base64
from collections.abc import Mapping, Sequence
import json
import pathlib
import re
from typing import Any, NamedTuple

import jinja2

from btw_jax.reports import contributions
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
from btw_jax.reports import tables

_TEMPLATE = pathlib.Path(__file__).with_name("page.html")


# The title of each group of panels, in order, and its caption.
_CAPTIONS = {
  "Gain of each weighting": (
    "The mean paired difference to the first row of the table. Green marks a"
    " significant improvement, red a significant loss, and grey no"
    " significant difference."
  ),
  "Learning curves and calibration": (
    "The first two plots show the loss in each epoch. The third shows the"
    " share of correct decisions by their confidence or, in regression, the"
    " share of targets below each predicted quantile: the closer to the"
    " dotted line, the better."
  ),
  "Weights over training": (
    "The mean weight of each modality over the training examples. Equal"
    " weights are the same as the uniform model."
  ),
  "Weights of test examples": (
    "The number of test examples with each weight, and the quality of"
    " decisions where a modality has a small or a large weight."
  ),
  "Experts": (
    "The share of each modality's gates that each expert received in the last"
    " epoch."
  ),
  "Contribution of each modality": (
    "The Shapley value of each modality for the log-likelihood of the test"
    " examples, with its 95 % interval over seeds and examples. The values of"
    " a model add up to what all modalities tell together."
  ),
  "Information about the decision": (
    "Partial information decomposition between one modality and all others:"
    " information about the model's decision that either of them gives"
    " (redundant), that only one gives (unique), or that only both together"
    " give (synergistic)."
  ),
  "Interference": (
    "The share of decisions that change when one modality is replaced by"
    " noise, or by that of an example with another class (mismatch)."
  ),
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
  num_seeds = len(first.results["seeds"])
  num_compared = sum(len(p.others) for p in problems)
  template = jinja2.Template(
    _TEMPLATE.read_text(encoding="utf-8"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
  )
  return template.render(
    title="Does weighting the modalities help?",
    subtitle=(
      f"{'; '.join(p.name for p in problems)}:"
      f" {tables.quantity(num_seeds, 'seed')},"
      f" {tables.quantity(num_compared, 'comparison')} with the uniform model"
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
    "rows": results.rows(problem),
    "held_fixed": results.held_fixed(problem),
    "groups": [group for group in _groups(problem) if group[2]],
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
  for (title, text), of_group in zip(_CAPTIONS.items(), panels, strict=True):
    yield _Group(title, text, [_encode(panel) for panel in of_group])


def _experts(problem):
  panels = []
  for method in curves.distinct_methods(problem):
    path, choice = method.run.path / "routing.csv", method.row["choice"]
    if path.exists():
      shares = routing.read(path, choice["variant"], choice["strength"])
      panels.append(routing.panel(shares, method.name))
  return panels


def _contributions(problem):
  file = problem.base.run.path / "contribution.json"
  if not file.exists():
    return []
  rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
  return [contributions.panel(rows)]


def _interactions(problem):
  panels = []
  for method in curves.distinct_methods(problem):
    file = method.run.path / "interactions.json"
    if file.exists() and not method.run.config["mitigation"]:
      rows = json.loads(file.read_text(encoding="utf-8"))["decompositions"]
      panels.append(interactions.panel(rows, method.weighting))
  return panels


def _interference(problem):
  rows = []
  for path in dict.fromkeys(m.run.path for m in problem.methods.values()):
    file = path / "interference.json"
    if file.exists():
      rows += json.loads(file.read_text(encoding="utf-8"))["effects"]
  kinds = dict.fromkeys(row["kind"] for row in rows)
  return [interference.panel(rows, kind) for kind in kinds]


def _encode(panel: svg.Panel) -> Mapping[str, str]:
  """Returns a panel with its drawing in base64, as data URLs need it."""
  encoded = base64.b64encode(panel.svg.encode()).decode()
  return {"name": panel.name, "title": panel.title, "encoded": encoded}
