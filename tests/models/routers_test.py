import jax
import numpy as np
import pytest

from btw_jax.models import gating
from btw_jax.models import routers
from support import oracles

KINDS = tuple(gating.GATINGS)


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


@pytest.mark.parametrize(
  "gating_kind",
  [KINDS[0], *(pytest.param(k, marks=pytest.mark.training) for k in KINDS[1:])],
)
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_every_router_and_gating_equals_a_loop(kind, gating_kind):
  tokens, where, params, routing, usage = _route(kind, gating_kind)
  expected = oracles.route(
    kind, gating_kind, tokens, where, MODALITIES, params["centres"], 2
  )
  importance, load = np.zeros((2, 3, 7))
  for (b, n), choice in expected.items():
    if choice is None:
      np.testing.assert_array_equal(routing.experts[b, n], 7)
      np.testing.assert_array_equal(routing.gates[b, n], 0.0)
      continue
    np.testing.assert_array_equal(routing.experts[b, n], choice[0])
    np.testing.assert_allclose(routing.gates[b, n], choice[1], atol=1e-5)
    importance[MODALITIES[n], choice[0]] += choice[1]
    load[MODALITIES[n], choice[0]] += 1
  np.testing.assert_allclose(usage.importance, importance, atol=1e-5)
  np.testing.assert_array_equal(usage.load, load)
  tokens_of = [where[:, np.asarray(MODALITIES) == m].sum() for m in range(3)]
  np.testing.assert_array_equal(usage.tokens, tokens_of)


@pytest.mark.training
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_noise_moves_choices_in_training_only(kind):
  *_, still, _ = _route(kind, "softmax", noisy=True)
  *_, plain, _ = _route(kind, "softmax")
  np.testing.assert_array_equal(still.experts, plain.experts)
  _, where, _, moving, usage = _route(kind, "softmax", noisy=True, train=True)
  assert np.any(moving.experts != plain.experts)
  # The probabilities of the experts add up to about the number chosen.
  total = np.sum(usage.load) / np.sum(where)
  assert 1.5 < total < 2.5
  if kind == "joint":
    for b in range(8):
      chosen = moving.experts[b][where[b]]
      assert np.all(chosen == chosen[:1])
  if kind == "disjoint":
    matches = np.asarray(moving.experts) % 3 == np.asarray(MODALITIES)[:, None]
    assert np.all(matches[where])


def test_a_modality_needs_as_many_experts_as_it_selects():
  with pytest.raises(ValueError, match=r"num_experts=7: a modality may use 2"):
    _route("disjoint", "softmax", k=3)
  _route("joint", "softmax", k=7)


@pytest.mark.training
def test_penalties_are_of_the_experts_that_tokens_share():
  rng = np.random.default_rng(4)
  importance, load = rng.random((2, 2, 3, 7)).astype("f")
  squared_norm, tokens = rng.random((2, 2, 3)).astype("f")
  usage = routers.Usage(importance, load, squared_norm, tokens + 1)
  for kind in ("joint", "per_modality"):
    penalties = routers.penalties(usage, kind)
    assert tuple(penalties) == routers.PENALTIES
    for name, sums in (("importance", importance), ("load", load)):
      layers = [oracles.variation(layer.sum(0)) for layer in sums]
      np.testing.assert_allclose(penalties[name], np.mean(layers), rtol=1e-5)
    layers = [squared_norm[i].sum() / (tokens[i] + 1).sum() for i in range(2)]
    np.testing.assert_allclose(
      penalties["router_z"], np.mean(layers), rtol=1e-5
    )
  penalties = routers.penalties(usage, "disjoint")
  variations = [
    oracles.variation(layer[m, m::3]) for layer in importance for m in range(3)
  ]
  np.testing.assert_allclose(
    penalties["importance"], np.mean(variations), rtol=1e-5
  )
