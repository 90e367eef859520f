"""Whether a modality tells more of the multimodal prediction than chance."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.mutual_information import permutation

# Folded into a run's seed, apart from the streams of training.
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
  """Tests the information between each modality's model and the multimodal one.

  Args:
    task: what the outputs mean.
    unimodal: `[S, M, N, K]` outputs of the unimodal models.
    multimodal: `[S, N, K]` outputs of the multimodal ones.
    present: `[N, M]` or `[S, N, M]` bool; examples without a modality do not
      count in its test.
    seeds: S of them; each draws permutations of its own.
    num_permutations: static.
    transform: of point predictions, a name of `transforms.TRANSFORMS`.

  Returns:
    The tests, `[S, M]`.
  """

  def estimator(p, q, where):
    return predictions.information(p, q, where=where, transform=transform)

  def of_modality(p, key, q, where):
    return permutation.permutation_test(
      estimator, key, p, q, num_permutations, where=where
    )

  def of_seed(unimodal, multimodal, present, seed):
    key = jax.random.fold_in(jax.random.key(seed), _STREAM)
    keys = jax.random.split(key, unimodal.shape[0])
    q = task.predict(multimodal)
    return jax.vmap(of_modality, (0, 0, None, 1))(
      task.predict(unimodal), keys, q, present
    )

  axis = 0 if present.ndim == 3 else None
  mapped = jax.jit(jax.vmap(of_seed, (0, 0, axis, 0)))
  return jax.device_get(
    mapped(unimodal, multimodal, present, jnp.asarray(seeds))
  )
