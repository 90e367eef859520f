"""Modality interference: the effect of each modality on a model's predictions.

An intervention changes one modality and keeps all others. The difference
between the predictions before and after is a causal effect, because nothing
else has changed. Cai et al. (2025), "Diagnosing and
mitigating modality interference in multimodal large language models".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from btw_jax import interventions
from btw_jax import predictions
from btw_jax import tasks

# Interventions that work with any model, also one without missing modalities.
_REPLACING = tuple(k for k in interventions.KINDS if k != "missing")


# More examples than these are resampled by their counts.
_MANY_EXAMPLES = 10_000


class Effect(NamedTuple):
  """The effect of an intervention on the prediction for each example.

  Attributes:
    before: `[...]` score before the intervention: 1 for a right decision and 0
      for a wrong one, or the absolute error.
    after: `[...]` score after the intervention.
    flipped: `[...]` 1 where the decision changes, else 0.
    divergence: `[...]` nats, of the prediction before from the one after.
  """

  before: chex.Array
  after: chex.Array
  flipped: chex.Array
  divergence: chex.Array


def effect(
  task: tasks.Task,
  before: chex.Array,
  after: chex.Array,
  target: chex.Array,
  *,
  kind: str = "kl",
) -> Effect:
  """Compares a model's outputs before and after an intervention.

  Args:
    task: the task of the outputs.
    before: `[..., K]` outputs for the original examples.
    after: `[..., K]` outputs after the intervention.
    target: targets, broadcast against `[...]`.
    kind: a name of `predictions.DIVERGENCES`, static: "kl" is KL(before ‖
      after).

  Returns:
    The effect.
  """
  return Effect(
    task.score(before, target),
    task.score(after, target),
    jnp.asarray(task.decide(before) != task.decide(after), before.dtype),
    predictions.divergence(
      task.predict(before), task.predict(after), kind=kind
    ),
  )


def diagnose(
  apply: Callable[[Any, Mapping[str, Any]], chex.Array],
  params: Any,
  inputs: Mapping[str, chex.ArrayTree],
  target: chex.Array,
  *,
  task: tasks.Task,
  key: chex.PRNGKey,
  feature_stats: Mapping[str, interventions.FeatureStats] | None = None,
  kinds: Sequence[str] = _REPLACING,
  others: bool = False,
  divergence: str = "kl",
) -> dict[str, dict[str, Effect]]:
  """Measures the effect of interventions on each modality of any model.

  Args:
    apply: maps `(params, inputs)` to outputs `[N, K]`; compiled here.
    params: first argument of `apply`.
    inputs: modality -> pytree of arrays `[N, ...]`.
    target: `[N]`, or `[N, C]` for several labels.
    task: the task of the outputs, from `tasks.make`.
    key: random key for the interventions.
    feature_stats: modality -> `interventions.feature_stats` of its training
      examples; computed from `inputs` if None.
    kinds: names of `interventions.KINDS`. With "missing", `apply` gets None
      in place of a modality.
    others: whether to intervene on all other modalities instead. `after` is
      then the model's score with the modality alone.
    divergence: a name of `predictions.DIVERGENCES`.

  Returns:
    Modality -> kind -> effect, `[N]` each.

  Raises:
    ValueError: if a kind is unknown, or if values to be replaced are not
      floating-point numbers.
  """
  unknown = [kind for kind in kinds if kind not in interventions.KINDS]
  if unknown:
    raise ValueError(
      f"kinds={unknown[0]!r}: use some of {', '.join(interventions.KINDS)}."
    )
  predict, classes = jax.jit(apply), task.classes(target)
  before = predict(params, inputs)
  if feature_stats is None:
    feature_stats = {
      name: interventions.feature_stats(values)
      for name, values in inputs.items()
    }

  def perturb(kind, modality):
    perturbed = dict(inputs)
    for number, name in enumerate(inputs):
      if (name == modality) != others:
        modality_key = jax.random.fold_in(key, number)
        perturbed[name] = _intervene(
          kind, modality_key, inputs[name], feature_stats[name], classes
        )
    return perturbed

  return {
    name: {
      kind: _effect(
        task, before, predict(params, perturb(kind, name)), target,
        kind=divergence,
      )
      for kind in kinds
    }
    for name in inputs
  }  # fmt: skip


_intervene = jax.jit(interventions.of_modality, static_argnums=0)
_effect = jax.jit(effect, static_argnames=("task", "kind"))


def interval(
  values: Iterable[chex.Array],
  *,
  level: float = 0.95,
  num_resamples: int = 1000,
  seed: int = 0,
  groups: Sequence[Any] | None = None,
) -> np.ndarray:
  """Computes bootstrap percentile intervals of means over examples.

  Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
  All means use the same resamples, so that they can be compared.

  Examples may belong together, such as several questions about one image. Then
  whole groups are resampled (Davison and Hinkley 1997, "Bootstrap methods and
  their application", section 3.8), since examples of a group tell less than
  independent ones.

  Args:
    values: K arrays `[N]`.
    level: coverage of an interval.
    num_resamples: number of resamples.
    seed: seed of the resamples.
    groups: `[N]` the group of each example; each is its own by default.

  Returns:
    `[K, 2]` lower and upper ends.
  """
  table = np.stack([np.asarray(x, np.float64) for x in values])
  # SciPy gathers all values for each resample, which is slow for many.
  if groups is None and table.shape[1] > _MANY_EXAMPLES:
    groups = range(table.shape[1])
  if groups is not None:
    return _group_interval(table, groups, level, num_resamples, seed)
  # SciPy rejects a single example.
  if table.shape[1] == 1:
    return np.repeat(table, 2, axis=1)
  bootstrap = stats.bootstrap(
    (table,),
    np.mean,
    axis=-1,
    n_resamples=num_resamples,
    # Resamples per chunk: it bounds the memory.
    batch=max(1, 10**7 // table.size),
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  )
  return np.stack(bootstrap.confidence_interval, axis=-1)


def _group_interval(table, groups, level, num_resamples, seed):
  """Computes the intervals of means `[K, N]` by resampling groups `[N]`."""
  codes = np.unique(np.asarray(groups), return_inverse=True)[1]
  sizes = np.bincount(codes)
  sums = np.stack([np.bincount(codes, row) for row in table])
  rng = np.random.default_rng(seed)
  means = np.empty((num_resamples, len(table)))
  for resample in means:
    drawn = rng.integers(len(sizes), size=len(sizes))
    counts = np.bincount(drawn, minlength=len(sizes))
    resample[:] = sums @ counts / (sizes @ counts)
  tails = (1 - level) / 2, (1 + level) / 2
  return np.quantile(means, tails, axis=0).T
