"""Weights of an audit are those of the BTW rule."""

import numpy as np
import pytest

from btw_jax import weighting
from btw_jax.pipeline.audit import weights as weights_lib
from support import audits
from support import oracles

pytestmark = pytest.mark.training
_ALONE = {"text": "text", "audio": "audio"}


@pytest.fixture(scope="module")
def weighed():
  answers = audits.draw({"text": 2.0, "audio": 0.0, "both": 2.5})
  return answers, weights_lib.compute(
    answers, _ALONE, "both", num_permutations=19, seed=0
  )


@pytest.mark.parametrize("variant", ["uniform", "kl", "mi", "kl+mi"])
def test_tables_are_the_rule(weighed, variant):
  answers, weights = weighed
  unimodal = np.stack([answers.log_probs[c] for c in _ALONE.values()])
  expected = oracles.btw_weights(
    np.exp(unimodal),
    np.exp(answers.log_probs["both"]),
    np.ones((len(answers), 2), bool),
    variant,
  )
  np.testing.assert_allclose(weights.tables[variant], expected, atol=2e-5)


def test_information_is_tested_against_chance(weighed):
  answers, weights = weighed
  assert set(weights.tables) == set(weighting.VARIANTS)
  text, audio = weights.information
  assert [text["modality"], audio["modality"]] == ["text", "audio"]
  for row in (text, audio):
    p, q = (np.exp(answers.log_probs[c]) for c in (row["modality"], "both"))
    np.testing.assert_allclose(
      row["information"], oracles.soft_information(p, q), atol=1e-6
    )
  # The smallest p-value of 19 permutations, times two modalities (Holm).
  assert text["p_value"] == pytest.approx(2 / 20)
  assert audio["p_value"] > 0.15
  assert audio["null_mean"] < text["information"] / 10


def test_columns_name_variant_and_modality(weighed):
  _, weights = weighed
  columns = weights_lib.columns(weights, list(_ALONE))
  np.testing.assert_array_equal(
    columns["kl+mi_audio"], weights.tables["kl+mi"][:, 1]
  )
  np.testing.assert_array_equal(
    columns["divergence_text"], weights.divergence[:, 0]
  )
  (row,) = [
    row
    for row in weights_lib.means(weights, list(_ALONE))
    if row["variant"] == "kl"
  ]
  np.testing.assert_allclose(
    row["means"]["text"], weights.tables["kl"][:, 0].mean(dtype=float)
  )
