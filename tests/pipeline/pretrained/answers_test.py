import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import vision_language
from btw_jax.pipeline.pretrained import answers
from btw_jax.pipeline.pretrained import prompts
from support import golden


def _asks(name="llava", number=5, seed=0):
  """Returns questions of different lengths; every third has no image."""
  config, rng = golden.model(name).config, np.random.default_rng(seed)
  asks = []
  for i in range(number):
    read, placeholders = None, 0
    if i % 3 < 2:
      pixels = rng.standard_normal((1, 3, 16, 16)).astype(np.float32)
      read, placeholders = pixels.copy, config.num_image_tokens
    words = rng.integers(4, 30, 4 + i)
    ids = np.r_[1, [config.image_token] * placeholders, words, 5].astype(int)
    is_question = np.r_[
      [False] * (1 + placeholders), [True] * len(words), False
    ]
    letters = (40, 41, 42, 43)[: 2 + i % 3]
    asks.append(
      answers.Ask(
        prompts.Prompt(ids, is_question.astype(bool), letters),
        int(read is not None),
        read,
      )
    )
  return asks


def _direct(name, ask):
  """Returns the logits of the answer to one question, without padding."""
  model = golden.model(name)
  pixels = None if ask.read is None else ask.read()[None]
  tokens = jnp.asarray(ask.prompt.ids)[None]
  logits = vision_language.logits(
    model.params, model.config, tokens, jnp.ones_like(tokens), pixels
  )
  return np.asarray(logits[0, -1], np.float64)


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_scores_are_those_of_the_letters_among_themselves(name):
  asks = _asks(name)
  scores = answers.score(golden.model(name), asks, 2, least_mass=0.0)
  for ask, row, mass in zip(asks, *scores, strict=True):
    logits = _direct(name, ask)
    letters = list(ask.prompt.letters)
    chosen = logits[letters] - np.logaddexp.reduce(logits[letters])
    np.testing.assert_allclose(row[: len(letters)], chosen, atol=1e-4)
    assert np.all(row[len(letters) :] == -np.inf)
    share = np.exp(logits - np.logaddexp.reduce(logits))[letters].sum()
    np.testing.assert_allclose(mass, share, rtol=1e-3)


def test_the_batch_size_does_not_matter():
  asks, model = _asks(), golden.model("llava")
  one, four = (answers.score(model, asks, size) for size in (1, 4))
  np.testing.assert_allclose(one.log_probs, four.log_probs, atol=1e-5)
  np.testing.assert_allclose(one.mass, four.mass, rtol=1e-4)


def test_answers_that_mean_something_else_are_undecided():
  asks, model = _asks(), golden.model("llava")
  scores = answers.score(model, asks, 2, least_mass=1.0)
  for ask, row in zip(asks, scores.log_probs, strict=True):
    number = len(ask.prompt.letters)
    np.testing.assert_allclose(row[:number], -np.log(number), atol=1e-6)


def test_answers_that_are_not_numbers_are_refused():
  model = golden.model("llava")
  params = {name: x * 1e30 for name, x in model.params.items()}
  broken = dataclasses.replace(model, params=params)
  with pytest.raises(errors.InputError, match=r"\d of 5 answers of the model"):
    answers.score(broken, _asks(), 2)


def test_statistics_are_those_of_numpy():
  asks, model = _asks(), golden.model("llava")
  stats = answers.statistics(model, asks, 2)
  of_images, of_texts = [], []
  table = np.asarray(llama.embed({
    "model.embed_tokens.weight": model.params["text.model.embed_tokens.weight"]
  }, jnp.arange(96)))  # fmt: skip
  for ask in asks:
    of_texts.append(table[ask.prompt.ids[ask.prompt.is_question]])
    if ask.read is not None:
      of_images.append(
        vision_language.encode_images(
          model.params, model.config, ask.read()[None]
        )[0]
      )
  for source, values in (
    (answers.VISION, of_images), (answers.TEXT, of_texts),
  ):  # fmt: skip
    values = np.concatenate(values)
    np.testing.assert_allclose(stats.mean[source], values.mean(0), atol=1e-4)
    np.testing.assert_allclose(stats.std[source], values.std(0), atol=1e-4)


def test_a_masked_image_tells_nothing():
  asks, model = _asks(number=2), golden.model("llava")
  stats = answers.statistics(model, asks, 2)
  others = [ask._replace(read=(ask.read() + 1).copy) for ask in asks]
  masked, of_others = (
    answers.score(
      model, x, 2, masked=answers.VISION, stats=stats, least_mass=0.0
    )
    for x in (asks, others)
  )
  np.testing.assert_array_equal(masked.log_probs, of_others.log_probs)
  plain = answers.score(model, asks, 2, least_mass=0.0)
  assert np.abs(plain.log_probs[:, :2] - masked.log_probs[:, :2]).max() > 1e-3


def test_a_masked_question_tells_nothing():
  asks, model = _asks(number=2), golden.model("llava")
  stats = answers.statistics(model, asks, 2)

  def changed(ask):
    ids = np.where(ask.prompt.is_question, 12, ask.prompt.ids)
    return ask._replace(prompt=ask.prompt._replace(ids=ids))

  masked, of_others = (
    answers.score(model, x, 2, masked=answers.TEXT, stats=stats, least_mass=0.0)
    for x in (asks, [changed(ask) for ask in asks])
  )
  np.testing.assert_array_equal(masked.log_probs, of_others.log_probs)
  drawn_again = answers.score(
    model, asks, 2, masked=answers.TEXT, stats=stats, least_mass=0.0, seed=1
  )
  assert np.any(drawn_again.log_probs != masked.log_probs)
