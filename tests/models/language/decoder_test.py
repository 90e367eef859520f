import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from btw_jax.models.language import decoder as decoder_lib
from support import language_oracle as oracle
from support import language_problems as problems


def _draw(*shape):
  return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def _decoder(x, where):
  decoder = decoder_lib.Decoder(3, 4, 2, 12, 100.0)
  positions = jnp.arange(x.shape[1])[None].repeat(len(x), 0)
  mask = decoder_lib.causal_mask(where, positions[0])
  params = jax.jit(decoder.init)(jax.random.key(0), x, positions, mask)
  return decoder, params, positions, mask


def test_norm_equals_numpy():
  x = _draw(3, 5) * jnp.array([[1.0], [100.0], [0.0]])
  scale = _draw(5)
  actual = decoder_lib.RMSNorm().apply({"params": {"scale": scale}}, x)
  np.testing.assert_allclose(
    actual, oracle.rms_norm(np.asarray(x, float), {"scale": scale}), rtol=1e-5
  )


def test_the_norm_of_zeros_has_a_finite_gradient():
  norm = decoder_lib.RMSNorm()
  params = {"params": {"scale": jnp.ones(4)}}
  gradient = jax.grad(lambda x: jnp.sum(norm.apply(params, x)))(jnp.zeros(4))
  assert np.all(np.isfinite(gradient))


def test_the_gated_perceptron_equals_numpy():
  x = _draw(3, 5)
  mlp = decoder_lib.SwiGLU(7)
  params = mlp.init(jax.random.key(0), x)
  gate, up, down = (
    np.asarray(params["params"][name]["kernel"], float)
    for name in ("gate", "up", "down")
  )
  z = np.asarray(x, float) @ gate
  expected = (z * special.expit(z) * (x @ up)) @ down
  np.testing.assert_allclose(mlp.apply(params, x), expected, atol=1e-5)


def test_a_causal_mask_holds_valid_tokens_before_and_the_token_itself():
  where = np.array([[True, False, True, True]])
  actual = decoder_lib.causal_mask(where, jnp.array([0, 1, 3]))
  expected = [[[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1]]]
  np.testing.assert_array_equal(actual, np.array(expected, bool))


@pytest.mark.training
def test_no_token_reads_a_later_or_a_masked_one():
  x = _draw(1, 6, 16)
  where = jnp.array([[True, True, False, True, True, True]])
  decoder, params, positions, mask = _decoder(x, where)
  reads = jax.jit(
    jax.jacobian(
      lambda x: decoder.apply(params, x, positions, mask)[0][-1, 0].sum(-1)
    )
  )(x)
  reads = np.any(np.asarray(reads)[:, 0] != 0, axis=-1)
  np.testing.assert_array_equal(reads, mask[0])


@pytest.mark.training
def test_rows_are_the_same_tokens_of_the_full_result():
  x = _draw(3, 6, 16)
  decoder, params, positions, mask = _decoder(x, jnp.ones((3, 6), bool))
  hidden, caches = jax.jit(decoder.apply)(params, x, positions, mask)
  assert hidden.shape == (4, 3, 6, 16)
  assert caches is None
  np.testing.assert_array_equal(hidden[0], x)
  rows = jnp.array([[5], [0], [2]])
  some, _ = jax.jit(decoder.apply)(params, x, positions, mask, rows)
  for b, row in enumerate(rows[:, 0]):
    np.testing.assert_allclose(some[:, b, 0], hidden[:, b, row], atol=1e-5)


@pytest.mark.training
def test_shifting_all_positions_changes_nothing():
  x = _draw(2, 6, 16)
  decoder, params, positions, mask = _decoder(x, jnp.ones((2, 6), bool))
  apply = jax.jit(decoder.apply)
  near, far, stretched = (
    apply(params, x, moved, mask)[0][-1]
    for moved in (positions, positions + 31, positions * 3)
  )
  np.testing.assert_allclose(near, far, atol=2e-4)
  assert np.max(np.abs(near - stretched)) > 0.01


def test_kernels_have_the_names_that_lora_looks_for():
  sizes = problems.sizes()
  params = problems.shapes(sizes, problems.batch(sizes))
  layer = params["decoder"]["layers_0"]
  assert set(layer["attention"]) == {"query", "key", "value", "out"}
  assert set(layer["mlp"]) == {"gate", "up", "down"}
  for part in ("attention", "mlp"):
    assert all(set(leaf) == {"kernel"} for leaf in layer[part].values())
