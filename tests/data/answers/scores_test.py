import numpy as np
import pytest
from scipy import special

from btw_jax.data.answers import read_options
from btw_jax.data.answers import scores
from support import answer_files

NAN, INF = np.nan, np.inf


def _normalise(values, lengths=None, **options):
  return scores.normalise(
    np.array(values, float),
    read_options.ReadOptions(**options),
    lambda row: f"FILE: line {row + 1}",
    None if lengths is None else np.array(lengths, float),
  )


PROBS = np.array([[0.2, 0.3, 0.5], [0.75, 0.25, 0.0]])
ROWS = [[0.2, 0.3, 0.5], [0.75, 0.25, NAN]]


def _check(result):
  with np.errstate(divide="ignore"):
    np.testing.assert_allclose(result.log_probs, np.log(PROBS), atol=1e-12)
  assert result.num_options.tolist() == [3, 2]


@pytest.mark.parametrize("kind", ["auto", "probabilities"])
def test_probabilities(kind):
  _check(_normalise(ROWS, scores=kind))


@pytest.mark.parametrize("kind", ["auto", "log_probabilities"])
def test_log_probabilities(kind):
  _check(_normalise(np.log(ROWS), scores=kind))


@pytest.mark.parametrize("kind", ["auto", "logits", "log_likelihoods"])
def test_other_scores_are_normalised(kind):
  # The sums over tokens of two questions differ by a constant of each.
  _check(_normalise(np.log(ROWS) - [[9.0], [4.0]], scores=kind))


def test_positive_logits_are_recognised():
  _check(_normalise(np.log(ROWS) - [[-9.0], [-4.0]]))


def test_an_option_may_be_impossible():
  for values, kind in (
    ([[1.0, 0.0]], "probabilities"),
    ([[0.0, -INF]], "auto"),
  ):
    result = _normalise(values, scores=kind)
    np.testing.assert_array_equal(result.log_probs, [[0.0, -INF]])
    # An impossible option is an option all the same.
    assert result.num_options.tolist() == [2]


def test_rounded_probabilities_are_normalised():
  result = _normalise([[0.3333, 0.3333, 0.3333]])
  np.testing.assert_allclose(result.log_probs, np.log([[1 / 3] * 3]))


def test_scores_between_0_and_1_that_do_not_sum_to_1_are_refused():
  values = [[0.5, 0.5], [0.5, 0.25]]
  for kind in ("auto", "probabilities"):
    with answer_files.refuses("FILE: line 2", "0.75", "--scores=logits"):
      _normalise(values, scores=kind)
  result = _normalise(values, scores="logits")
  np.testing.assert_allclose(result.log_probs, special.log_softmax(values, 1))


@pytest.mark.parametrize(
  ("values", "options", "parts"),
  [
    ([[0.5, 0.5], [1.5, -0.5]], {"scores": "probabilities"},
     ("line 2", "negative probability -0.5")),
    ([[0.5, 0.5], [INF, 0.5]], {}, ("line 2", "infinite")),
    ([[0.5, 0.5], [NAN, 1.0]], {}, ("line 2", "option A", "later option")),
    ([[0.5, NAN, 0.5]], {}, ("line 1", "option B")),
    ([[0.5, 0.5], [NAN, NAN]], {}, ("line 2", "no score of any option")),
    ([[1.0, 2.0], [-INF, -INF]], {}, ("line 2", "probability 0")),
    ([[-0.1, -0.1]], {"scores": "log_probabilities"}, ("line 1", "1.80967")),
    ([[0.5, 0.5]], {"length": "bytes"}, ("--length=bytes", "probabilities")),
    ([[-1.0, -2.0]], {"length": "bytes", "scores": "log_likelihoods"},
     ("--length=bytes", "line 1", "no texts")),
  ],
)  # fmt: skip
def test_wrong_scores_are_named(values, options, parts):
  with answer_files.refuses(*parts):
    _normalise(values, **options)


def test_losses_are_suspected_and_negated():
  losses = -np.log(ROWS) + 3
  likelihoods = {"scores": "log_likelihoods"}
  with answer_files.refuses("--sign=loss", "--sign=likelihood"):
    _normalise(losses, **likelihoods)
  _check(_normalise(losses, sign="loss", **likelihoods))
  kept = _normalise(losses, sign="likelihood", **likelihoods)
  assert kept.log_probs[0].argmax() == 0
  # Zeros only are no sign of losses.
  _normalise([[0.0, 0.0]], **likelihoods)


def test_log_likelihoods_are_divided_by_lengths():
  values, lengths = [[-4.0, -9.0]], [[2, 9]]
  kind = {"scores": "log_likelihoods"}
  result = _normalise(values, lengths, length="characters", **kind)
  # −4/2 and −9/9.
  np.testing.assert_allclose(
    result.log_probs, special.log_softmax([[-2.0, -1.0]], 1)
  )
  assert "divided by the length of the option in characters" in result.notes[0]
  plain = _normalise(values, lengths, **kind)
  np.testing.assert_allclose(plain.log_probs, special.log_softmax(values, 1))
  assert "--length=characters" in plain.notes[0]
  assert _normalise(values, [[2, 2]], **kind).notes == ()
  with answer_files.refuses("line 1", "without text", "--length=characters"):
    _normalise(values, [[2, 0]], length="characters", **kind)


def test_rows_of_different_lengths_are_padded():
  np.testing.assert_array_equal(
    scores.pad([[1, 2], [3], [4, 5, 6]]),
    [[1, 2, NAN], [3, NAN, NAN], [4, 5, 6]],
  )


def test_a_probability_that_rounding_made_negative_is_zero():
  result = _normalise([[-1e-9, 0.4, 0.6 + 1e-9], [0.2, 0.3, 0.5]])
  np.testing.assert_allclose(np.exp(result.log_probs[0]), [0, 0.4, 0.6])
  assert result.notes == ()


def test_rows_that_sum_to_one_are_probabilities():
  with answer_files.refuses("line 1", "negative probability -0.1"):
    _normalise([[-0.1, 1.1], [0.5, 0.5]])


def test_logits_are_said():
  assert "read as logits" in _normalise([[2.0, 1.0]]).notes[0]
  assert _normalise([[2.0, 1.0]], scores="logits").notes == ()
