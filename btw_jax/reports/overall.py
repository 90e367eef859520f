"""One paragraph on all data sets, written from the tests of significance.

It says which methods are significantly better or worse than the uniform model,
on which data sets, by how much and at what cost, and what each method chose.
"""

from collections.abc import Iterator, Sequence

from btw_jax.reports import costs
from btw_jax.reports import labels
from btw_jax.reports import recommendation
from btw_jax.reports import statistics
from btw_jax.reports import study as study_lib
from btw_jax.reports import tables
from btw_jax.reports import tuning

# So many choices are left to the tables.
_MANY = 8
# More names than any listing has.
_ALL = 1000


def paragraphs(problems: Sequence[study_lib.Problem]) -> list[str]:
  """Writes the paragraph; none if there is nothing to compare."""
  problems = [problem for problem in problems if problem.others]
  if not problems:
    return []
  sentences = [_subject(problems), *_powerless(problems)]
  for metric, place in ((study_lib.name_units(problems), 0), ("NLL", 1)):
    sentences += _differences(problems, metric, place)
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
  costs_text = ""
  if any(costs.cell(p, m) for p in problems for m in p.others):
    costs_text = (
      " The cost is the time of an epoch, relative to that of the uniform"
      " model."
    )
  return (
    f"In short ({_list(p.name for p in problems)}):"
    f" {tables.quantity(number, 'method')} {are} compared with the uniform"
    f" model{tuned}. P-values are corrected for the methods of each data set"
    f" (Holm).{costs_text}"
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
      " difference can be significant there."
    )


def _differences(problems, metric, place) -> Iterator[str]:
  """Names the methods that are better or worse, or says that none is."""
  better = _list_significant(problems, place, 1)
  worse = _list_significant(problems, place, -1)
  where = "" if len(problems) == 1 else " on any data set"
  if better:
    yield f"Significantly better in {metric}: {better}."
  if worse:
    yield f"Significantly worse in {metric}: {worse}."
  missing = [
    word for word, names in (("better", better), ("worse", worse)) if not names
  ]
  if missing:
    yield (
      f"No method is significantly {' or '.join(missing)} than the uniform"
      f" model in {metric}{where}."
    )


def _list_significant(problems, place, verdict):
  """Lists methods with a verdict, by the metric at a place of each problem."""
  names = dict.fromkeys(m.name for p in problems for m in p.others)
  tests = [(p, p.comparisons, p.metrics[place]) for p in problems]
  return _list_verdicts(names, tests, verdict)


def _list_verdicts(names, tests, verdict):
  """Lists names with a verdict, where they have it, and the numbers.

  The tests of each problem are (problem, its comparisons, metric).
  """
  listed = []
  for name in names:
    where = [
      f"on {problem.name} ({_numbers(problem, comparison)})"
      for problem, comparisons, metric in tests
      if (comparison := comparisons.get((name, metric)))
      and comparison.verdict == verdict
    ]
    if where:
      listed.append(f"{name} {_list(where)}")
  return "; ".join(listed)


def _numbers(problem, comparison):
  """Formats a change, its p-value and the cost of a better method."""
  metric = comparison.metric
  change, _, _ = tables.COLUMNS[metric].change(
    comparison.gain, comparison.interval
  )
  _, unit = recommendation.WORDS[metric]
  text = f"{change}{unit}, {tables.p_text(comparison.corrected)}"
  method = problem.methods.get(comparison.method)
  is_better = comparison.verdict > 0
  cost = costs.cell(problem, method) if method and is_better else ""
  return f"{text}, cost {cost}" if cost else text


def _baselines(problems) -> Iterator[str]:
  """Names the baselines that beat the uniform model in decisions."""
  names = dict.fromkeys(name for p in problems for name in p.baselines)
  better = _list_verdicts(
    names, [(p, p.baseline_comparisons, p.unit) for p in problems], 1
  )
  if better:
    yield (
      "Without further training, significantly better in"
      f" {study_lib.name_units(problems)}: {better}."
    )


def _choices(problems) -> Iterator[str]:
  """Says what each method chose that had several candidates."""
  chosen = {}
  for problem in problems:
    for name, method in problem.methods.items():
      if tuning.is_tuned(method):
        of_method = chosen.setdefault(name, {})
        of_method.setdefault(_chosen(method), []).append(problem.name)
  if len(chosen) > _MANY:
    yield "The tables of the settings say what each method chose."
  elif chosen:
    parts = [
      f"{name}: {_list(_where(problems, values))}"
      for name, values in chosen.items()
    ]
    yield f"Chosen by the validation loss: {'; '.join(parts)}."


def _chosen(method):
  if method.weighting == study_lib.BASE:
    return f"learning rate {tuning.learning_rate(method):g}"
  return labels.setting(method.weighting, method.choice)


def _where(problems, values) -> Iterator[str]:
  """Yields each choice, with the data sets that made it unless all did."""
  for choice, names in values.items():
    everywhere = len(names) == len(problems)
    yield choice if everywhere else f"{choice} on {_list(names)}"


def _list(names):
  return tables.listing(list(names), most=_ALL)
