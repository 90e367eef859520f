"""BTW weights of modalities, and the information of each modality's model."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import paired
from btw_jax import predictions
from btw_jax import weighting
from btw_jax.data.answers import conditions
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import permutation


class Weights(NamedTuple):
  """The weights of M modalities in N examples.

  Attributes:
    tables: variant -> `[N, M]`; rows sum to 1.
    divergence: `[N, M]` KL(p_m ‖ q) nats.
    information: a row per modality: information and correlation of its model
      with the multimodal model, and the test of the information against chance.
  """

  tables: Mapping[str, np.ndarray]
  divergence: np.ndarray
  information: Sequence[Mapping[str, Any]]


def compute(
  answers: conditions.Answers,
  alone: Mapping[str, str],
  reference: str,
  *,
  num_permutations: int,
  seed: int,
) -> Weights:
  """Computes the weights of every variant.

  Args:
    answers: of all conditions.
    alone: modality -> the condition that shows it alone.
    reference: the condition that shows everything.
    num_permutations: of the test of each information.
    seed: of the permutations.
  """
  unimodal = predictions.Categorical(
    jnp.stack([jnp.asarray(answers.log_probs[c]) for c in alone.values()])
  )
  multimodal = predictions.Categorical(
    jnp.asarray(answers.log_probs[reference])
  )
  tables, divergence, correlation = jax.tree.map(
    np.asarray, _weigh(unimodal, multimodal)
  )
  test = jax.tree.map(
    np.asarray,
    _test(
      jax.random.key(seed),
      jax.nn.softmax(unimodal.logits),
      jax.nn.softmax(multimodal.logits),
      num_permutations,
    ),
  )
  columns = {
    "information": test.value,
    "null_mean": test.null_mean,
    "null_std": test.null_std,
    "p_value": paired.holm(test.p_value),
    "correlation": correlation,
  }
  information = [
    {"modality": modality} | {k: float(v[m]) for k, v in columns.items()}
    for m, modality in enumerate(alone)
  ]
  return Weights(tables, divergence, information)


@jax.jit
def _weigh(unimodal, multimodal):
  """Returns the weights of all variants, the divergence and the correlation.

  In one program, the variants share the divergence and the information.
  """
  tables = {
    variant: weighting.weigh(unimodal, multimodal, variant=variant)
    for variant in weighting.VARIANTS
  }
  present = jnp.ones(unimodal.logits.shape[1::-1], bool)
  return (
    tables,
    weighting.divergence(unimodal, multimodal),
    weighting.set_information(
      unimodal, multimodal, present=present, measure="cc"
    ),
  )


@functools.partial(jax.jit, static_argnums=3)
def _test(key, p, q, num_permutations):
  """Tests the information of probabilities `[M, N, C]` and `[N, C]`."""

  def information(p, q):
    tables = jax.vmap(discrete.soft_contingency, (1, None))(p, q)
    return discrete.from_joint(tables)

  # The multimodal model is what is shuffled, once for all modalities.
  return permutation.permutation_test(
    information,
    key,
    jnp.swapaxes(p, 0, 1),
    q,
    num_permutations,
    batch_size=1,
  )


def means(weights: Weights, modalities: Sequence[str]) -> list[dict[str, Any]]:
  """Returns a row per variant: the mean weight of each modality."""
  return [
    {
      "variant": variant,
      "means": dict(
        zip(modalities, table.mean(axis=0, dtype=float).tolist(), strict=True)
      ),
    }
    for variant, table in weights.tables.items()
  ]


def columns(
  weights: Weights, modalities: Sequence[str]
) -> dict[str, np.ndarray]:
  """Returns the columns of weights.csv beside the ids."""
  named = {}
  for variant, table in weights.tables.items():
    for modality, values in zip(modalities, table.T, strict=True):
      named[f"{variant}_{modality}"] = values
  for modality, values in zip(modalities, weights.divergence.T, strict=True):
    named[f"divergence_{modality}"] = values
  return named
