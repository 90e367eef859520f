import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import vision
from support import golden

_ENCODE = jax.jit(vision.encode, static_argnums=1)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_states_are_those_of_the_reference(name):
  model, arrays = golden.model(name), golden.arrays(name)
  states = _ENCODE(model.params, model.config, arrays["pixel_values"])
  np.testing.assert_allclose(states, arrays["out_hidden"], atol=1e-4)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_tower_may_end_before_its_last_layer(name):
  model, arrays = golden.model(name), golden.arrays(name)
  config = model.config._replace(num_layers=1, normalised=False)
  params = {k: x[:1] if "*" in k else x for k, x in model.params.items()}
  states = _ENCODE(params, config, arrays["pixel_values"])
  np.testing.assert_allclose(states, arrays["out_before_last"], atol=1e-4)


def test_patches_are_cut_row_by_row():
  pixels = jnp.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
  cut = vision.patches(pixels, 2)
  assert cut.shape == (2, 6, 12)
  for number, (row, column) in enumerate(np.ndindex(2, 3)):
    patch = pixels[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
    np.testing.assert_array_equal(cut[:, number], patch.reshape(2, -1))


def test_the_order_of_images_does_not_matter():
  model = golden.model("siglip")
  pixels = golden.arrays("siglip")["pixel_values"]
  states = _ENCODE(model.params, model.config, pixels)
  turned = _ENCODE(model.params, model.config, pixels[::-1])
  np.testing.assert_allclose(states[::-1], turned, atol=1e-5)


def test_shapes_are_those_of_the_parameters():
  for name in ("clip", "siglip"):
    model = golden.model(name)
    shapes = {k: x.shape for k, x in model.params.items()}
    assert shapes == vision.shapes(model.config)


def test_parameters_of_a_part_are_found_below_its_prefix():
  model = golden.model("clip")
  below = {f"vision.{k}": x for k, x in model.params.items()}
  assert layers.scope(below, "vision").keys() == model.params.keys()
