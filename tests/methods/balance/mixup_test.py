import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax import hooks
from btw_jax.methods.balance import mixup
from btw_jax.models import networks
from support import balances
from support import problems

pytestmark = pytest.mark.training


def _mixed(forward, value=1.0):
  """Mixes embeddings that tell which examples they are of.

  Example i has the embedding of unit i. Returns shares and partners as what is
  shown tells them, and the step.
  """
  number = len(forward.batch.present)
  embeddings = jnp.broadcast_to(jnp.eye(number)[:, None], (number, 3, number))
  hook = mixup.Method(3)
  step = balances.step(hook.init(0), value)
  shown = hook.show(step, forward, hooks.Shown(embeddings, forward.batch, None))
  return np.asarray(shown.embeddings), shown, step


def test_all_modalities_are_mixed_with_the_same_share_and_partner():
  forward = balances.forward_of(3, num_examples=60)
  mixed, shown, _ = _mixed(forward)
  present = np.asarray(forward.batch.present)
  num_mixed = 0
  for i in range(60):
    for m in range(3):
      if not present[i, m]:
        np.testing.assert_array_equal(mixed[i, m], 0)
        continue
      np.testing.assert_allclose(mixed[i, m].sum(), 1, rtol=1e-5)
      np.testing.assert_array_equal(mixed[i, m], mixed[i, present[i]][0])
      (partners,) = np.nonzero(np.delete(mixed[i, m], i))
      assert len(partners) <= 1
    if present[i].any():
      others = mixed[i, present[i]][0].copy()
      others[i] = 0
      partner = int(np.argmax(others))
      if others[partner] > 0:
        num_mixed += 1
        # Examples with other modalities are not mixed.
        np.testing.assert_array_equal(present[partner], present[i])
  assert num_mixed > 5
  np.testing.assert_array_equal(shown.multipliers, present)


def test_complete_examples_never_have_themselves_as_partners():
  forward = balances.forward_of(3, num_examples=60)
  forward = balances.with_present(forward, np.ones((60, 3), bool))
  mixed, _, _ = _mixed(forward, value=2.0)
  np.testing.assert_array_equal(np.count_nonzero(mixed[:, 0], axis=1), 2)
  # Every example is the partner of one other.
  others = mixed[:, 0] * (1 - np.eye(60))
  np.testing.assert_array_equal(np.sort(np.argmax(others, axis=1)), range(60))


@pytest.mark.parametrize("value", [0.2, 2.0])
def test_shares_are_drawn_from_a_beta_distribution(value):
  forward = balances.forward_of(3, num_examples=400)
  forward = balances.with_present(forward, np.ones((400, 3), bool))
  mixed, _, _ = _mixed(forward, value)
  shares = np.diagonal(mixed[:, 0])
  assert stats.kstest(shares, stats.beta(value, value).cdf).pvalue > 1e-3


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_losses_are_mixed_as_the_embeddings_are(task):
  forward = balances.forward_of(3, task=task, num_examples=60)
  mixed, _, step = _mixed(forward)
  rng = np.random.default_rng(0)
  outputs = jnp.asarray(rng.normal(size=(1, 60, 3)), jnp.float32)
  losses = forward.losses(outputs, forward.batch)
  actual = mixup.Method(3).minimise(step, forward, None, outputs, losses)
  target = np.asarray(forward.batch.target)
  present = np.asarray(forward.batch.present)
  for i in range(60):
    expected = 0.0
    shares = mixed[i, present[i]][0] if present[i].any() else np.zeros(60)
    for j in np.flatnonzero(shares):
      expected += shares[j] * forward.task.loss(outputs[0, i], target[j])
    np.testing.assert_allclose(actual[0, i], expected, rtol=1e-3, atol=1e-5)


def test_multipliers_are_mixed_with_the_embeddings():
  forward = balances.forward_of(3, num_examples=60)
  mixed, _, step = _mixed(forward)
  embeddings = jnp.asarray(np.random.default_rng(0).normal(size=(60, 3, 2)))
  shown = mixup.Method(3).show(
    step, forward, hooks.Shown(embeddings, forward.batch, forward.multipliers)
  )
  weighted = np.asarray(embeddings) * np.asarray(forward.multipliers)[..., None]
  expected = np.einsum("imj,jmd->imd", mixed, weighted)
  np.testing.assert_allclose(shown.embeddings, expected, rtol=1e-4, atol=1e-5)


def test_tokens_of_steps_are_refused():
  trainer = problems.trainer(problems.mixture())
  assert mixup.Method.check(trainer.network, 16) is None
  sizes = networks.Sizes((4, 4), 3, groups=((1,),), num_steps=(5,))
  tokens = problems.mixture(steps=True)(sizes)
  assert "--fuse_steps" in mixup.Method.check(tokens, 16)
