"""Advice on which weighting to use and on its cost, from significant results.

For each problem, the advice is the method with the largest gain among those
that are significantly better in the metric of decisions (accuracy or MAE).
If there is none, it is the method with the largest gain among those that are
significantly better in likelihood (NLL) and not significantly worse in
decisions. If there is none either, it is the uniform model.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from btw_jax.reports import costs
from btw_jax.reports import labels
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables

# metric -> (name in a sentence, unit)
WORDS = {
  "accuracy": ("accuracy", " points"),
  "mae": ("MAE", ""),
  "nll": ("NLL", " nats"),
}
_VERDICTS = {
  1: "significantly better",
  0: "no significant difference",
  -1: "significantly worse",
}
# Data sets that can draw new splits for every seed.
_DRAWN = ("digits", "diabetes", "breast_cancer")


class Advice(NamedTuple):
  """The method to use for one problem.

  Attributes:
    problem: the problem.
    method: name of the method to use.
    reason: the metric by which it is better; None for the uniform model.
    comparisons: metric -> comparison of the method with the base; empty for
      the base itself.
    also: names of other methods that are significantly better by `reason`.
    worse: comparisons of methods that are significantly worse.
  """

  problem: study_lib.Problem
  method: str
  reason: str | None
  comparisons: Mapping[str, study_lib.Comparison]
  also: Sequence[str]
  worse: Sequence[study_lib.Comparison]


def advise(problem: study_lib.Problem) -> Advice:
  """Chooses the method that the comparisons of a problem support."""
  comparisons = problem.comparisons
  worse = [c for c in comparisons.values() if c.verdict < 0]
  decides, likely = problem.metrics
  for metric in (decides, likely):
    better = [
      c
      for c in comparisons.values()
      if c.metric == metric
      and c.verdict > 0
      and (metric == decides or comparisons[c.method, decides].verdict >= 0)
    ]
    if better:
      best = max(better, key=lambda c: c.gain)
      return Advice(
        problem,
        best.method,
        metric,
        {m: comparisons[best.method, m] for m in problem.metrics},
        [c.method for c in better if c is not best],
        worse,
      )
  return Advice(problem, problem.base.name, None, {}, [], worse)


def text(advice: Advice) -> str:
  """Writes the advice as sentences, with the numbers that support it."""
  return " ".join(
    [
      _choice(advice),
      *_also(advice),
      *_worse(advice),
      *_baselines(advice.problem),
      *_modalities(advice.problem),
      *costs.sentences(advice.problem, advice.method),
    ]
  )


def paragraphs(problems: Sequence[study_lib.Problem]) -> list[str]:
  """Writes one paragraph of advice for every problem."""
  return [text(advise(problem)) for problem in problems]


def limits(problems: Sequence[study_lib.Problem]) -> list[str]:
  """Writes sentences on the conclusions that the comparisons do not allow."""
  sentences = []
  shared = [
    p.name
    for p in problems
    if not _drawn_anew(p.base.run.config) and not _is_optimistic(p)
  ]
  if shared:
    sentences.append(
      f"All seeds of {'; '.join(shared)} use the same test examples: the"
      " intervals cover other initial parameters and batches, not other test"
      " examples."
    )
  optimistic = [p.name for p in problems if _is_optimistic(p)]
  if optimistic:
    sentences.append(
      f"There is no test split of {'; '.join(optimistic)}: the results are of"
      " the validation examples, which chose the epochs, so they are"
      " optimistic."
    )
  if len(problems) > 1:
    sentences.append(
      "P-values are corrected within each data set and model, not across them:"
      " if no method made any difference, a method would still look"
      f" significantly better or worse on at least one of these {len(problems)}"
      f" with a probability of up to {_by_chance(len(problems)):.0f} % for each"
      " metric."
    )
  return sentences


def spread(problems: Sequence[study_lib.Problem]) -> list[str]:
  """Names the methods that vary significantly less, or more, over seeds."""
  if not any(p.others for p in problems):
    return []
  differ = [
    (p, c)
    for p in problems
    for c in p.comparisons.values()
    if c.metric == p.unit and c.spread_corrected < study_lib.LEVEL
  ]
  sentences = []
  for word, chosen in (
    ("less", [(p, c) for p, c in differ if c.spread < 1]),
    ("more", [(p, c) for p, c in differ if c.spread > 1]),
  ):
    names = [
      f"{c.method} on {p.name} ({c.spread:.2f} times the standard deviation)"
      for p, c in chosen
    ]
    sentences.append(
      f"Methods whose {study_lib.name_units(problems)} varies significantly"
      f" {word} over seeds than that of the uniform model:"
      f" {'; '.join(names) or 'none'}."
    )
  return [" ".join(sentences)]


def _is_optimistic(problem):
  """Returns True if the results are of the validation split."""
  return problem.base.run.results.get("split") == "valid"


def _drawn_anew(config):
  """Returns True if every seed has different test examples."""
  return config["split_per_seed"] and config["dataset"] in _DRAWN


def _by_chance(num_problems):
  """Returns the chance, in %, of a false claim in independent problems."""
  return 100 * (1 - (1 - study_lib.LEVEL) ** num_problems)


def _choice(advice):
  """Names the method to use and compares it with the base."""
  problem = advice.problem
  start = f"{problem.name}: use {_with_setting(problem, advice.method)}"
  if not problem.others:
    return f"{start}. No other weighting was trained to compare it with."
  decides, likely = problem.metrics
  if advice.reason is None:
    return f"{start}. {_powerless(problem) or _no_gain(problem)}"
  order = (decides, likely)
  if advice.reason == likely:
    start, order = f"{start}, because of its likelihood", (likely, decides)
  compared = "; ".join(
    f"{_numbers(c)} ({_VERDICTS[c.verdict]})"
    for c in (advice.comparisons[metric] for metric in order)
  )
  return f"{start}. Compared with {problem.base.name}: {compared}."


def _powerless(problem):
  """Says that no difference can be significant, or returns ""."""
  seeds, number = len(problem.base.run.results["seeds"]), len(problem.others)
  least = min(1.0, number * statistics.least_p_value(seeds))
  if least < study_lib.LEVEL:
    return ""
  return (
    f"The study cannot tell with {tables.quantity(seeds, 'seed')} if another"
    f" method is better: after the correction for"
    f" {tables.quantity(number, 'comparison')}, the smallest possible p-value"
    f" is {least:.2g}. Train more seeds or compare fewer methods."
  )


def _no_gain(problem):
  """Explains why the base is the advice."""
  decides, likely = problem.metrics
  # A significant gain that is no reason for advice is one in likelihood only.
  better = [c.method for c in problem.comparisons.values() if c.verdict > 0]
  if not better:
    return "No other method is significantly better."
  return (
    f"Methods that are significantly better in {WORDS[likely][0]}, but"
    f" significantly worse in {WORDS[decides][0]}: {', '.join(better)}."
  )


def _also(advice):
  if advice.also:
    yield (
      f"Also significantly better in {WORDS[advice.reason][0]}, with an equal"
      f" or smaller gain: {', '.join(advice.also)}."
    )


def _worse(advice):
  if advice.worse:
    methods = "; ".join(f"{c.method}, {_numbers(c)}" for c in advice.worse)
    base = advice.problem.base.name
    yield f"Significantly worse than {base}: {methods}."


def _baselines(problem):
  """Names the baselines that are significantly better than the base."""
  for name in problem.baselines:
    better = [
      _numbers(c)
      for metric in problem.metrics
      if (c := problem.baseline_comparisons[name, metric]).verdict > 0
    ]
    if better:
      yield (
        f"Without further training, {name} is significantly better than"
        f" {problem.base.name}: {'; '.join(better)}."
      )


def _modalities(problem):
  """Says which modalities are idle, and which only tell something together."""
  tested = problem.base.run.results.get("information", {})
  idle = [m for m, tests in tested.items() if tests["idle"]]
  if idle:
    yield (
      f"Idle modalities: {', '.join(idle)}. They tell nothing alone, and the"
      f" uniform model does not need them{_by_gate(problem)}."
    )
  together = [
    f"{m} ({tests['exchanged']['rise']:.2f} nats)"
    for m, tests in tested.items()
    if tests["alone"]["corrected"] >= study_lib.LEVEL
    and tests["exchanged"]["corrected"] < study_lib.LEVEL
  ]
  if together:
    yield (
      "These modalities tell nothing alone, but the uniform model loses"
      f" without them: {', '.join(together)}. Keep them."
    )


def _by_gate(problem):
  """Says what the gate did with idle modalities, as the end of a sentence."""
  gate = problem.methods.get(study_lib.GATE)
  if gate is None:
    return "; --weighting=gate tries to close them"
  if gate.row["choice"]["variant"] == study_lib.GATE:
    return "; the gate closes them"
  return (
    ", but validation cannot exclude that closing them does harm, so the gate"
    " keeps them open"
  )


def _with_setting(problem, name):
  """Returns a method's name, with its choice if it had several candidates."""
  method = problem.methods[name]
  if method.row["candidates"] == 1:
    return name
  chosen = labels.setting("", method.choice).replace(", λ =", " at strength")
  if method.choice["variant"] == study_lib.GATE:
    chosen = f"the gate {chosen}"
  return f"{name} (it chose {chosen})"


def _numbers(comparison):
  """Formats the change of the metric, its interval and the p-value."""
  mean, low, high = tables.COLUMNS[comparison.metric].change(
    comparison.gain, comparison.interval
  )
  name, unit = WORDS[comparison.metric]
  p_text = tables.p_text(comparison.corrected)
  return f"{name} {mean}{unit} [{low}, {high}], {p_text}"
