import numpy as np
import pytest

from btw_jax.data.sources import questions as questions_lib
from btw_jax.pipeline.audit import interactions
from btw_jax.pipeline.audit import options
from btw_jax.pipeline.audit import roles
from btw_jax.pipeline.pretrained import answers
from btw_jax.pipeline.pretrained import logit_lens
from btw_jax.pipeline.pretrained import questions
from support import golden
from support import question_files


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
  path = question_files.write(tmp_path_factory.mktemp("questions"), 40)
  answerer = questions.load(
    golden.ROOT / "llava", dtype="float32", batch_size=8, least_mass=0.0
  )
  return answerer, [e for e in questions_lib.entries(path) if e.has_image]


def test_the_last_layer_is_what_the_model_answers(asked):
  answerer, entries = asked
  asks = [answerer.ask(e, questions.picture_of(e)) for e in entries]
  scores = answerer.answer(asks)
  by_layer = answers.score_layers(answerer.model, asks, 8)
  number = answerer.model.config.text.num_layers
  assert by_layer.shape == (number + 1, len(entries), 3)
  np.testing.assert_allclose(by_layer[-1], scores.log_probs, atol=1e-4)
  np.testing.assert_allclose(np.exp(by_layer).sum(-1), 1, rtol=1e-4)
  assert np.abs(by_layer[0] - by_layer[-1]).max() > 1e-2


def test_its_atoms_are_those_of_the_audit(asked, tmp_path):
  answerer, entries = asked
  bits = logit_lens.measure(answerer, entries)
  answered = questions.answer(answerer, entries)[questions.WITH_IMAGE]
  (pair,) = roles.pairs(roles.assign(list(answered.decisions)))
  row = interactions.measure(answered, pair, options.Options()).row
  assert (pair.first, pair.second) == ("vision", "text")
  expected = [row["atoms"][atom]["mean"] for atom in interactions.ATOMS]
  np.testing.assert_allclose(
    bits[-1], np.array(expected) / np.log(2), atol=2e-3
  )
  # Before the first layer the last token is the same for all questions.
  np.testing.assert_allclose(bits[0], 0, atol=1e-3)
  table, picture = logit_lens.write(tmp_path, bits)
  assert table.stat().st_size
  assert picture.read_bytes().startswith(b"\x89PNG")
