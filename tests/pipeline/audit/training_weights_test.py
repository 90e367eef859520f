"""Training weights take the right source for the shortcut."""

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.analysis import gap_score
from btw_jax.analysis import pid
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import roles
from btw_jax.pipeline.audit import training_weights
from support import audits

_ATOMS = pid.Decomposition(*np.random.default_rng(0).normal(size=(4, 120)), 0.0)


def _compute(first, second, shortcut=""):
  answers = audits.draw({"both": 2.0, first: 1.0, second: 0.5})
  pair = roles.Pair(first, second, "", "both", first, second)
  options = options_lib.Options(shortcut=shortcut, top_share=0.1)
  return answers, training_weights.compute(answers, pair, _ATOMS, options)


@pytest.mark.parametrize(
  ("sources", "shortcut", "atom"),
  [
    (("vision", "text"), "", "unique2"),
    (("text", "vision"), "", "unique1"),
    (("vision", "text"), "vision", "unique1"),
    (("left", "right"), "", "unique2"),
    (("Text", "vision"), "", "unique1"),
  ],
)
def test_the_shortcut_is_the_text_or_the_one_named(sources, shortcut, atom):
  _, result = _compute(*sources, shortcut)
  positive = np.maximum(np.array(_ATOMS[:4]), 0)
  total = np.maximum(positive.sum(axis=0), 1e-8)
  expected = np.maximum(getattr(_ATOMS, atom), 0) / total
  np.testing.assert_allclose(result.columns["shortcut"], expected, atol=1e-5)


def test_the_lists_have_their_share():
  _, result = _compute("vision", "text")
  weights = result.columns["weight"]
  assert result.summary["num_top"] == 12
  assert np.sum(weights == gap_score.GAP_WEIGHT) == 12
  assert np.sum(weights == gap_score.SHORTCUT_WEIGHT) == 12
  assert result.summary["num_gaps"] == 12
  assert result.summary["num_shortcuts"] == 12
  top = np.argsort(-result.columns["gap_score"])[:12]
  assert np.all(weights[top] == gap_score.GAP_WEIGHT)


def test_an_unknown_shortcut_is_refused():
  pair = roles.Pair("vision", "text", "", "both", "vision", "text")
  training_weights.check_shortcut([pair], "vision")
  training_weights.check_shortcut([pair], "")
  with pytest.raises(errors.InputError, match=r"--shortcut=smell: no source"):
    training_weights.check_shortcut([pair], "smell")
