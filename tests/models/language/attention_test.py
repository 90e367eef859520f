import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.language import attention
from support import language_oracle as oracle

BASE = 100.0


def _draw(*shape, seed=0):
  rng = np.random.default_rng([seed, *shape])
  return rng.normal(size=shape)


def _problem():
  """Returns query, key, value and a mask in which each query sees itself."""
  query, key = _draw(2, 5, 4, 6), _draw(2, 5, 2, 6)
  value = _draw(2, 5, 2, 6, seed=1)
  mask = np.random.default_rng(0).random((2, 5, 5)) < 0.5
  return query, key, value, mask | np.eye(5, dtype=bool)


@pytest.mark.parametrize("bits", [32, 64])
def test_attention_equals_a_loop(bits):
  query, key, value, mask = _problem()
  with jax.enable_x64(bits == 64):
    actual = jax.jit(attention.attend)(
      *(jnp.asarray(x, f"float{bits}") for x in (query, key, value)), mask
    )
  assert actual.dtype == f"float{bits}"
  tolerance = {32: 1e-5, 64: 1e-13}[bits]
  for b in range(2):
    expected = oracle.attention(
      query[b], key[b], value[b], lambda i, j, b=b: mask[b, i, j]
    )
    np.testing.assert_allclose(actual[b], expected, atol=tolerance)


def test_attention_equals_that_of_the_library_and_so_do_gradients():
  *arrays, mask = _problem()
  arrays = [jnp.asarray(x, jnp.float32) for x in arrays]

  def ours(*arrays):
    return attention.attend(*arrays, mask)

  def library(*arrays):
    return jax.nn.dot_product_attention(*arrays, mask=mask[:, None])

  weights = _draw(2, 5, 4, 6, seed=2)
  for actual, expected in zip(
    *(
      jax.grad(lambda *a, f=f: jnp.sum(weights * f(*a)), (0, 1, 2))(*arrays)
      for f in (ours, library)
    ),
    strict=True,
  ):
    np.testing.assert_allclose(actual, expected, atol=2e-6)


def test_huge_scores_leave_finite_gradients():
  query, key, value, mask = _problem()
  mask = np.broadcast_to(np.eye(5, dtype=bool), mask.shape)

  def total(query, key, value):
    return jnp.sum(attention.attend(query, key, value, mask) ** 2)

  scaled = [jnp.asarray(x, jnp.float32) for x in (1e4 * query, key, value)]
  for gradient in jax.grad(total, (0, 1, 2))(*scaled):
    assert np.all(np.isfinite(gradient))


def test_rotation_equals_complex_numbers():
  x = _draw(2, 5, 3, 8)
  positions = np.array([[0, 1, 2, 3, 4], [7, 7, 9, 30, 2]])
  actual = attention.rotary(
    jnp.asarray(x, jnp.float32), attention.rotations(positions, 8, BASE)
  )
  for b in range(2):
    expected = oracle.rotate(x[b], positions[b], BASE)
    np.testing.assert_allclose(actual[b], expected, atol=1e-5)


def test_scores_depend_on_distances_only():
  query, key = _draw(1, 5, 2, 8), _draw(1, 5, 2, 8, seed=1)

  def scores(start):
    rotation = attention.rotations(start + jnp.arange(5)[None], 8, BASE)
    rotated = [attention.rotary(jnp.asarray(x), rotation) for x in (query, key)]
    return jnp.einsum("bqhd,bthd->bhqt", *rotated)

  np.testing.assert_allclose(scores(0), scores(23), atol=1e-4)
  assert np.max(np.abs(scores(0) - query[0].sum())) > 0.1


def _apply(module, params, x, mask, rotation=None, **kwargs):
  return module.apply(
    {"params": params}, x, x, mask, rotation, rotation, **kwargs
  )


@pytest.mark.training
def test_grouped_heads_equal_separate_heads_with_repeated_keys():
  x = jnp.asarray(_draw(2, 5, 16), jnp.float32)
  mask = np.broadcast_to(np.tri(5, dtype=bool), (2, 5, 5))
  rotation = attention.rotations(jnp.arange(5)[None].repeat(2, 0), 4, BASE)
  grouped = attention.GroupedQueryAttention(4, 2)
  params = grouped.init(jax.random.key(0), x, x, mask)["params"]
  actual, cache = _apply(grouped, params, x, mask, rotation)
  assert cache is None
  repeated = dict(params)
  for name in ("key", "value"):
    kernel = params[name]["kernel"].reshape(16, 2, 4)
    repeated[name] = {"kernel": kernel.repeat(2, axis=1).reshape(16, 16)}
  separate = attention.GroupedQueryAttention(4, 4)
  expected, _ = _apply(separate, repeated, x, mask, rotation)
  np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.training
def test_a_cache_gives_what_reading_all_at_once_gives():
  x = jnp.asarray(_draw(2, 6, 16), jnp.float32)
  mask = jnp.broadcast_to(np.tri(6, dtype=bool), (2, 6, 6))
  rotation = attention.rotations(jnp.arange(6)[None].repeat(2, 0), 4, BASE)
  module = attention.GroupedQueryAttention(4, 2)
  params = module.init(jax.random.key(0), x, x, mask)["params"]
  expected, _ = _apply(module, params, x, mask, rotation)
  cache = attention.Cache(jnp.zeros((2, 6, 2, 4)), jnp.zeros((2, 6, 2, 4)))
  parts = []
  for start, stop in ((0, 3), (3, 4), (4, 6)):
    part, cache = _apply(
      module, params, x[:, start:stop], mask[:, start:stop],
      rotation[:, :, start:stop], cache=cache, start=start,
    )  # fmt: skip
    parts.append(part)
  np.testing.assert_allclose(jnp.concatenate(parts, 1), expected, atol=1e-6)
