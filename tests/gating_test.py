import hypothesis
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from btw_jax.models import gating
from btw_jax.models import routers

KINDS = tuple(gating.GATINGS)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gates_equal_a_loop(kind):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 4, 6)).astype("f")
  vectors = rng.normal(size=(5, 6)).astype("f")
  scores = gating.GATINGS[kind](x, vectors)
  experts, gates = gating.select(scores, 2)
  for i in np.ndindex(3, 4):
    expected = [oracles.score(kind, x[i], vector) for vector in vectors]
    np.testing.assert_allclose(scores[i], expected, atol=1e-5)
    order, shares = oracles.gates(expected, 2)
    np.testing.assert_array_equal(experts[i], order)
    np.testing.assert_allclose(gates[i], shares, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_where_token_and_centre_coincide(kind):
  x = jnp.ones((2, 3))
  centres = jnp.stack([jnp.ones(3), jnp.zeros(3)])

  def total(x, centres):
    return jnp.sum(gating.GATINGS[kind](x, centres) ** 2)

  for gradient in jax.grad(total, argnums=(0, 1))(x, centres):
    assert np.all(np.isfinite(gradient))


@hypothesis.given(
  hnp.arrays(np.float32, (4, 6), elements=st.integers(-3, 3)),
  st.integers(1, 6),
)
def test_top_k_is_that_of_lax_ties_included(scores, k):
  found = gating.top_k(scores, k)
  for a, b in zip(found, jax.lax.top_k(scores, k), strict=True):
    np.testing.assert_array_equal(a, b)


def test_the_gradient_of_top_k_reaches_the_chosen():
  scores = jnp.asarray([0.1, 3.0, 2.0, -1.0])
  gradient = jax.grad(lambda s: jnp.vdot(gating.top_k(s, 2)[0], jnp.ones(2)))
  np.testing.assert_array_equal(gradient(scores), [0, 1, 1, 0])


@pytest.mark.parametrize("k", [1, 2, 4])
def test_smooth_load_equals_a_loop(k):
  rng = np.random.default_rng(1)
  scores, noise = rng.normal(size=(2, 7, 4)).astype("f")
  std = rng.uniform(0.5, 2.0, (7, 4)).astype("f")
  noisy = scores + noise
  found = gating.smooth_load(scores, noisy, std, k)
  for i in range(7):
    expected = oracles.smooth_load(scores[i], noisy[i], std[i], k)
    np.testing.assert_allclose(found[i], expected, atol=1e-6)


def test_smooth_load_is_how_often_noise_would_choose():
  """Drawing one expert's noise again and again, the others' held fixed."""
  rng = np.random.default_rng(2)
  scores, std = np.array([0.5, 0.0, -0.4]), np.array([0.8, 1.0, 1.5])
  noisy = scores + std * rng.normal(size=3)
  found = gating.smooth_load(*(v.astype("f") for v in (scores, noisy, std)), 1)
  for e in range(3):
    again = scores[e] + std[e] * rng.normal(size=40_000)
    others = max(noisy[i] for i in range(3) if i != e)
    # Four standard errors of a share of 40,000 draws.
    np.testing.assert_allclose(np.mean(again > others), found[e], atol=0.01)


def test_squared_variation_equals_numpy_among_what_counts():
  rng = np.random.default_rng(3)
  x = rng.random((5, 6)).astype("f")
  where = rng.random((5, 6)) < 0.7
  found = gating.squared_variation(x, where)
  for i in range(5):
    np.testing.assert_allclose(
      found[i], oracles.variation(x[i][where[i]]), rtol=1e-5
    )
  np.testing.assert_array_equal(
    gating.squared_variation(jnp.zeros(3), jnp.ones(3, bool)), 0.0
  )
  gradient = jax.grad(lambda x: gating.squared_variation(x, x >= 0))
  assert np.all(np.isfinite(gradient(jnp.zeros(3))))


MODALITIES = (0, 0, 1, 2, 2, 2)


def _route(kind, gating_kind, *, noisy=False, train=False, k=2, seed=0):
  rng = np.random.default_rng(seed)
  tokens = rng.normal(size=(8, len(MODALITIES), 4)).astype("f")
  where = rng.random((8, len(MODALITIES))) < 0.7
  router = routers.Router(kind, gating_kind, 7, k, noisy, MODALITIES)
  keys = {"params": jax.random.key(1), "dropout": jax.random.key(2)}
  params = router.init(keys, tokens, where, train=train)
  if noisy:
    spread = params["params"]["noise"]
    params["params"]["noise"] = 0.3 * jax.random.normal(
      jax.random.key(3), spread.shape
    )
  routing, usage = router.apply(params, tokens, where, train=train, rngs=keys)
  return tokens, where, params["params"], routing, usage


@pytest.mark.parametrize("gating_kind", KINDS)
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_every_router_and_gating_equals_a_loop(kind, gating_kind):
  tokens, where, params, routing, usage = _route(kind, gating_kind)
  expected = oracles.route(
    kind, gating_kind, tokens, where, MODALITIES, params["centres"], 2
  )
  importance, load = np.zeros((2, 3, 7))
  for (b, n), found in expected.items():
    if found is None:
      np.testing.assert_array_equal(routing.experts[b, n], 7)
      np.testing.assert_array_equal(routing.gates[b, n], 0.0)
      continue
    np.testing.assert_array_equal(routing.experts[b, n], found[0])
    np.testing.assert_allclose(routing.gates[b, n], found[1], atol=1e-5)
    importance[MODALITIES[n], found[0]] += found[1]
    load[MODALITIES[n], found[0]] += 1
  np.testing.assert_allclose(usage.importance, importance, atol=1e-5)
  np.testing.assert_array_equal(usage.load, load)
  tokens_of = [where[:, np.asarray(MODALITIES) == m].sum() for m in range(3)]
  np.testing.assert_array_equal(usage.tokens, tokens_of)


@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_noise_moves_choices_in_training_only(kind):
  *_, still, _ = _route(kind, "softmax", noisy=True)
  *_, plain, _ = _route(kind, "softmax")
  np.testing.assert_array_equal(still.experts, plain.experts)
  _, where, _, moving, usage = _route(kind, "softmax", noisy=True, train=True)
  assert np.any(moving.experts != plain.experts)
  # The chances of all experts add up to about the number chosen.
  total = np.sum(usage.load) / np.sum(where)
  assert 1.5 < total < 2.5
  if kind == "joint":
    for b in range(8):
      chosen = moving.experts[b][where[b]]
      assert np.all(chosen == chosen[:1])
  if kind == "disjoint":
    own = np.asarray(moving.experts) % 3 == np.asarray(MODALITIES)[:, None]
    assert np.all(own[where])


def test_a_modality_needs_as_many_experts_as_it_selects():
  with pytest.raises(ValueError, match=r"num_experts=7: a modality may use 2"):
    _route("disjoint", "softmax", k=3)
  _route("joint", "softmax", k=7)


def test_penalties_are_of_the_experts_that_tokens_share():
  rng = np.random.default_rng(4)
  importance, load = rng.random((2, 2, 3, 7)).astype("f")
  squared_norm, tokens = rng.random((2, 2, 3)).astype("f")
  usage = routers.Usage(importance, load, squared_norm, tokens + 1)
  for kind in ("joint", "per_modality"):
    found = routers.penalties(usage, kind)
    assert tuple(found) == routers.PENALTIES
    for name, sums in (("importance", importance), ("load", load)):
      layers = [oracles.variation(layer.sum(0)) for layer in sums]
      np.testing.assert_allclose(found[name], np.mean(layers), rtol=1e-5)
    layers = [squared_norm[i].sum() / (tokens[i] + 1).sum() for i in range(2)]
    np.testing.assert_allclose(found["router_z"], np.mean(layers), rtol=1e-5)
  found = routers.penalties(usage, "disjoint")
  own = [
    oracles.variation(layer[m, m::3]) for layer in importance for m in range(3)
  ]
  np.testing.assert_allclose(found["importance"], np.mean(own), rtol=1e-5)
