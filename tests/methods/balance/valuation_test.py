import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.methods.balance import valuation
from support import balances

pytestmark = pytest.mark.training


def _values(forward, embeddings):
  """Computes φ `[M, B]` over all orders, example by example."""
  present = np.asarray(forward.batch.present)
  num_examples, num_modalities = present.shape
  worth = {}
  for subset in itertools.product([False, True], repeat=num_modalities):
    outputs, known = balances.fuse_only(forward, embeddings, subset)
    correct = np.asarray(forward.task.score(outputs, forward.batch.target))
    if forward.task.unit == "mae":
      correct = np.exp(-correct)
    size = (present & np.array(subset)).sum(axis=1)
    worth[subset] = np.where(known, size * correct, 0.0)
  values = np.zeros((num_modalities, num_examples))
  orders = list(itertools.permutations(range(num_modalities)))
  for order in orders:
    subset = [False] * num_modalities
    for m in order:
      before = worth[tuple(subset)]
      subset[m] = True
      values[m] += (worth[tuple(subset)] - before) / len(orders)
  return values


@pytest.mark.parametrize(
  "num_modalities, task",
  [(2, "multiclass"), (3, "binary"), (3, "regression"), (3, "multilabel")],
)
def test_values_are_those_of_all_orders(num_modalities, task):
  forward = balances.forward_of(num_modalities, task=task, num_examples=40)
  embeddings = forward.encode(forward.batch)
  actual = jax.jit(
    lambda: valuation.values(forward, embeddings, balances.KEY)
  )()
  expected = _values(forward, embeddings)
  assert np.ptp(expected) > 0.5
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_modality_is_seen_again_as_far_as_its_value_falls_short():
  forward = balances.forward_of(3, num_examples=40)
  embeddings = forward.encode(forward.batch)
  hook = valuation.Method(3)
  zeros = jnp.zeros((1, 40))
  values = _values(forward, embeddings)
  expected = np.zeros(40)
  for m, subset in enumerate(np.eye(3, dtype=bool)):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    loss = np.asarray(forward.task.loss(outputs, forward.batch.target))
    expected += 0.7 * np.where(has, np.maximum(1 - values[m], 0) * loss, 0)

  @jax.jit
  def added(state):
    step = balances.step(state, 0.7)
    return hook.minimise(step, forward, embeddings, None, zeros)

  for epochs in (0, 4):
    np.testing.assert_array_equal(added(balances.after_epochs(hook, epochs)), 0)
  actual = added(balances.after_epochs(hook, 5))
  np.testing.assert_allclose(actual[0], expected, rtol=1e-3, atol=1e-5)


def test_what_every_modality_decides_correctly_is_not_seen_again():
  forward = balances.forward_of(3, num_examples=40)
  embeddings = forward.encode(forward.batch)
  all_correct = np.asarray(forward.batch.present).any(axis=1)
  for subset in itertools.product([False, True], repeat=3):
    outputs, known = balances.fuse_only(forward, embeddings, subset)
    decided = outputs.argmax(-1) == np.asarray(forward.batch.target)
    all_correct &= decided | ~known
  assert all_correct.any()
  hook = valuation.Method(3)
  step = balances.step(balances.after_epochs(hook, 5), 3.0)
  added = hook.minimise(step, forward, embeddings, None, jnp.zeros((1, 40)))
  np.testing.assert_allclose(added[0][all_correct], 0, atol=1e-5)


def test_values_have_no_gradient():
  forward = balances.forward_of(2, task="regression")

  def total(params, scale):
    moved = forward.with_params(params)
    embeddings = scale * moved.encode(forward.batch)
    return jnp.sum(valuation.values(moved, embeddings, balances.KEY))

  for slope in jax.tree.leaves(
    jax.jit(jax.grad(total, (0, 1)))(forward.params, 1.0)
  ):
    np.testing.assert_array_equal(slope, 0)
