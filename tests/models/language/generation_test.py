import functools

import jax
import numpy as np
import pytest

from btw_jax.models.language import generation
from support import language_oracle as oracle
from support import language_problems as problems

NUM_TOKENS = 5


@functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="cached")
def _generate(network, params, batch, num_tokens, *, cached):
  return generation.generate(network, params, batch, num_tokens, cached=cached)


def _problem(seed=0, **changes):
  sizes = problems.sizes(**changes)
  batch = problems.batch(sizes, seed)
  return *problems.init(sizes, batch, seed), batch


@pytest.mark.training
def test_cached_and_uncached_tokens_are_the_same():
  """One program each serves other questions and other parameters."""
  before, words = _generate._cache_size(), set()
  for seed in range(4):
    problem = _problem(seed)
    cached, uncached = (
      _generate(*problem, NUM_TOKENS, cached=cached) for cached in (True, False)
    )
    assert cached.shape == (6, NUM_TOKENS)
    np.testing.assert_array_equal(cached, uncached)
    words |= set(np.unique(cached))
  assert min(words) > 4
  assert len(words) > 8
  assert _generate._cache_size() == before + 2


@pytest.mark.training
def test_tokens_are_those_of_the_oracle():
  network, params, batch = _problem(seed=2)
  actual = _generate(network, params, batch, 3, cached=True)
  arrays = oracle.as_float64((params, batch))
  sizes = problems.sizes(num_text=problems.NUM_TEXT + 3)
  for row in range(6):
    features = np.array(arrays[1].features)
    for i in range(3):
      asked = arrays[1]._replace(features=features)
      logits = oracle.layer_logits(arrays[0], asked, row, sizes)[-1]
      token = 5 + np.argmax(logits[5:])
      assert actual[row, i] == token
      features[row, 0, problems.NUM_TEXT + i] = token


@pytest.mark.training
def test_a_text_may_grow_past_the_widest_modality():
  """An image of 4 pixels leaves no room for more tokens."""
  problem = _problem(image_shape=(2, 2), audio_shape=None, num_steps=())
  assert problem[2].features.shape[-1] == problems.NUM_TEXT
  cached, uncached = (
    _generate(*problem, 1, cached=cached) for cached in (True, False)
  )
  np.testing.assert_array_equal(cached, uncached)
