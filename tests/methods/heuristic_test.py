import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax import interventions
from btw_jax.methods import heuristic
from btw_jax.models import networks
from support import forwards


def test_one_modality_of_an_example_is_intervened_on():
  present = np.random.default_rng(0).random((2000, 4)) < 0.6
  method = heuristic.Heuristic(
    ("noise", "mismatch", "zero"),
    (1.0, 2.0, 1.0),
    forwards.PLAIN,
    (0,),
    (0, 1, 3),
  )
  chosen = np.asarray(jax.jit(method.choose)(forwards.KEY, present))
  taken = chosen >= 0
  may = present & [True, True, False, True]
  np.testing.assert_array_equal(taken.sum(axis=1), may.any(axis=1))
  assert not np.any(taken & ~may)
  counts = np.bincount(chosen[taken])
  expected = np.array([1, 2, 1]) / 4 * counts.sum()
  assert stats.chisquare(counts, expected).pvalue > 0.001
  complete = may[:, [0, 1, 3]].all(axis=1)
  counts_per_modality = taken[complete][:, [0, 1, 3]].sum(axis=0)
  assert stats.chisquare(counts_per_modality).pvalue > 0.001


@pytest.mark.training
def test_copies_are_what_the_network_says_to_the_intervened_batch():
  forward = forwards.forward_of(networks.Concatenation, task="multiclass")
  zeros = dataclasses.replace(forward, seed=jnp.int32(7))
  feature_stats = interventions.FeatureStats(
    *np.random.default_rng(0).normal(size=(3, 2, 3, 5)).astype("f")
  )
  # Seed 7 of (6, 7) uses the second row of `feature_stats.zero`.
  method = heuristic.Heuristic(("zero",), (1.0,), feature_stats, (6, 7))
  outputs, copy = jax.jit(lambda: method(zeros, None, forwards.KEY))()
  changed = np.any(np.asarray(copy.features != forward.batch.features), axis=2)
  np.testing.assert_array_equal(changed.sum(axis=1), [1] * 15 + [0])
  expected = np.where(
    changed[..., None], feature_stats.zero[1], forward.batch.features
  )
  np.testing.assert_array_equal(copy.features, expected)
  again, _ = forward.fuse(
    forward.encode(forward.batch._replace(features=expected)),
    forward.batch,
    forward.multipliers,
  )
  np.testing.assert_allclose(outputs, again, rtol=1e-5, atol=1e-6)


@pytest.mark.training
def test_what_is_left_is_multiplied_by_more():
  """The mean of the multipliers stays the same."""
  seen = []

  class Recording(networks.Concatenation):
    def fuse(self, embeddings, batch, multipliers, *, train):
      seen.append((multipliers, batch.present))
      return super().fuse(embeddings, batch, multipliers, train=train)

  forward = forwards.forward_of(Recording, task="multiclass")
  method = heuristic.Heuristic(("missing",), (1.0,), forwards.PLAIN, (0,))
  seen.clear()
  _, copy = method(forward, None, forwards.KEY)
  ((multipliers, present),) = seen
  np.testing.assert_array_equal(present, copy.present)
  before = np.asarray(forward.multipliers)
  np.testing.assert_array_equal(multipliers > 0, present)
  for i in np.flatnonzero(present.any(axis=1)):
    batch_present, copy_present = (
      np.asarray(forward.batch.present[i]),
      np.asarray(present[i]),
    )
    assert batch_present.sum() == copy_present.sum() + 1
    np.testing.assert_allclose(
      multipliers[i, copy_present].mean(),
      before[i, batch_present].mean(),
      rtol=1e-5,
    )
    ratio = multipliers[i, copy_present] / before[i, copy_present]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
