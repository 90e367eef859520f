import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import chunked

SIZES = (1, 4, 5, 11, 100)


@pytest.mark.parametrize("at_once", SIZES)
def test_examples_are_mapped_in_turns_of_a_size(at_once):
  x = jnp.arange(22.0).reshape(2, 11)
  sizes = []

  def function(examples):
    sizes.append(examples["x"].shape[1])
    return {"y": 2 * examples["x"].T + examples["z"][:, None]}

  found = chunked.map_chunks(
    function, {"x": x, "z": x[0]}, at_once, axes={"x": 1, "z": 0}
  )
  np.testing.assert_array_equal(found["y"], 2 * x.T + x[0][:, None])
  assert max(sizes) <= at_once


@pytest.mark.parametrize("at_once", SIZES)
def test_every_example_is_added_once(at_once):
  x = jnp.arange(22.0).reshape(11, 2)
  sizes = []

  def function(examples, counts):
    sizes.append(len(counts))
    weighted = examples * counts[:, None]
    return jnp.sum(weighted, axis=0), jnp.sum(counts)

  total, count = jax.jit(lambda x: chunked.sum_chunks(function, x, at_once))(x)
  np.testing.assert_array_equal(total, x.sum(axis=0))
  assert count == 11
  assert max(sizes) <= at_once
