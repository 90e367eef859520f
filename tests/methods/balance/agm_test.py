import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.methods.balance import agm
from support import balances

pytestmark = pytest.mark.training


def _shares(forward, embeddings):
  """Adds up what each modality changes, over all orders of modalities."""
  num_modalities = forward.batch.present.shape[1]
  values = {}
  for subset in itertools.product([False, True], repeat=num_modalities):
    outputs, known = balances.fuse_only(forward, embeddings, subset)
    values[subset] = np.where(known[:, None], outputs, 0.0)
  orders = list(itertools.permutations(range(num_modalities)))
  shares = np.zeros((num_modalities, *outputs.shape))
  for order in orders:
    subset = [False] * num_modalities
    for m in order:
      before = values[tuple(subset)]
      subset[m] = True
      shares[m] += (values[tuple(subset)] - before) / len(orders)
  return shares, values[(True,) * num_modalities]


def _ratios(scores, known):
  """Computes r of the modalities that have a score."""
  some = [m for m in range(len(scores)) if known[m]]
  number = len(some)
  mean = np.mean([scores[m] for m in some])
  return {m: np.exp(number / (number - 1) * (mean - scores[m])) for m in some}


@pytest.mark.parametrize("num_modalities", [2, 3, 4])
def test_shares_are_shapley_values_of_the_output(num_modalities):
  forward = balances.forward_of(num_modalities)
  embeddings = forward.encode(forward.batch)
  shares = jax.jit(lambda: agm.shares_of(forward, embeddings, balances.KEY))()
  expected, full = _shares(forward, embeddings)
  np.testing.assert_allclose(shares, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(np.sum(shares, axis=0), full, atol=1e-5)
  # A modality that an example lacks has no share in its output.
  missing = ~np.asarray(forward.batch.present).T
  np.testing.assert_allclose(np.asarray(shares)[missing], 0, atol=1e-6)


def test_orders_of_many_modalities_are_drawn_in_every_step():
  forward = balances.forward_of(5)
  embeddings = forward.encode(forward.batch)
  expected, full = _shares(forward, embeddings)
  shares_of = jax.jit(lambda key: agm.shares_of(forward, embeddings, key))
  drawn = [shares_of(jax.random.key(i)) for i in range(200)]
  for shares in drawn[:3]:
    np.testing.assert_allclose(np.sum(shares, axis=0), full, atol=1e-5)
  assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
  # Their mean is that over all orders.
  error = np.abs(np.mean(drawn, axis=0) - expected).max()
  assert error < 0.2 * np.abs(drawn[0] - expected).max()


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_the_loss_of_a_share_is_that_of_an_output(task):
  forward = balances.forward_of(3, task=task)
  embeddings = forward.encode(forward.batch)
  shares, _ = _shares(forward, embeddings)
  target = np.asarray(forward.batch.target)
  if task == "regression":
    expected = np.abs(3 * shares[..., 0] - target)
  elif task == "binary":
    sign = np.where(target > 0, 1, -1)
    expected = np.log1p(np.exp(-sign * shares[..., 0]))
  else:
    total = np.log(np.exp(shares).sum(-1))
    expected = total - shares[:, np.arange(12), target]
  actual = agm.share_losses(forward.task, jnp.asarray(shares), target)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_factors_compare_the_running_mean_with_the_step():
  """The last modality has no score in the first steps."""
  complete = balances.forward_of(3)
  hook, alpha = agm.Method(3), 1.5
  state = hook.init(0)
  sums, counts = np.zeros(3), np.zeros(3)
  rng = np.random.default_rng(0)
  factors_seen = []
  for number in range(5):
    present = np.array(complete.batch.present)
    present[:, 2] &= number >= 2
    forward = balances.with_present(complete, present)
    noise = rng.normal(size=(12, 3, 6))
    embeddings = forward.encode(forward.batch) + noise.astype("f")
    state = hook.observe(balances.step(state, alpha), forward, embeddings)
    losses = agm.share_losses(
      forward.task, _shares(forward, embeddings)[0], forward.batch.target
    )
    known = present.any(axis=0)
    scores = [np.asarray(losses)[m][present[:, m]].mean() if known[m] else 0.0
              for m in range(3)]  # fmt: skip
    sums += scores
    counts += known
    now, mean = _ratios(scores, known), _ratios(sums / counts.clip(1), counts)
    expected = [
      np.exp(alpha * min(mean[m] - now[m], 7)) if known[m] else 1.0
      for m in range(3)
    ]
    np.testing.assert_allclose(state["factors"], expected, rtol=1e-3)
    factors_seen.append(expected)
  # In the first step the mean is that of the step.
  np.testing.assert_allclose(factors_seen[0], 1.0, rtol=1e-5)
  assert np.ptp(factors_seen[-1]) > 0.1


def test_a_difference_of_ratios_counts_up_to_7():
  forward = balances.forward_of(2)
  embeddings = forward.encode(forward.batch)
  hook = agm.Method(2)
  # Means so far: r* of the first one is exp(2 · (10 − 0)) before this step.
  state = hook.init(0) | {
    "mean": jnp.array([0.0, 20.0]), "count": jnp.full(2, 1e6)
  }  # fmt: skip
  for alpha in (0.5, 1.0):
    observed = hook.observe(balances.step(state, alpha), forward, embeddings)
    first, second = observed["factors"]
    np.testing.assert_allclose(first, np.exp(7 * alpha), rtol=1e-5)
    # The other one lags behind its mean by its own r alone.
    assert 0 < second < 1


def test_ratios_are_relative_to_the_mean_loss():
  scores, known = np.array([0.5, 1.0, 1.5]), np.ones(3, bool)
  # The mean is 1: exp(3/2 · .5), 1, exp(−3/2 · .5).
  np.testing.assert_allclose(
    agm.ratios(scores, known), np.exp([0.75, 0.0, -0.75]), rtol=1e-5
  )
  known[0] = False
  # The mean is 1.25 of two.
  np.testing.assert_allclose(
    agm.ratios(scores, known)[1:], np.exp([0.5, -0.5]), rtol=1e-5
  )
