import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import vision_language
from support import golden

_LOGITS = jax.jit(vision_language.logits, static_argnums=1)


def _inputs(name):
  arrays = golden.arrays(name)
  pixels = arrays["pixel_values"]
  return (
    arrays["input_ids"],
    arrays["attention_mask"],
    pixels if pixels.ndim == 5 else pixels[:, None],
  )


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_logits_are_those_of_the_reference(name):
  model, (tokens, mask, pixels) = golden.model(name), _inputs(name)
  logits = _LOGITS(model.params, model.config, tokens, mask, pixels)
  np.testing.assert_allclose(
    np.asarray(logits)[mask > 0],
    golden.arrays(name)["out_logits"][mask > 0],
    atol=1e-4,
  )


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_images_have_as_many_tokens_as_texts_have_placeholders(name):
  model, (tokens, _, pixels) = golden.model(name), _inputs(name)
  images = vision_language.encode_images(model.params, model.config, pixels)
  placeholders = np.sum(tokens == model.config.image_token, axis=1)
  assert np.all(placeholders == images.shape[1])
  assert images.shape[1] == pixels.shape[1] * model.config.num_image_tokens


def test_a_placeholder_takes_the_token_of_its_number():
  model, (tokens, _, _) = golden.model("smolvlm"), _inputs("smolvlm")
  number = np.sum(tokens[0] == model.config.image_token)
  images = jnp.arange(2 * number * 32, dtype=jnp.float32)
  images = images.reshape(2, number, 32)
  embedded = vision_language.embed(model.params, model.config, tokens, images)
  where = tokens == model.config.image_token
  np.testing.assert_array_equal(embedded[0][where[0]], images[0])
  table = model.params["text.model.embed_tokens.weight"]
  np.testing.assert_array_equal(
    embedded[0][~where[0]], table[tokens[0][~where[0]]]
  )


def test_a_text_without_images_is_the_decoder_alone():
  model, (tokens, mask, _) = golden.model("llava"), _inputs("llava")
  logits = _LOGITS(model.params, model.config, tokens, mask)
  text = {
    k.removeprefix("text."): x
    for k, x in model.params.items()
    if k.startswith("text.")
  }
  config = model.config.text
  hidden = llama.decode(text, config, llama.embed(text, tokens), mask)
  np.testing.assert_allclose(
    logits, llama.logits(text, config, hidden), atol=1e-5
  )


def test_pixel_shuffle_joins_neighbours():
  tokens = np.arange(16 * 2).reshape(1, 4, 4, 2)
  joined = vision_language.pixel_shuffle(
    jnp.asarray(tokens).reshape(1, 16, 2), 2
  )
  assert joined.shape == (1, 4, 8)
  for number, (row, column) in enumerate(np.ndindex(2, 2)):
    square = tokens[0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    np.testing.assert_array_equal(joined[0, number], square.ravel())


def test_layers_after_the_one_that_is_read_are_not_loaded():
  config = golden.model("llava").config
  assert config.num_vision_layers == 2
  assert config.vision.num_layers == 1
  name = "vision.encoder.layers.*.mlp.fc1.weight"
  assert len(golden.model("llava").params[name]) == 1
