"""The contribution of each modality to the quality of a run's models."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import interventions
from btw_jax import paired
from btw_jax import shapley
from btw_jax import types
from btw_jax.analysis import contribution
from btw_jax.data import batching
from btw_jax.pipeline import finished_run
from btw_jax.reports import tables

# Half the width of a 95 % interval, in standard errors.
_NORMAL = 1.96


@dataclasses.dataclass(frozen=True)
class Options:
  """The way contributions are measured.

  Attributes:
    removal: "absent" marks a modality as missing; "shuffle" takes it from other
      examples and averages the predictions.
    num_examples: the largest number of examples.
    num_donors: number of other examples that "shuffle" averages over.
    num_permutations: number of sampled orders of more than 8 modalities.
    seed: of all random numbers.
  """

  removal: str = "absent"
  num_examples: int = 1000
  num_donors: int = 8
  num_permutations: int = 64
  seed: int = 0


def measure(
  run: finished_run.FinishedRun, weightings: Sequence[str], options: Options
) -> dict[str, Any]:
  """Measures the contributions of all modalities under some weightings.

  Args:
    run: the run with the examples.
    weightings: names of weightings of the run.
    options: the way to measure.

  Returns:
    For JSON: `removal`, `num_examples`, and `rows`, one per weighting, modality
    and metric ("likelihood" in nats, or the unit of the task): `mean` with its
    95 % `interval` over seeds and examples, and `seeds`, the mean of each. The
    rows of modality None hold the sum over modalities: the quality of all
    modalities minus that of none.
  """
  run, examples = _sample(run, options.num_examples)
  plan = shapley.plan(
    len(run.modalities),
    num_permutations=options.num_permutations,
    seed=options.seed,
  )
  target = _per_seed(run, run.batch.target)
  evaluate = _Evaluator(run, options, target)
  rows = []
  for weighting in weightings:
    values = [evaluate(weighting, kept) for kept in plan.kept]
    stacked = jax.tree.map(lambda *x: np.stack(x), *values)
    for metric, of_sets in zip(
      ("likelihood", run.task.unit), stacked, strict=True
    ):
      shares = np.asarray(shapley.values(plan, of_sets))
      total = of_sets[-1] - of_sets[0]
      for modality, values in zip(
        (*run.modalities, None), (*shares, total), strict=True
      ):
        rows.append(
          {
            "weighting": weighting,
            "modality": modality,
            "metric": metric,
            **_summary(values, examples),
          }
        )
  return {
    "removal": options.removal,
    "num_examples": len(examples[0]),
    "rows": rows,
  }


def table(contributions: Mapping[str, Any]) -> str:
  """Formats what `measure` returns as a table per weighting, with bars."""
  rows = contributions["rows"]
  removed = {
    "absent": "marked as missing", "shuffle": "taken from other examples"
  }[contributions["removal"]]  # fmt: skip
  blocks = [
    f"Shapley values over {contributions['num_examples']:,} examples; a"
    f" modality that is taken away is {removed}; 95 % intervals over seeds and"
    " examples"
  ]
  for weighting in dict.fromkeys(row["weighting"] for row in rows):
    of_weighting = [r for r in rows if r["weighting"] == weighting]
    likelihood = [r for r in of_weighting if r["metric"] == "likelihood"]
    largest = max(abs(r["mean"]) for r in likelihood[:-1]) or 1.0
    lines = []
    for row in likelihood:
      name = row["modality"]
      (other,) = (
        r
        for r in of_weighting
        if r["modality"] == name and r["metric"] != "likelihood"
      )
      bar = "█" * round(20 * max(row["mean"], 0.0) / largest)
      lines.append(
        {
          "modality": "all together" if name is None else name,
          "log-likelihood, nats": _with_interval(row, 1.0, 3),
          _heading(other["metric"]): _with_interval(
            other, *_format(other["metric"])
          ),
          "relative": "" if name is None else bar,
        }
      )
    blocks += [f"{weighting}:", tables.markdown(lines)]
  return "\n\n".join(blocks)


def _heading(metric):
  return "accuracy, points" if metric == "accuracy" else "less error"


def _format(metric):
  return (100.0, 2) if metric == "accuracy" else (1.0, 3)


def _with_interval(row, factor, digits):
  # Adding 0 turns −0 into 0.
  mean, low, high = (
    round(factor * x, digits) + 0.0 for x in (row["mean"], *row["interval"])
  )
  return f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


class _Evaluator:
  """The quality of the models of a run, given a set of modalities."""

  def __init__(self, run, options, target):
    """Draws the donors of a shuffle."""
    self._run, self._options, self._target = run, options, target
    task = run.task
    self._quality = jax.jit(
      jax.vmap(lambda outputs, y: contribution.quality(task, outputs, y))
    )
    self._mean_quality = jax.jit(
      jax.vmap(
        lambda outputs, y: contribution.mean_quality(task, outputs, y), (1, 0)
      )
    )
    self._nothing = jax.jit(
      jax.vmap(lambda y: contribution.constant_quality(task, y))
    )(target)
    keys = jax.random.split(jax.random.key(options.seed), options.num_donors)
    everyone = jnp.ones(target.shape[1], bool)
    self._donors = [interventions.shuffled(key, everyone) for key in keys]

  def __call__(self, weighting, kept):
    """Returns the quality `[S, N]` with the modalities of `kept`, `[M]`."""
    quality = jax.device_get(self._evaluate(weighting, kept))
    return quality._replace(score=self._run.to_target_unit(quality.score))

  def _evaluate(self, weighting, kept):
    """Returns the quality, with errors of standardised targets."""
    run, split = self._run, self._run.split
    if self._options.removal == "absent":
      present = np.asarray(split.batch.present) & kept
      batch = split.batch._replace(present=present)
      outputs, _ = run.predict(weighting, split._replace(batch=batch))
      is_open = run.models.multimodal[weighting].run_params.is_open
      if is_open is not None:
        # An example that has closed modalities only tells the model nothing.
        present = present & np.asarray(is_open)
      has_any = _per_seed(run, present.any(axis=-1))
      return jax.tree.map(
        lambda x, nothing: np.where(has_any, x, nothing),
        self._quality(outputs, self._target),
        self._nothing,
      )
    if kept.all():
      outputs, _ = run.predict(weighting, split)
      return self._quality(outputs, self._target)
    outputs = [
      run.predict(weighting, _take(run, kept, donors))[0]
      for donors in self._donors
    ]
    return self._mean_quality(jnp.stack(outputs), self._target)


def _take(run, kept, donors):
  """Returns the split whose modalities outside `kept` are the donors'."""
  rows = contribution.rows_of_set(kept, donors)

  def recombine(batch):
    return interventions.recombine(batch, rows, run.groups)

  batch = run.batch
  if batch.present.ndim == 3:
    recombine = jax.vmap(recombine)
  numbers = np.arange(rows.shape[1])[:, None]
  unimodal = jnp.asarray(run.split.unimodal)[:, numbers, rows.T]
  return types.Split(recombine(batch._replace(target=None)), unimodal)


def _sample(run, num_examples):
  """Returns the run with at most so many examples, and their numbers."""
  number = run.batch.present.shape[-2]
  rows = np.arange(number)
  if number > num_examples:
    rows = np.linspace(0, number - 1, num_examples).astype(int)
  batch = batching.take(run.batch, rows)
  ids = [x[rows] for x in run.ids]
  run = dataclasses.replace(run, batch=batch, ids=ids)
  return run, paired.number_examples(ids, len(run.seeds))


def _per_seed(run, values):
  """Gives values of examples an axis of seeds, if they have none."""
  values = np.asarray(values)
  if run.batch.present.ndim == 3:
    return values
  return np.broadcast_to(values, (len(run.seeds), *values.shape))


def _summary(values, examples):
  mean = paired.over_seeds_and_examples(values, examples)
  # A single example has no interval.
  width = _NORMAL * mean.error if np.isfinite(mean.error) else 0.0
  return {
    "mean": mean.value,
    "interval": [mean.value - width, mean.value + width],
    "seeds": np.mean(values, axis=1).tolist(),
  }
