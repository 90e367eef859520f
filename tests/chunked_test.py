import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import chunked

SIZES = (1, 4, 5, 11, 100)


@pytest.mark.parametrize("chunk_size", SIZES)
def test_map_chunks_never_exceeds_the_chunk_size(chunk_size):
  x = jnp.arange(22.0).reshape(2, 11)
  sizes = []

  def function(examples):
    sizes.append(examples["x"].shape[1])
    return {"y": 2 * examples["x"].T + examples["z"][:, None]}

  doubled = chunked.map_chunks(
    function, {"x": x, "z": x[0]}, chunk_size, axes={"x": 1, "z": 0}
  )
  np.testing.assert_array_equal(doubled["y"], 2 * x.T + x[0][:, None])
  assert max(sizes) <= chunk_size


@pytest.mark.parametrize("chunk_size", SIZES)
def test_sum_chunks_counts_every_example_once(chunk_size):
  x = jnp.arange(22.0).reshape(11, 2)
  sizes = []

  def function(examples, mask):
    sizes.append(len(mask))
    masked = examples * mask[:, None]
    return jnp.sum(masked, axis=0), jnp.sum(mask)

  total, count = jax.jit(lambda x: chunked.sum_chunks(function, x, chunk_size))(
    x
  )
  np.testing.assert_array_equal(total, x.sum(axis=0))
  assert count == 11
  assert max(sizes) <= chunk_size
