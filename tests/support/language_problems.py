"""Small networks and questions for tests of the language model."""

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models.language import network as network_lib

NUM_TEXT = 18
VOCAB_SIZE = 23


def sizes(**changes):
  """Returns small sizes: 6 image tokens, 3 audio tokens, 18 text tokens."""
  defaults = {
    "num_text": NUM_TEXT,
    "vocab_size": VOCAB_SIZE,
    "image_shape": (4, 6),
    "patch_size": 2,
    "audio_shape": (6, 3),
    "frames_per_token": 2,
    "embedding_dim": 16,
    "hidden_dim": 12,
    "num_layers": 3,
    "num_steps": (6,),
  }
  return network_lib.LanguageSizes(**(defaults | changes))


def batch(sizes, seed=0):
  """Draws six questions that differ in what they show and where they pad.

  The second has padding in the middle and short audio, the third no image, the
  fourth no audio, the fifth no text, the last only one word.
  """
  rng = np.random.default_rng(seed)
  num_modalities = len(sizes.widths)
  rows = np.zeros((6, num_modalities, max(sizes.widths)), np.float32)
  present = np.ones((6, num_modalities), bool)
  present[2, 1] = present[4, 0] = False
  if sizes.audio_shape is not None:
    present[3, 2] = False
  for i in range(6):
    words = rng.integers(5, sizes.vocab_size, 4 if i < 5 else 1)
    signals = [2] * sizes.num_image_tokens
    if sizes.audio_shape is not None and present[i, 2]:
      signals += [3] * sizes.num_audio_tokens
    padding = [0, 0] if i == 1 else []
    tokens = [1, *signals, *words[:1], *padding, *words[1:]]
    rows[i, 0, : len(tokens)] = tokens
  height, width = sizes.image_shape
  rows[:, 1, : height * width] = rng.random((6, height * width))
  steps = ()
  if sizes.audio_shape is not None:
    values = rng.normal(size=(6, 1, *sizes.audio_shape)).astype(np.float32)
    length = np.full((6, 1), sizes.audio_shape[0])
    # Three frames: the second token has one valid frame, the third has none.
    length[1] = 3
    steps = (types.Steps(values, length),)
  target = rng.integers(5, sizes.vocab_size, 6)
  return jax.tree.map(jnp.asarray, types.Batch(rows, present, target, steps))


def init(sizes, batch, seed=0):
  """Returns a network, and parameters that are far from their first values.

  Scales and attention scores of a new network would be close to 1 and 0.
  """
  network = network_lib.LanguageNetwork(sizes)
  rng = np.random.default_rng(seed)

  def draw(path, leaf):
    x = rng.normal(size=leaf.shape)
    x = 1 + 0.3 * x if path[-1].key == "scale" else 0.4 * x
    return jnp.asarray(x, leaf.dtype)

  return network, jax.tree_util.tree_map_with_path(draw, shapes(sizes, batch))


def shapes(sizes, batch):
  """Returns the shapes of the parameters of a network."""
  network = network_lib.LanguageNetwork(sizes)
  return jax.eval_shape(
    lambda: network.init(jax.random.key(0), batch, None, train=False)
  )["params"]
