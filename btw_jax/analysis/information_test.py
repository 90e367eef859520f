"""A permutation test of a modality's information about the prediction."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.mutual_information import permutation

# Number folded into a run's seed, apart from the streams of training.
_STREAM = 100


def information_tests(
  task: tasks.Task,
  unimodal: chex.Array,
  multimodal: chex.Array,
  present: chex.Array,
  seeds: Sequence[int],
  *,
  num_permutations: int,
  transform: str = "none",
) -> permutation.PermutationTest:
  """Tests the information between each unimodal and the multimodal prediction.

  Outputs are `[S, M, N, K]` and `[S, N, K]`, `present` is `[N, M]` or
  `[S, N, M]`, and the tests are `[S, M]`. A modality is tested on the examples
  that have it. Each seed draws its own permutations. `transform` is a name of
  `transforms.TRANSFORMS`, for point predictions.
  """

  def estimate(p, q, where):
    return predictions.information(p, q, where=where, transform=transform)

  def test_modality(p, key, q, where):
    return permutation.permutation_test(
      estimate, key, p, q, num_permutations, where=where
    )

  def test_seed(unimodal, multimodal, present, seed):
    key = jax.random.fold_in(jax.random.key(seed), _STREAM)
    keys = jax.random.split(key, unimodal.shape[0])
    q = task.predict(multimodal)
    return jax.vmap(test_modality, (0, 0, None, 1))(
      task.predict(unimodal), keys, q, present
    )

  axis = 0 if present.ndim == 3 else None
  mapped = jax.jit(jax.vmap(test_seed, (0, 0, axis, 0)))
  return jax.device_get(
    mapped(unimodal, multimodal, present, jnp.asarray(seeds))
  )
