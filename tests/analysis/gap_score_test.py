"""GapScores equal their formulas, and weights follow the two lists."""

import jax
import numpy as np
import pytest
from scipy import stats

from btw_jax.analysis import gap_score
from btw_jax.analysis import pid


def _score(atoms, both, first, second):
  return jax.jit(gap_score.score)(
    pid.Decomposition(*map(np.atleast_1d, atoms), 0.0),
    *(np.log(np.atleast_2d(x)) for x in (both, first, second)),
  )


def test_scores_are_their_formulas():
  both, first, second = (0.9, 0.05, 0.05), (0.4, 0.4, 0.2), (0.3, 0.3, 0.4)
  scores = _score((0.1, 0.2, 0.3, 0.4), both, first, second)
  potential = stats.entropy(first) - stats.entropy(both)
  np.testing.assert_allclose(scores.synergy_ratio, [0.4], rtol=1e-5)
  np.testing.assert_allclose(scores.shortcut, [0.3], rtol=1e-5)
  np.testing.assert_allclose(scores.fusion_potential, [potential], rtol=1e-5)
  np.testing.assert_allclose(
    scores.gap_score, [0.6 * 0.7 * potential], rtol=1e-5
  )


def test_negative_atoms_do_not_count():
  even = (1 / 3,) * 3
  scores = _score((-0.5, 0.2, -0.3, 0.2), even, even, even)
  np.testing.assert_allclose(scores.synergy_ratio, [0.5], rtol=1e-5)
  np.testing.assert_allclose(scores.shortcut, [0], atol=1e-6)


def test_a_pass_with_both_that_is_less_certain_has_no_potential():
  scores = _score((0, 0, 0, 0), (0.5, 0.5), (0.9, 0.1), (0.5, 0.5))
  np.testing.assert_array_equal(scores.fusion_potential, [0])
  np.testing.assert_array_equal(scores.gap_score, [0])


def test_options_that_are_not_offered_have_no_entropy():
  log_probs = np.log([[0.5, 0.5, 1.0]])
  log_probs[0, 2] = -np.inf
  certain = np.array([[0.0, -np.inf, -np.inf]])
  scores = gap_score.score(
    pid.Decomposition(*np.zeros((4, 1)), 0.0), certain, log_probs, log_probs
  )
  np.testing.assert_allclose(scores.fusion_potential, [np.log(2)], rtol=1e-5)


@pytest.mark.parametrize(
  ("num_top", "expected"),
  [
    (0, [1, 1, 1, 1, 1]),
    # The highest gap counts 3, although its shortcut is the highest as well.
    (1, [3, 0.5, 1, 1, 1]),
    (2, [3, 3, 0.5, 0.5, 1]),
    # Scores of 0 are in neither list.
    (5, [3, 3, 3, 0.5, 1]),
  ],
)
def test_weights_follow_the_lists(num_top, expected):
  shortcut = np.array([0.9, 0.8, 0.7, 0.6, 0.0])
  gap = np.array([0.5, 0.4, 0.3, 0.0, 0.0])
  scores = gap_score.GapScore(np.zeros(5), shortcut, np.zeros(5), gap)
  np.testing.assert_array_equal(
    gap_score.training_weights(scores, num_top), expected
  )
