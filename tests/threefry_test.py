"""Random bits against those of `jax.random`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import threefry

_SEEDS = np.array([0, 1, 7, 2**31 - 1])
_IMPLEMENTATIONS = ["threefry2x32", "rbg", "unsafe_rbg"]


@pytest.mark.parametrize("impl", _IMPLEMENTATIONS)
@pytest.mark.parametrize("data", [0, 1, np.int32(-1), 2**31 - 1])
def test_fold_in_is_that_of_jax(impl, data):
  for seed in _SEEDS:
    key = jax.random.key(seed, impl=impl)
    actual = jax.jit(threefry.fold_in)(key, data)
    expected = jax.random.fold_in(key, data)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(
      jax.random.key_data(actual), jax.random.key_data(expected)
    )


def test_many_numbers_fold_into_many_keys():
  keys = jax.vmap(jax.random.key)(_SEEDS)
  numbers = jnp.arange(3)
  actual = threefry.fold_in(keys[:, None], numbers)
  assert actual.shape == (4, 3)
  for i, j in np.ndindex(4, 3):
    np.testing.assert_array_equal(
      jax.random.key_data(actual[i, j]),
      jax.random.key_data(jax.random.fold_in(keys[i], numbers[j])),
    )


@pytest.mark.parametrize("impl", _IMPLEMENTATIONS)
@pytest.mark.parametrize("num_words", [0, 1, 2, 7, 1000])
def test_bits_are_those_of_jax(impl, num_words):
  for seed in _SEEDS:
    key = jax.random.key(seed, impl=impl)
    np.testing.assert_array_equal(
      threefry.bits(key, num_words),
      jax.random.bits(key, (num_words,), jnp.uint32),
    )


@pytest.mark.parametrize("num_words", [1, 7])
def test_each_key_draws_its_own_bits(num_words):
  keys = jax.vmap(jax.random.key)(_SEEDS)
  drawn = threefry.bits(keys, num_words)
  mapped = jax.vmap(threefry.bits, (0, None))(keys, num_words)
  for key, row, again in zip(keys, drawn, mapped, strict=True):
    expected = jax.random.bits(key, (num_words,), jnp.uint32)
    np.testing.assert_array_equal(row, expected)
    np.testing.assert_array_equal(again, expected)


def test_another_numbering_of_jax_is_followed():
  key = jax.random.key(5)
  with jax.threefry_partitionable(False):
    np.testing.assert_array_equal(
      threefry.bits(key, 9), jax.random.bits(key, (9,), jnp.uint32)
    )
