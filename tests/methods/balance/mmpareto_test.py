import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import hooks
from btw_jax.methods.balance import mmpareto
from support import balances

_VECTORS = st_np.arrays(np.float32, (2, 3), elements=st.floats(-2, 2, width=16))


def _followed(g, u):
  """Returns the point of least norm on a fine grid, doubled and raised."""
  g, u = g.astype(float), u.astype(float)
  if g @ u > 0:
    return g + u
  low, high = 0.0, 1.0
  # Raising a short point also raises the error of a grid: the second grid is
  # between two steps of the first one.
  for _ in range(2):
    shares = np.linspace(low, high, 5_001)[:, None]
    points = shares * g + (1 - shares) * u
    best = np.argmin(np.sum(points**2, axis=1))
    low, high = shares[max(best - 1, 0), 0], shares[min(best + 1, 5_000), 0]
  h = 2 * points[best]
  norm, plain = np.linalg.norm(h), np.linalg.norm(g + u)
  return h * plain / norm if 0 < norm < plain else h


def _combine(g, u):
  products = ([a @ b] for a, b in ((g, g), (g, u), (u, u)))
  first, second = mmpareto.combine(*map(jnp.asarray, products))
  return first[0] * g + second[0] * u


@hypothesis.given(_VECTORS)
def test_the_combination_is_the_pareto_step(pair):
  g, u = pair
  cosine = g @ u / max(np.linalg.norm(g) * np.linalg.norm(u), 1e-9)
  # Opposite vectors have a least norm of 0, which rounding may raise or not.
  hypothesis.assume(cosine > -0.99 and abs(g @ u) > 1e-3)
  np.testing.assert_allclose(_combine(g, u), _followed(g, u), atol=2e-3)


def test_gradients_that_agree_are_added():
  g, u = np.array([1.0, 2.0]), np.array([3.0, 0.5])
  np.testing.assert_allclose(_combine(g, u), [4.0, 2.5], rtol=1e-6)


def test_of_gradients_in_conflict_the_least_norm_is_raised():
  g, u = np.array([2.0, 0.0]), np.array([-2.0, 2.0])
  # λ = (8 + 4) / (4 + 8 + 8) = .6, the point is (.4, .8), doubled (.8, 1.6):
  # its norm √3.2 is less than 2, that of g + u = (0, 2).
  expected = np.array([0.8, 1.6]) * 2 / np.sqrt(3.2)
  np.testing.assert_allclose(_combine(g, u), expected, rtol=1e-5)


@hypothesis.given(_VECTORS)
def test_the_step_is_as_long_as_the_sum(pair):
  """The doubled point of least norm is never longer than g + u."""
  g, u = pair
  hypothesis.assume(np.linalg.norm(g) > 0.1 and np.linalg.norm(u) > 0.1)
  hypothesis.assume(g @ u > -0.99 * np.linalg.norm(g) * np.linalg.norm(u))
  np.testing.assert_allclose(
    np.linalg.norm(_combine(g, u)), np.linalg.norm(g + u), rtol=1e-3, atol=1e-4
  )


def test_gradients_of_0_stay_finite():
  for g, u in (([0.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0])):
    np.testing.assert_array_equal(_combine(np.array(g), np.array(u)), [0, 0])
  # With one of them 0 the point of least norm is 0: nothing is followed.
  combined = _combine(np.array([1.0, 0.0]), np.zeros(2))
  np.testing.assert_array_equal(combined, [0, 0])


@pytest.mark.parametrize("acts_on", ["gradients", "updates"])
def test_encoders_follow_the_combination_and_all_else_the_sum(acts_on):
  rng = np.random.default_rng(0)
  g, u = (
    {
      "encoder": {"kernel": rng.normal(size=(3, 2, 2)),
                  "bias": rng.normal(size=(3, 1, 2))},
      "head": rng.normal(size=(3, 2)),
    }
    for _ in range(2)
  )  # fmt: skip
  encoder, outside = np.arange(3), np.asarray(3)
  ids = {"encoder": {"kernel": encoder, "bias": encoder}, "head": outside}
  owners = hooks.Owners(ids, 3)
  hook = mmpareto.Method(3, acts_on)
  step = balances.step((), 2.5)
  changed = hook.change_gradients(
    step, owners, *jax.tree.map(jnp.array, (g, u))
  )
  conflicts = []
  for m in range(3):
    flat_g, flat_u = (
      np.concatenate([t["encoder"][k][m].ravel() for k in ("kernel", "bias")])
      for t in (g, u)
    )
    conflicts.append(flat_g @ flat_u <= 0)
    expected = _followed(flat_g, flat_u) * (
      2.5 if acts_on == "gradients" else 1
    )
    actual = [changed["encoder"][k][m].ravel() for k in ("kernel", "bias")]
    np.testing.assert_allclose(np.concatenate(actual), expected, atol=2e-3)
  assert any(conflicts) and not all(conflicts)
  np.testing.assert_allclose(changed["head"], g["head"] + u["head"], rtol=1e-5)
  updates = hook.change_updates(step, owners, changed)
  factor = 2.5 if acts_on == "updates" else 1.0
  np.testing.assert_allclose(
    updates["encoder"]["kernel"], factor * changed["encoder"]["kernel"]
  )
  np.testing.assert_array_equal(updates["head"], changed["head"])


@pytest.mark.training
def test_what_is_apart_is_the_sum_of_the_losses_alone():
  forward = balances.forward_of(3, task="binary")
  embeddings = forward.encode(forward.batch)
  apart = mmpareto.Method(3).minimise_apart(
    balances.step(()), forward, embeddings
  )
  expected = np.zeros(12)
  for subset in np.eye(3, dtype=bool):
    outputs, has = balances.fuse_only(forward, embeddings, subset)
    loss = forward.task.loss(outputs, forward.batch.target)
    expected += np.where(has, loss, 0)
  np.testing.assert_allclose(apart, expected[None], rtol=1e-4, atol=1e-6)
