import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import forward as forward_lib
from btw_jax.methods.balance import mla
from btw_jax.models import networks
from btw_jax.models import shared_head
from support import balances
from support import problems

SUBSETS = np.array(
  [(1, 1, 1), (1, 0, 0), (0, 1, 1), (0, 0, 1), (0, 0, 0)], dtype=bool
)


def _shared(sizes):
  return shared_head.SharedHead(sizes, mla.CERTAINTIES["multiclass"])


@pytest.mark.training
@pytest.mark.parametrize(
  "network",
  [
    networks.Concatenation,
    problems.mixture(),
    problems.mixture(placeholder=True),
    _shared,
  ],
  ids=["mlp", "moe", "placeholder", "shared_head"],
)
def test_a_subset_is_an_example_that_lacks_the_other_modalities(network):
  """Dropout masks are those of any other pass of the step."""
  forward = balances.forward_of(3, network, dropout=0.3)
  embeddings = forward.encode(forward.batch)
  outputs, known = jax.jit(forward.fuse_subsets)(embeddings, SUBSETS)
  for number, subset in enumerate(SUBSETS):
    expected, has = balances.fuse_only(forward, embeddings, subset)
    np.testing.assert_array_equal(known[number], has)
    np.testing.assert_allclose(
      np.asarray(outputs[number])[has], expected[has], rtol=1e-4, atol=1e-5
    )
  assert np.all(np.isfinite(outputs))


@pytest.mark.training
@pytest.mark.parametrize(
  "network", [networks.Concatenation, problems.mixture()], ids=["mlp", "moe"]
)
def test_all_modalities_are_the_plain_pass(network):
  forward = balances.forward_of(3, network, dropout=0.3)
  embeddings = forward.encode(forward.batch)
  outputs, _ = jax.jit(forward.fuse_subsets)(embeddings, SUBSETS[:1])
  expected, _ = forward.fuse(embeddings, forward.batch, forward.multipliers)
  np.testing.assert_allclose(outputs[0], expected[0], rtol=1e-4, atol=1e-5)


def _keep_mean(multipliers, before, after):
  """Rescales multipliers example by example."""
  kept = np.zeros_like(multipliers)
  for i in range(len(multipliers)):
    if after[i].any():
      old, new = (multipliers[i][x[i]].mean() for x in (before, after))
      kept[i][after[i]] = multipliers[i][after[i]] * (old / new if new else 1)
  return kept


@hypothesis.given(st.integers(0, 10_000), st.integers(2, 5))
def test_hiding_modalities_keeps_the_mean(seed, num_modalities):
  rng = np.random.default_rng(seed)
  before, hidden = rng.random((2, 6, num_modalities)) < 0.5
  after = before & ~hidden
  multipliers = rng.uniform(0, 2, before.shape) * before
  actual = forward_lib.keep_mean(multipliers, before, after)
  expected = _keep_mean(multipliers, before, after)
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_multipliers_of_1_stay_exactly_1():
  before = np.array([[True, True, True], [True, True, False]])
  after = np.array([[True, False, True], [True, True, False]])
  multipliers = jnp.where(before, jnp.float32(0.1), 0.0)
  actual = forward_lib.keep_mean(multipliers, before, after)
  np.testing.assert_array_equal(actual, np.where(after, np.float32(0.1), 0))


def test_what_weighs_nothing_stays_finite():
  multipliers = jnp.array([[0.0, 2.0], [0.0, 0.0]])
  present = np.ones((2, 2), bool)
  first = np.array([[True, False], [True, False]])

  def total(multipliers):
    return jnp.sum(forward_lib.keep_mean(multipliers, present, first))

  np.testing.assert_array_equal(
    forward_lib.keep_mean(multipliers, present, first), np.zeros((2, 2))
  )
  assert np.all(np.isfinite(jax.grad(total)(multipliers)))


@pytest.mark.training
def test_losses_count_where_the_model_trains_and_fixed_params_learn_nothing():
  forward = balances.forward_of(3)
  embeddings = forward.encode(forward.batch)
  outputs, _ = forward.fuse(embeddings, forward.batch, forward.multipliers)
  losses = forward.losses(outputs, forward.batch)
  expected = np.asarray(forward.task.loss(outputs, forward.batch.target))
  # The last example has no modality.
  np.testing.assert_allclose(losses[:, :-1], expected[:, :-1], rtol=1e-6)
  assert losses[0, -1] == 0 != expected[0, -1]

  def total(params):
    fixed = forward.with_params(params).with_fixed_params()
    return jnp.sum(fixed.fuse(embeddings, forward.batch, None)[0])

  for slope in jax.tree.leaves(jax.jit(jax.grad(total))(forward.params)):
    np.testing.assert_array_equal(slope, 0)
