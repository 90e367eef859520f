import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from btw_jax.mutual_information import discrete
from support import oracles

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.training
@hypothesis.given(SEEDS, st.sampled_from([(2, 2), (3, 5)]))
def test_soft_information_matches_the_loop(seed, shape):
  c, k = shape
  rng = np.random.default_rng(seed)
  p = rng.dirichlet(np.ones(c), 30)
  q = rng.dirichlet(np.ones(k), 30)
  joint = discrete.soft_contingency(p, q)
  np.testing.assert_allclose(jnp.sum(joint), 1.0, rtol=1e-5)
  np.testing.assert_allclose(
    discrete.from_joint(joint), oracles.soft_information(p, q), atol=1e-6
  )


def test_hard_decisions_give_scikit_learns_information():
  rng = np.random.default_rng(0)
  a = rng.integers(0, 4, 300)
  b = np.where(rng.random(300) < 0.7, a, rng.integers(0, 4, 300))
  joint = discrete.soft_contingency(np.eye(4)[a], np.eye(4)[b])
  np.testing.assert_allclose(
    discrete.from_joint(joint), metrics.mutual_info_score(a, b), rtol=1e-5
  )


def test_information_of_a_table_in_closed_form():
  # Two copies of a coin share log 2; two coins share nothing.
  np.testing.assert_allclose(discrete.from_joint(np.eye(2) / 2), np.log(2.0))
  assert abs(discrete.from_joint(np.outer([0.3, 0.7], [0.2, 0.8]))) < 1e-7
  table = jnp.asarray(np.eye(3) / 3)
  assert np.all(np.isfinite(jax.grad(discrete.from_joint)(table)))


@pytest.mark.training
@pytest.mark.parametrize("least", [1e-36, 1e-37, 2e-38])
def test_the_least_that_a_float_holds_is_as_good_as_none(least):
  table = jnp.asarray([[0.5, 0.2], [least, 0.3]], jnp.float32)
  np.testing.assert_allclose(
    discrete.from_joint(table), discrete.from_joint(table.at[1, 0].set(0.0)),
    rtol=1e-5,
  )  # fmt: skip
  assert np.all(np.isfinite(jax.grad(discrete.from_joint)(table)))


def test_contingency_counts_only_what_counts():
  rng = np.random.default_rng(1)
  p, q = rng.dirichlet(np.ones(3), (2, 20))
  where = rng.random(20) < 0.5
  np.testing.assert_allclose(
    discrete.soft_contingency(
      *(np.where(where[:, None], v, np.nan) for v in (p, q)), where=where
    ),
    discrete.soft_contingency(p[where], q[where]),
    rtol=1e-5,
  )
  with pytest.raises(ValueError, match="same N"):
    discrete.soft_contingency(p, q[:3])


def test_a_nearly_independent_table_keeps_its_digits():
  table = np.outer([0.3, 0.7], [0.2, 0.8])
  table = table + 1e-4 * np.array([[1, -1], [-1, 1]])
  exact = oracles.table_information(table)
  assert 1e-8 < exact < 1e-6
  estimate = discrete.from_joint(jnp.asarray(table, jnp.float32))
  np.testing.assert_allclose(estimate, exact, rtol=5e-3)


def test_terms_of_a_column_are_its_share_in_the_information():
  table = np.random.default_rng(2).dirichlet(np.ones(12)).reshape(3, 4)
  table[1, 2] = 0
  table /= table.sum()
  rows, columns = table.sum(axis=1), table.sum(axis=0)
  terms = discrete.terms(jnp.asarray(table))
  assert np.all(terms >= 0)
  for b in range(4):
    share = sum(
      table[a, b] * np.log(table[a, b] / (rows[a] * columns[b]))
      for a in range(3)
      if table[a, b]
    )
    np.testing.assert_allclose(terms[:, b].sum(), share, atol=1e-6)


def test_terms_of_margins_that_are_given():
  joint = np.random.default_rng(0).dirichlet(np.ones(12)).reshape(3, 4)
  joint = joint.astype("f")
  margins = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
  terms = discrete.terms(joint, margins)
  np.testing.assert_allclose(terms, discrete.terms(joint), atol=1e-7)
  # Rounding may make a product of margins far smaller than its cell.
  tiny = discrete.terms(np.float32([[1e-3]]), (np.float32([[1e-30]]), 1.0))
  np.testing.assert_allclose(tiny, 1e-3 * (np.log(1e27) - 1), rtol=1e-6)
