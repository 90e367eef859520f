"""One paragraph on all data sets, written from the tests of significance.

It says which methods are significantly better or worse than the uniform model,
on which data sets, by how much and at what cost, and what each method chose.
"""

from collections.abc import Iterator, Sequence

from btw_jax.reports import costs
from btw_jax.reports import recommendation
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables
from btw_jax.reports import tuning

# More names than any listing has.
_ALL = 1000


def paragraphs(problems: Sequence[study_lib.Problem]) -> list[str]:
  """Writes the paragraph; none if there is nothing to compare."""
  problems = [problem for problem in problems if problem.others]
  if not problems:
    return []
  sentences = [_subject(problems), *_powerless(problems)]
  for metric, place in ((study_lib.name_units(problems), 0), ("NLL", 1)):
    sentences += [
      _better(problems, metric, place),
      _worse(problems, metric, place),
    ]
  sentences += [*_baselines(problems), *_choices(problems)]
  return [" ".join(sentences)]


def _subject(problems):
  """Says what is compared with what."""
  number = len({m.name for p in problems for m in p.others})
  are = "is" if number == 1 else "are"
  tuned = ""
  if all(tuning.is_tuned(p.base) for p in problems):
    tuned = ", whose learning rate was tuned"
    counts = {p.base.run.results["tune"] for p in problems}
    if len(counts) == 1:
      tuned += f" from {tables.quantity(counts.pop(), 'candidate')}"
  return (
    f"In short ({_list(p.name for p in problems)}):"
    f" {tables.quantity(number, 'method')} {are} compared with the uniform"
    f" model{tuned}. P-values are corrected for the methods of each data set"
    " (Holm)."
  )


def _powerless(problems) -> Iterator[str]:
  """Names the data sets on which no difference can be significant."""
  names = [
    p.name
    for p in problems
    if len(p.others)
    * statistics.least_p_value(len(p.base.run.results["seeds"]))
    >= study_lib.LEVEL
  ]
  if names:
    yield (
      f"There are too few seeds for so many methods on {_list(names)}: no"
      " single difference can be significant there."
    )


def _better(problems, metric, place):
  """Names the methods that beat the uniform model, or says that none does."""
  found = _list_significant(problems, place, 1, costs_too=True)
  if not found:
    return (
      "No method is significantly better than the uniform model in"
      f" {metric}{_anywhere(problems)}."
    )
  return f"Significantly better in {metric}: {found}."


def _worse(problems, metric, place):
  found = _list_significant(problems, place, -1)
  if not found:
    return f"No method is significantly worse in {metric}."
  return f"Significantly worse in {metric}: {found}."


def _anywhere(problems):
  return "" if len(problems) == 1 else " on any data set"


def _list_significant(problems, place, verdict, *, costs_too=False):
  """Lists methods with a verdict, by the metric at a place of each problem."""
  names = dict.fromkeys(m.name for p in problems for m in p.others)
  listed = []
  for name in names:
    where = [
      f"on {problem.name} ({_numbers(problem, comparison, costs_too)})"
      for problem in problems
      if (comparison := problem.comparisons.get((name, problem.metrics[place])))
      and comparison.verdict == verdict
    ]
    if where:
      listed.append(f"{name} {_list(where)}")
  return "; ".join(listed)


def _numbers(problem, comparison, costs_too):
  """Formats a change, its p-value and the cost of the method."""
  metric = comparison.metric
  change, _, _ = tables.COLUMNS[metric].change(
    comparison.gain, comparison.interval
  )
  _, unit = recommendation.WORDS[metric]
  text = f"{change}{unit}, {tables.p_text(comparison.corrected)}"
  method = problem.methods.get(comparison.method)
  cost = costs.cell(problem, method) if costs_too and method else ""
  return f"{text}, {cost} times the time of an epoch" if cost else text


def _baselines(problems) -> Iterator[str]:
  """Names the baselines that beat the uniform model in decisions."""
  found = [
    f"{name} on {p.name} ({_numbers(p, c, costs_too=False)})"
    for p in problems
    for (name, metric), c in p.baseline_comparisons.items()
    if metric == p.unit and c.verdict > 0
  ]
  if found:
    yield (
      "Without further training, significantly better in"
      f" {study_lib.name_units(problems)}: {'; '.join(found)}."
    )


def _choices(problems) -> Iterator[str]:
  """Says what each method chose that had several candidates."""
  chosen = {}
  for problem in problems:
    for name, method in problem.methods.items():
      if tuning.is_tuned(method):
        of_method = chosen.setdefault(name, {})
        of_method.setdefault(_chosen(method), []).append(problem.name)
  if chosen:
    parts = [
      f"{name}: {_list(_where(problems, values))}"
      for name, values in chosen.items()
    ]
    yield f"Chosen by the validation loss: {'; '.join(parts)}."


def _chosen(method):
  if method.weighting == study_lib.BASE:
    return f"learning rate {tuning.learning_rate(method):g}"
  return tuning.setting(method.weighting, method.choice)


def _where(problems, values) -> Iterator[str]:
  """Yields each choice with the data sets that made it."""
  for choice, names in values.items():
    alone = len(problems) == 1
    yield choice if alone else f"{choice} on {_list(names)}"


def _list(names):
  return tables.listing(list(names), most=_ALL)
