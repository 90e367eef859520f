import hypothesis
from hypothesis import strategies as st
import jax
import numpy as np
import pytest
from scipy import stats

from btw_jax.mutual_information import transforms

# Compiling is faster than one operation after the other.
RANK = jax.jit(transforms.rank)


SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_standardise_matches_numpy(shape):
  x = np.random.default_rng(0).normal(5.0, 1e-3, shape)
  expected = (x - x.mean(0)) / x.std(0)
  # Near 5 the steps of float32 are 5e-7, which is 5e-4 of the spread.
  np.testing.assert_allclose(transforms.standardise(x), expected, atol=2e-3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_standardise_neither_under_nor_overflows(size):
  x = np.random.default_rng(0).normal(size=40).astype("f")
  np.testing.assert_allclose(
    transforms.standardise(x * np.float32(size)),
    (x - x.mean()) / x.std(),
    rtol=1e-4,
    atol=1e-5,
  )


def test_rank_matches_scipy_with_ties():
  x = np.random.default_rng(0).integers(0, 12, (40, 2)).astype("f")
  expected = (stats.rankdata(x, axis=0) - 0.5) / 40
  np.testing.assert_allclose(transforms.uniform_scores(x), expected, rtol=1e-6)
  np.testing.assert_allclose(
    RANK(x), stats.norm.ppf(expected), rtol=1e-4, atol=1e-6
  )


@hypothesis.given(SEEDS)
def test_rank_undoes_increasing_maps(seed):
  x = np.random.default_rng(seed).normal(size=60).astype("f")
  np.testing.assert_array_equal(RANK(x), RANK(np.exp(2 * x) + 3))


@pytest.mark.parametrize("name", ["standardise", "rank"])
def test_transforms_count_only_what_counts(name):
  transform = jax.jit(transforms.TRANSFORMS[name])
  x = np.random.default_rng(0).normal(size=(50, 2)).astype("f")
  where = np.random.default_rng(1).random(50) < 0.5
  masked = transform(np.where(where[:, None], x, np.nan), where=where)
  np.testing.assert_allclose(
    masked[where], transform(x[where]), rtol=1e-4, atol=1e-6
  )
  assert len(np.unique(masked[~where])) == 1
  constant = transform(np.full(50, 0.1))
  assert len(np.unique(constant)) == 1


def test_jitter_is_small_seeded_and_centred():
  x = np.random.default_rng(0).integers(0, 5, 2000) + 1000.0
  key = jax.random.key(0)
  once, again = (transforms.jitter(key, x) for _ in range(2))
  other = transforms.jitter(jax.random.key(1), x)
  np.testing.assert_array_equal(once, again)
  assert np.any(once != other)
  moved = np.asarray(once) - (x - x.mean())
  assert 0 < np.max(np.abs(moved)) < 1.1 * transforms.JITTER * x.std()
  assert len(np.unique(once)) > 1500
  np.testing.assert_array_equal(transforms.jitter(key, np.ones(9)), 0.0)
