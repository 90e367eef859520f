import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import hooks
from support import balances

# Leaves of encoders of modalities 2 and 0, of modality 1, and of no encoder.
IDS = {"pair": np.array([2, 0]), "one": np.array([1]), "head": np.asarray(3)}
OWNERS = hooks.Owners(IDS, 3)


def _tree(seed):
  rng = np.random.default_rng(seed)
  shapes = {"pair": (2, 3, 2), "one": (1, 4), "head": (2, 2)}
  return {
    name: jnp.asarray(rng.normal(size=shape), jnp.float32)
    for name, shape in shapes.items()
  }


def test_encoders_are_scaled_by_their_own_factor():
  tree, factors = _tree(0), jnp.array([2.0, 3.0, 5.0])
  scaled = OWNERS.scale(tree, factors)
  np.testing.assert_array_equal(scaled["pair"][0], 5 * tree["pair"][0])
  np.testing.assert_array_equal(scaled["pair"][1], 2 * tree["pair"][1])
  np.testing.assert_array_equal(scaled["one"], 3 * tree["one"])
  np.testing.assert_array_equal(scaled["head"], tree["head"])


def test_trees_are_combined_with_the_factors_of_each_encoder():
  a, b = _tree(0), _tree(1)
  first = jnp.array([2.0, 3.0, 5.0, 7.0])
  second = jnp.array([0.1, 0.2, 0.3, 0.4])
  combined = OWNERS.combine(a, first, b, second)
  for name, place, m in (
    ("pair", 0, 2), ("pair", 1, 0), ("one", 0, 1), ("head", slice(None), 3)
  ):  # fmt: skip
    expected = first[m] * a[name][place] + second[m] * b[name][place]
    np.testing.assert_allclose(combined[name][place], expected, rtol=1e-6)


def test_products_are_over_all_parameters_of_an_encoder():
  a, b = _tree(0), _tree(1)
  a["more"], b["more"] = (jnp.arange(6.0).reshape(3, 2) + i for i in (0, 1))
  owners = hooks.Owners(IDS | {"more": np.arange(3)}, 3)
  expected = [np.vdot(a["more"][m], b["more"][m]) for m in range(3)]
  expected[2] += np.vdot(a["pair"][0], b["pair"][0])
  expected[0] += np.vdot(a["pair"][1], b["pair"][1])
  expected[1] += np.vdot(a["one"], b["one"])
  np.testing.assert_allclose(owners.products(a, b), expected, rtol=1e-5)


def test_noise_has_the_deviation_of_the_reference_in_each_leaf():
  shapes = {"pair": (2, 4000), "one": (1, 4000), "head": (4000,)}
  zeros = {name: jnp.zeros(shape) for name, shape in shapes.items()}
  drawn = np.random.default_rng(0).normal(size=(2, 4000))
  stds = {
    "pair": jnp.asarray([[0.5], [4.0]] * drawn + 3),
    "one": jnp.full((1, 4000), 7.0),
    "head": jnp.arange(4000.0),
  }
  noise = OWNERS.add_noise(zeros, stds, balances.KEY)
  np.testing.assert_allclose(noise["pair"].std(axis=1), [0.5, 4.0], rtol=0.05)
  # What does not vary gets no noise, and no encoder's parameters neither.
  np.testing.assert_allclose(noise["one"], 0, atol=1e-5)
  np.testing.assert_array_equal(noise["head"], 0)


class _Adds(hooks.Hook):
  """A hook that appends its digit to whatever it is given."""

  def __init__(self, digit, trained=None, rounds=1):
    self.digit, self.rounds, self._trained = digit, rounds, trained

  def init(self, seed):
    return jnp.float32(self.digit) + seed

  def observe(self, step, forward, embeddings):
    return step.state + embeddings

  def show(self, step, forward, shown):
    return shown._replace(embeddings=10 * shown.embeddings + self.digit)

  def minimise(self, step, forward, embeddings, outputs, losses):
    return 10 * losses + step.state

  def change_gradients(self, step, owners, gradients, apart):
    return 10 * gradients + (self.digit if apart is None else apart)

  def change_updates(self, step, owners, updates):
    return updates + jax.random.uniform(step.key)

  def trained(self, step):
    return self._trained

  def end_epoch(self, state):
    return -state


class _Apart(_Adds):
  has_apart = True

  def minimise_apart(self, step, forward, embeddings):
    return step.state * embeddings


def test_a_chain_calls_one_hook_after_another():
  chain = hooks.Chain([_Adds(1), _Apart(2, rounds=3)])
  assert (chain.rounds, chain.has_apart) == (3, True)
  step = balances.step(chain.init(5))
  assert step.state == (6, 7)
  assert chain.observe(step, None, 10.0) == (16, 17)
  shown = chain.show(step, None, hooks.Shown(3.0, None, None))
  assert shown.embeddings == 312
  # 10 · (10 · 1 + 6) + 7.
  assert chain.minimise(step, None, None, None, 1.0) == 167
  assert chain.minimise_apart(step, None, 2.0) == 14
  # Only the hook that has losses apart gets their gradient.
  assert chain.change_gradients(step, None, 3.0, 4.0) == 314
  assert chain.end_epoch(step.state) == (-6, -7)


def test_hooks_of_a_chain_draw_numbers_of_their_own():
  chain = hooks.Chain([_Adds(1), _Adds(1)])
  step = balances.step(chain.init(0))
  drawn = [
    float(jax.random.uniform(jax.random.fold_in(balances.KEY, number)))
    for number in range(2)
  ]
  assert drawn[0] != drawn[1]
  actual = chain.change_updates(step, None, 0.0)
  np.testing.assert_allclose(actual, sum(drawn), rtol=1e-6)


@pytest.mark.parametrize(
  "masks, expected",
  [
    ((None, None), None),
    ((None, [True, False]), [True, False]),
    (([True, True], [True, False]), [True, False]),
    (([False, True], [True, False]), [False, False]),
  ],
)
def test_a_chain_trains_what_all_its_hooks_train(masks, expected):
  chain = hooks.Chain(
    [_Adds(1, None if m is None else jnp.array(m)) for m in masks]
  )
  actual = chain.trained(balances.step(chain.init(0)))
  if expected is None:
    assert actual is None
  else:
    np.testing.assert_array_equal(actual, expected)


def test_without_multipliers_what_is_present_counts_once():
  present = np.array([[True, False], [True, True]])
  forward = balances.forward_of(2)
  batch = forward.batch._replace(present=jnp.asarray(present))
  shown = hooks.Shown(jnp.zeros((2, 2, 1)), batch, None)
  np.testing.assert_array_equal(shown.factors, [[1, 0], [1, 1]])
  shown = shown._replace(multipliers=jnp.full((2, 2), 0.3))
  np.testing.assert_array_equal(shown.factors, np.full((2, 2), 0.3, "f"))
