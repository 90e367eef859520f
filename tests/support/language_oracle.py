"""The language model in NumPy loops over tokens and heads, in float64.

Padding is dropped from the texts before anything is computed, so that it cannot
change an answer.
"""

import numpy as np
from scipy import special

PAD, IMAGE_TOKEN, AUDIO_TOKEN = 0, 2, 3


def attention(query, key, value, sees):
  """Attends head by head and query by query.

  Args:
    query: `[Q, heads, head_dim]`.
    key: `[T, kv_heads, head_dim]`.
    value: `[T, kv_heads, head_dim]`.
    sees: whether query i attends to token j.

  Returns:
    `[Q, heads, head_dim]`.
  """
  num_queries, num_heads, head_dim = query.shape
  shared = num_heads // key.shape[1]
  out = np.zeros(query.shape)
  for i in range(num_queries):
    seen = [j for j in range(len(key)) if sees(i, j)]
    for head in range(num_heads):
      scores = [
        query[i, head] @ key[j, head // shared] / np.sqrt(head_dim)
        for j in seen
      ]
      for j, weight in zip(seen, special.softmax(scores), strict=True):
        out[i, head] += weight * value[j, head // shared]
  return out


def rotate(x, positions, base):
  """Rotates heads `[T, heads, head_dim]` as complex numbers."""
  half = x.shape[-1] // 2
  out = np.zeros(x.shape)
  for t, position in enumerate(positions):
    for k in range(half):
      turn = np.exp(1j * position / base ** (k / half))
      z = (x[t, :, k] + 1j * x[t, :, half + k]) * turn
      out[t, :, k], out[t, :, half + k] = z.real, z.imag
  return out


def rms_norm(x, params):
  """Divides each token of `[T, D]` by its root mean square."""
  rows = [row / np.sqrt(np.mean(row**2) + 1e-6) for row in x]
  return np.stack(rows) * params["scale"]


def block(params, x, sees, sizes, positions=None):
  """Applies one layer to tokens `[T, D]`; no positions, no rotation."""
  weights = {k: v["kernel"] for k, v in params["attention"].items()}
  normed = rms_norm(x, params["attention_norm"])
  head_dim = x.shape[1] // sizes.num_heads
  query, key, value = (
    (normed @ weights[name]).reshape(len(x), -1, head_dim)
    for name in ("query", "key", "value")
  )
  if positions is not None:
    query = rotate(query, positions, sizes.rope_base)
    key = rotate(key, positions, sizes.rope_base)
  read = attention(query, key, value, sees)
  x = x + read.reshape(x.shape) @ weights["out"]
  weights = {k: v["kernel"] for k, v in params["mlp"].items()}
  normed = rms_norm(x, params["mlp_norm"])
  gate = normed @ weights["gate"]
  hidden = gate * special.expit(gate) * (normed @ weights["up"])
  return x + hidden @ weights["down"]


def tower(params, x, valid, sizes):
  """Applies a tower to tokens `[T, F]`, of which some are `valid`."""
  x = x @ params["embed"]["kernel"] + params["embed"]["bias"]
  x = x + params["position"]
  for i in range(sizes.tower_layers):
    x = block(params[f"layers_{i}"], x, lambda i, j: valid[j] or i == j, sizes)
  return rms_norm(x, params["norm"])


def project(params, x):
  """Applies a projector, with the tanh form of GELU."""
  x = x @ params["hidden"]["kernel"] + params["hidden"]["bias"]
  inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
  x = 0.5 * x * (1 + np.tanh(inner))
  return x @ params["out"]["kernel"] + params["out"]["bias"]


def image_tokens(params, image, sizes):
  """Returns the embeddings `[P, D]` of an image `[H, W]`."""
  size = sizes.patch_size
  cut = [
    image[y : y + size, x : x + size].ravel()
    for y in range(0, image.shape[0], size)
    for x in range(0, image.shape[1], size)
  ]
  x = tower(params["vision"]["tower"], np.stack(cut), [True] * len(cut), sizes)
  return project(params["vision_projector"], x)


def audio_tokens(params, frames, length, sizes):
  """Returns the embeddings `[Q, D]` of audio, and which of them are valid."""
  frames, size = frames.copy(), sizes.frames_per_token
  frames[length:] = 0
  starts = range(0, len(frames), size)
  valid = [start < length for start in starts]
  x = np.stack([frames[start : start + size].ravel() for start in starts])
  x = tower(params["audio"]["tower"], x, valid, sizes)
  return project(params["audio_projector"], x), valid


def layer_logits(params, batch, row, sizes, multipliers=None):
  """Returns the logits `[L + 1, V]` of one question after every layer."""
  x, visible = _tokens(params, batch, row, sizes, multipliers)

  def sees(i, j):
    return i == j or (j < i and visible[j])

  decoder, logits = params["decoder"], []
  for layer in range(sizes.num_layers + 1):
    if layer > 0:
      x = block(decoder[f"layers_{layer - 1}"], x, sees, sizes, range(len(x)))
    last = rms_norm(x[-1:], decoder["norm"])[0]
    if sizes.tied:
      logits.append(params["embedding"] @ last)
    else:
      logits.append(last @ params["head"]["kernel"])
  return np.stack(logits)


def _tokens(params, batch, row, sizes, multipliers):
  """Returns the embeddings of a text without padding, and which are seen."""
  features, present = batch.features[row], batch.present[row]
  factors = np.ones(len(present)) if multipliers is None else multipliers[row]
  height, width = sizes.image_shape
  image = features[1][: height * width].reshape(height, width)
  image = list(image_tokens(params, image, sizes) * factors[1])
  audio, heard = [], []
  if sizes.audio_shape is not None:
    steps = batch.sequences[0]
    audio, heard = audio_tokens(
      params, steps.values[row, 0], steps.length[row, 0], sizes
    )
    audio, heard = list(audio * factors[2]), list(heard)
  x, visible = [], []
  for token in features[0][: sizes.num_text].astype(int):
    if token == PAD:
      continue
    if token == IMAGE_TOKEN:
      x.append(image.pop(0))
      visible.append(present[1])
    elif token == AUDIO_TOKEN and sizes.audio_shape is not None:
      x.append(audio.pop(0))
      visible.append(present[2] and heard.pop(0))
    else:
      x.append(params["embedding"][token] * factors[0])
      visible.append(present[0])
  return np.stack(x), visible


def as_float64(tree):
  """Converts the floating arrays of nested dicts and tuples to float64."""
  if isinstance(tree, dict):
    return {name: as_float64(part) for name, part in tree.items()}
  if isinstance(tree, tuple):
    parts = [as_float64(part) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
  if tree is None:
    return None
  tree = np.asarray(tree)
  return tree.astype(np.float64) if tree.dtype.kind == "f" else tree
