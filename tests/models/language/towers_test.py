import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.language import towers
from support import language_oracle as oracle
from support import language_problems as problems


def _init(module, *args):
  return jax.jit(module.init)(jax.random.key(0), *args)


def test_patches_are_cut_row_by_row():
  image = np.arange(24).reshape(1, 4, 6)
  actual = towers.patches(jnp.asarray(image), 2)
  assert actual.shape == (1, 6, 4)
  # The first patch of the second row, and the last one.
  np.testing.assert_array_equal(actual[0, 3], [12, 13, 18, 19])
  np.testing.assert_array_equal(actual[0, 5], [16, 17, 22, 23])


@pytest.mark.training
def test_every_image_token_reads_the_whole_image():
  sizes = problems.sizes()
  images = jnp.asarray(np.random.default_rng(0).random((1, 4, 6)), jnp.float32)
  tower = towers.VisionTower(sizes)
  params = _init(tower, images)
  reads = jax.jit(jax.jacobian(lambda x: tower.apply(params, x).sum(-1)))(
    images
  )
  assert np.all(np.asarray(reads) != 0)


@pytest.mark.training
def test_frames_past_the_length_change_nothing():
  sizes = problems.sizes()
  frames = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
  length = np.array([6, 3, 2, 0])
  tower = towers.AudioTower(sizes)
  params = _init(tower, frames, length)
  apply = jax.jit(tower.apply)
  changed = frames.copy()
  for i, n in enumerate(length):
    changed[i, n:] = 1e3
  before = apply(params, frames, length)
  np.testing.assert_array_equal(before, apply(params, changed, length))
  changed[:, 0] += 1.0
  after = np.any(before != apply(params, changed, length), axis=(1, 2))
  np.testing.assert_array_equal(after, length > 0)


@pytest.mark.training
def test_valid_audio_tokens_do_not_depend_on_silent_ones():
  """A tower without any silent token gives the same first tokens."""
  sizes = problems.sizes()
  frames = np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)
  tower = towers.AudioTower(sizes)
  params = _init(tower, frames, np.array([4]))
  apply = jax.jit(tower.apply)
  padded = apply(params, frames, np.array([4]))[:, :2]
  position = params["params"]["tower"]["position"]
  params["params"]["tower"]["position"] = position[:2]
  short = apply(params, frames[:, :4], np.array([4]))
  np.testing.assert_allclose(padded, short, atol=1e-6)


def test_a_projector_equals_numpy():
  x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
  projector = towers.Projector(7)
  params = _init(projector, x)
  expected = oracle.project(
    oracle.as_float64(params["params"]), x.astype(np.float64)
  )
  np.testing.assert_allclose(projector.apply(params, x), expected, atol=1e-5)
