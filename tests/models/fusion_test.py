import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import weighting
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.models import routers
from support import problems

SIZES = networks.Sizes(
  problems.WIDTHS, 3, hidden_dim=8, embedding_dim=8, num_heads=2
)
MIXTURE = fusion.Mixture(num_experts=6)


@functools.partial(
  jax.jit, static_argnums=0, static_argnames=("train", "method")
)
def _apply(network, *arguments, **options):
  """Applies a network; it is compiled once for all tests."""
  return network.apply(*arguments, **options)


@functools.cache
def _network(**changes):
  mixture = dataclasses.replace(MIXTURE, **changes)
  network = fusion.MixtureOfExperts(SIZES, mixture)
  batch = problems.batch(12, missing=0.3)
  init = jax.jit(functools.partial(network.init, train=False))
  params = init(jax.random.key(0), batch, None)
  uniform = weighting.uniform(batch.present)
  return network, params, batch, weighting.multipliers(uniform, batch.present)


@pytest.mark.training
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_an_absent_modality_is_never_felt(kind):
  """Attention, routing, load and pooling ignore absent modalities."""
  network, params, batch, _ = _network(router=kind)
  tokens = _apply(network, params, batch, train=False, method="encode")
  poisoned = jnp.where(batch.present[..., None], tokens, 9.0)
  # No multiplier makes an absent token 0.
  expected, actual = (
    _apply(network, params, x, batch, None, train=False, method="fuse")
    for x in (tokens, poisoned)
  )
  for a, b in zip(
    jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    actual[1].tokens, np.tile(batch.present.sum(0), (2, 1))
  )
  # Every token sends all of its gates somewhere.
  np.testing.assert_allclose(
    actual[1].importance.sum(-1), actual[1].tokens, rtol=1e-5
  )


@pytest.mark.training
def test_an_example_is_alone_in_its_batch():
  network, params, batch, multipliers = _network()
  full, _ = _apply(network, params, batch, multipliers, train=False)
  for i in (0, 5):
    one = jax.tree.map(lambda x, i=i: x[i : i + 1], (batch, multipliers))
    alone, _ = _apply(network, params, *one, train=False)
    np.testing.assert_allclose(alone[:, 0], full[:, i], atol=1e-5)


@pytest.mark.training
def test_weights_multiply_the_embeddings():
  network, params, batch, _ = _network()
  multipliers = jnp.linspace(0.1, 2, 36).reshape(12, 3)
  embeddings = _apply(network, params, batch, train=False, method="encode")
  expected, _ = _apply(network,
    params, embeddings * multipliers[..., None], batch, None, train=False,
    method="fuse",
  )  # fmt: skip
  actual, _ = _apply(network, params, batch, multipliers, train=False)
  np.testing.assert_allclose(actual, expected, atol=1e-6)
  plain, _ = _apply(network, params, batch, None, train=False)
  assert np.all(np.any(actual != plain, axis=-1))


@pytest.mark.slow
def test_a_placeholder_stands_where_a_modality_is_absent():
  network, params, batch, multipliers = _network(placeholder=True)
  without, _ = _apply(_network()[0], params, batch, multipliers, train=False)
  actual, usage = _apply(network, params, batch, multipliers, train=False)
  incomplete = ~np.all(batch.present, axis=1)
  differ = np.any(actual[0] != without[0], axis=-1)
  np.testing.assert_array_equal(differ, incomplete)
  np.testing.assert_array_equal(usage.tokens, 12.0)

  def total(params):
    return jnp.sum(_apply(network, params, batch, multipliers, train=False)[0])

  assert np.any(jax.grad(total)(params)["params"]["placeholder"] != 0)


@pytest.mark.training
def test_steps_are_tokens_of_their_own():
  """Vectors have one step, so that both settings give the same network."""
  network, params, batch, multipliers = _network()
  by_step = fusion.MixtureOfExperts(
    SIZES, dataclasses.replace(MIXTURE, steps=True)
  )
  expected, actual = (
    _apply(n, params, batch, multipliers, train=False)[0]
    for n in (network, by_step)
  )
  np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.training
def test_layers_are_pre_norm_and_residual():
  """The layer is residual, and its branches normalise their inputs."""
  layer = fusion.Layer(SIZES, MIXTURE, (0, 1, 2))
  x = jax.random.normal(jax.random.key(1), (4, 3, 8))
  where = jnp.ones((4, 3), bool)
  init = jax.jit(functools.partial(layer.init, train=False))
  params = init(jax.random.key(0), x, where)

  def added(x, silent=()):
    """Returns the change by the layer with some output kernels set to 0."""
    mapped = jax.tree_util.tree_map_with_path(
      lambda path, leaf: (
        leaf * 0 if any(s in str(path) for s in silent) else leaf
      ),
      params,
    )
    return _apply(layer, mapped, x, where, train=False)[0] - x

  np.testing.assert_array_equal(added(x, ("'out'", "output_kernel")), 0.0)
  # A token's scale and offset do not matter to attention, nor, without it, to
  # the experts.
  for silent in ("'out'", "output_kernel"):
    first, second = added(x, (silent,)), added(3 * x + 2, (silent,))
    assert np.any(np.abs(first) > 1e-2)
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.training
def test_the_token_of_an_absent_modality_is_not_attended_to():
  """Only present modalities use their modality embedding."""
  network, params, batch, multipliers = _network()
  kind = params["params"]["kind"]
  moved = {"params": {**params["params"], "kind": kind.at[1].add(3.0)}}
  before, after = (
    _apply(network, p, batch, multipliers, train=False)[0][0]
    for p in (params, moved)
  )
  differ = np.any(before != after, axis=-1)
  np.testing.assert_array_equal(differ, batch.present[:, 1])


@pytest.mark.slow
def test_devices_draw_the_noise_that_one_would():
  """The batch of a full training step is sharded over four devices."""
  network, params, batch, multipliers = _network(noisy=True)
  params = jax.tree.map(lambda x: x + 0.1, params)
  spread = network.clone(sizes=dataclasses.replace(SIZES, axis_name="devices"))

  def trained(network, batch, multipliers):
    return network.apply(
      params, batch, multipliers, train=True,
      rngs={"dropout": jax.random.key(3)},
    )[0]  # fmt: skip

  full = jax.jit(functools.partial(trained, network))(batch, multipliers)
  parts = jax.tree.map(
    lambda x: x.reshape(4, -1, *x.shape[1:]), (batch, multipliers)
  )
  actual = jax.jit(
    jax.vmap(functools.partial(trained, spread), axis_name="devices")
  )(*parts)
  actual = jnp.concatenate(list(actual), axis=1)
  np.testing.assert_allclose(actual, full, rtol=1e-4, atol=1e-5)
  quiet, _ = _apply(network, params, batch, multipliers, train=False)
  assert np.any(np.abs(full - quiet) > 1e-3)
