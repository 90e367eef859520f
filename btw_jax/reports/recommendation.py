"""Which weighting to use, and what it costs: no more than the figures support.

For each problem, of the methods that decide better than the uniform model
beyond chance the one that gains most; else, of those with a better likelihood
beyond chance that do not decide worse beyond chance, the one that gains most;
else the uniform model.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables

# metric -> in a sentence, and its unit
_WORDS = {
  "accuracy": ("accuracy", " points"),
  "mae": ("MAE", ""),
  "nll": ("NLL", " nats"),
}
# Variants that weigh all examples alike, as far as their modalities are.
_ALIKE = ("mi", "cc", "pid")
# Data sets whose splits are drawn, for each seed anew if asked to.
_DRAWN = ("digits", "diabetes", "breast_cancer")


class Advice(NamedTuple):
  """What to do about one problem.

  Attributes:
    problem: its name.
    method: name of the method to use.
    reason: name of the metric that it is better by; None for the uniform model.
    comparisons: metric -> comparison of the method with the base; none for it.
    also: other methods that are better by the same metric.
    worse: comparisons of methods that are worse beyond chance.
  """

  problem: study_lib.Problem
  method: str
  reason: str | None
  comparisons: Mapping[str, study_lib.Comparison]
  also: Sequence[str]
  worse: Sequence[study_lib.Comparison]


def advise(problem: study_lib.Problem) -> Advice:
  """What the comparisons of a problem support.

  Args:
    problem: what was compared.

  Returns:
    The advice.
  """
  of = problem.comparisons
  worse = [c for c in of.values() if c.verdict < 0]
  decides, likely = problem.metrics
  for metric in (decides, likely):
    better = [
      c
      for c in of.values()
      if c.metric == metric
      and c.verdict > 0
      and (metric == decides or of[c.method, decides].verdict >= 0)
    ]
    if better:
      best = max(better, key=lambda c: c.gain)
      return Advice(
        problem,
        best.method,
        metric,
        {m: of[best.method, m] for m in problem.metrics},
        [c.method for c in better if c is not best],
        worse,
      )
  return Advice(problem, problem.base.name, None, {}, [], worse)


def text(advice: Advice) -> str:
  """The advice in words, with the figures that it rests on.

  Args:
    advice: of a problem.

  Returns:
    Some sentences.
  """
  return " ".join(
    [_what(advice), *_also(advice), *_worse(advice), *_cost(advice)]
  )


def paragraphs(problems: Sequence[study_lib.Problem]) -> list[str]:
  """The advice for every problem in words.

  Args:
    problems: of a study.

  Returns:
    A paragraph each.
  """
  return [text(advise(problem)) for problem in problems]


def limits(problems: Sequence[study_lib.Problem]) -> list[str]:
  """What the comparisons cannot tell.

  Args:
    problems: of a study.

  Returns:
    Sentences.
  """
  found, powerless = [], []
  for problem in problems:
    seeds, number = len(problem.base.cell.results["seeds"]), len(problem.others)
    least = min(1.0, number * statistics.least_p_value(seeds))
    if number and least >= study_lib.LEVEL:
      powerless.append(
        f"{problem.name} ({seeds} seeds, {number} comparisons, p = {least:.2g}"
        " at least)"
      )
  if powerless:
    found.append(
      f"No difference can be told from chance for {_listed(powerless)}: train"
      " more seeds, or compare less."
    )
  shared = [p.name for p in problems if not _drawn_anew(p.base.cell.config)]
  if shared:
    found.append(
      f"All seeds of {_listed(shared)} share their test examples: intervals"
      " tell of other initial parameters and batches, not of other examples."
    )
  if len(problems) > 1:
    found.append(
      "Each data set is a question of its own: chance alone makes a method look"
      f" better or worse on one of these {len(problems)} with a probability of"
      f" up to {_by_chance(len(problems)):.0f} % by each metric."
    )
  return found


def spread(problems: Sequence[study_lib.Problem]) -> str:
  """Whether weighting makes results vary less over seeds.

  Args:
    problems: of a study.

  Returns:
    A sentence for each direction.
  """
  differ = [
    (p, c)
    for p in problems
    for c in p.comparisons.values()
    if c.metric == p.unit and c.spread_corrected < study_lib.LEVEL
  ]
  told = []
  for word, own in (
    ("less", [(p, c) for p, c in differ if c.spread < 1]),
    ("more", [(p, c) for p, c in differ if c.spread > 1]),
  ):
    names = [f"{c.method} on {p.name} ({c.spread:.2f})" for p, c in own]
    told.append(
      f"Spread {word} over seeds than the uniform model, beyond chance:"
      f" {_listed(names) or 'none'}."
    )
  return " ".join(told)


def _drawn_anew(config):
  """Whether each seed has test examples of its own."""
  return config["split_per_seed"] and config["dataset"] in _DRAWN


def _by_chance(num_problems):
  """Of at least one wrong claim, problems being independent, in percent."""
  return 100 * (1 - (1 - study_lib.LEVEL) ** num_problems)


def _what(advice):
  problem = advice.problem
  name = f"{problem.name}: use {_named(problem, advice.method)}"
  if advice.reason is None:
    return f"{name}: no method is better beyond chance."
  decides, likely = (advice.comparisons[m] for m in problem.metrics)
  base = problem.base.name
  if advice.reason == decides.metric:
    return f"{name}: {_better(decides, base)}; {_beside(likely)}."
  return (
    f"{name} for its likelihood: {_better(likely, base)}; {_beside(decides)}."
  )


def _better(comparison, base):
  return f"{_figures(comparison)} against {base}"


def _beside(comparison):
  if comparison.verdict:
    cost = "at the cost of " if comparison.verdict < 0 else ""
    return f"{cost}{_figures(comparison)}"
  name, _ = _WORDS[comparison.metric]
  return f"{name} does not differ beyond chance ({_figures(comparison)})"


def _also(advice):
  if advice.also:
    yield f"Better by the same measure, but by less: {_listed(advice.also)}."


def _worse(advice):
  if advice.worse:
    told = "; ".join(f"{c.method}, {_figures(c)}" for c in advice.worse)
    yield f"Worse beyond chance: {told}."


def _cost(advice):
  """What the method needs that the uniform model does not."""
  problem = advice.problem
  method = problem.methods[advice.method]
  config, choice = method.cell.config, method.row["choice"]
  variant, costs = choice["variant"], []
  candidates = method.row["candidates"]
  if candidates > 1:
    costs.append(f"{candidates} runs trained to choose one")
  if config["mitigation"]:
    costs.append(f"training with {' and '.join(config['mitigation'])}")
  number = len(method.cell.results["modalities"])
  models = f"{number} models of single modalities"
  if variant != study_lib.BASE:
    costs.append(f"{models} trained first")
  if variant in _ALIKE:
    costs.append(
      "nothing more to predict, since an example's weights depend only on"
      " which modalities it has"
    )
  elif variant != study_lib.BASE:
    sizes = method.cell.results["num_parameters"]
    times = 1 + sizes["unimodal"] / sizes["multimodal"]
    passes = 1 + config["num_refinements"]
    costs.append(
      f"these kept to predict ({times:.1f} times the parameters), and"
      f" {passes} passes through the multimodal model in place of 1"
    )
  if method is not problem.base:
    yield f"Cost: {'; '.join(costs) or 'none'}."


def _named(problem, name):
  """A method that chose for itself says what."""
  method = problem.methods[name]
  choice = method.row["choice"]
  chosen = choice["variant"]
  if chosen != study_lib.BASE:
    chosen += f" at strength {choice['strength']:g}"
  if method.row["candidates"] > 1:
    return f"{name} (it chose {chosen})"
  return name


def _figures(comparison):
  """Gain in the metric's own direction, interval and p-value."""
  mean, low, high = tables.COLUMNS[comparison.metric].gain(
    comparison.gain, comparison.interval
  )
  name, unit = _WORDS[comparison.metric]
  return f"{name} {mean}{unit} [{low}, {high}], {p_text(comparison.corrected)}"


def p_text(p_value: float) -> str:
  """A p-value as text, exact where it is not small.

  Args:
    p_value: in [0, 1].

  Returns:
    "p = .034" or "p < .001".
  """
  if p_value < 0.001:
    return "p < .001"
  return f"p = {p_value:.3f}".replace("0.", ".", 1)


def _listed(names):
  return ", ".join(names)
