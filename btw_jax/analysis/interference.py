"""Modality interference: what a model's answers owe to each modality.

Intervene on one modality, leave the rest, and compare the answers before and
after: the effect is causal, since nothing else has changed. Cai et al. (2025),
"Diagnosing and mitigating modality interference in multimodal large language
models".
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

# Interventions that need nothing of a model but its inputs.
_REPLACING = tuple(k for k in interventions.KINDS if k != "missing")


class Effect(NamedTuple):
  """What an intervention does to the answer for each example.

  Attributes:
    before: `[...]` score of the answer to the example as it is: 1 where right
      and 0 where not, or the absolute error.
    after: `[...]` score of the answer after the intervention.
    flipped: `[...]` 1 where another decision is made, else 0.
    divergence: `[...]` nats, of the prediction before from that after.
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
  """Compares what a model says before and after an intervention.

  Args:
    task: what its outputs mean.
    before: `[..., K]` outputs for the examples as they are.
    after: `[..., K]` outputs after the intervention.
    target: what is right, to broadcast against `[...]`.
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
  usual: Mapping[str, interventions.FeatureStats] | None = None,
  kinds: Sequence[str] = _REPLACING,
  others: bool = False,
  divergence: str = "kl",
) -> dict[str, dict[str, Effect]]:
  """Intervenes on every modality of any model's inputs in turn.

  Args:
    apply: `apply(params, inputs)` -> outputs `[N, K]`, compiled here.
    params: its first argument.
    inputs: modality -> pytree of arrays `[N, ...]`.
    target: `[N]`, or `[N, C]` of several labels.
    task: what outputs mean, as `tasks.make` gives it.
    key: of all that is drawn.
    usual: modality -> `interventions.feature_stats` of its training examples; of these
      examples if None.
    kinds: names of `interventions.KINDS`. With "missing", `apply` gets None
      in place of a modality.
    others: intervene on all other modalities instead: `after` is then the
      model's competence on the modality alone.
    divergence: a name of `predictions.DIVERGENCES`.

  Returns:
    Modality -> kind -> effect, `[N]` each.

  Raises:
    ValueError: if a kind is unknown, or values are to be replaced that are no
      floating-point numbers.
  """
  wrong = [kind for kind in kinds if kind not in interventions.KINDS]
  if wrong:
    raise ValueError(
      f"kinds={wrong[0]!r}: use some of {', '.join(interventions.KINDS)}."
    )
  predict, classes = jax.jit(apply), task.classes(target)
  before = predict(params, inputs)
  if usual is None:
    usual = {
      name: interventions.feature_stats(own) for name, own in inputs.items()
    }

  def perturbed(kind, own):
    new = dict(inputs)
    for number, name in enumerate(inputs):
      if (name == own) != others:
        own_key = jax.random.fold_in(key, number)
        new[name] = _intervene(
          kind, own_key, inputs[name], usual[name], classes
        )
    return new

  return {
    name: {
      kind: _effect(
        task, before, predict(params, perturbed(kind, name)), target,
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
) -> np.ndarray:
  """Bootstrap intervals of means over examples, by percentiles.

  Efron and Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
  All means are of the same resamples, hence can be compared.

  Args:
    values: K arrays `[N]`.
    level: share of resamples inside.
    num_resamples: drawn.
    seed: of what is drawn.

  Returns:
    `[K, 2]` lower and upper ends.
  """
  table = np.stack([np.asarray(x, np.float64) for x in values])
  if table.shape[1] == 1:
    return np.repeat(table, 2, axis=1)
  found = stats.bootstrap(
    (table,),
    np.mean,
    axis=-1,
    n_resamples=num_resamples,
    batch=max(1, 10**7 // table.size),
    confidence_level=level,
    method="percentile",
    rng=np.random.default_rng(seed),
  )
  return np.stack(found.confidence_interval, axis=-1)
