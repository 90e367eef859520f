"""The language model and its training step in eager PyTorch.

The modules have the names of the parameters in `models.language`, and compute
the same: the last layer is computed for the answers only, too.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import flax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from btw_jax import types
from btw_jax.models.language import sizes as sizes_lib

# Added to a mean square, as in `models.language.decoder`.
_EPSILON = 1e-6
# The names that PyTorch has for parameters of Flax.
_NAMES = {"kernel": "weight", "scale": "weight"}


class Inputs(NamedTuple):
  """The part of a batch that the model reads.

  Attributes:
    tokens: `[B, T]` int.
    images: `[B, H, W]`.
    present: `[B, M]` bool.
    audio: `[B, F, Mel]`.
    length: `[B]` int, the valid frames.
  """

  tokens: torch.Tensor
  images: torch.Tensor
  present: torch.Tensor
  audio: torch.Tensor
  length: torch.Tensor

  def take(self, rows: torch.Tensor) -> "Inputs":
    """Returns the examples in `rows` `[n]`."""
    return Inputs(*(x[rows] for x in self))


class RMSNorm(nn.Module):
  """A division by the root mean square, and a learned scale."""

  def __init__(self, width: int):
    """Starts with a scale of 1."""
    super().__init__()
    self.weight = nn.Parameter(torch.ones(width))

  def forward(self, x):
    """Maps `[..., D]`."""
    return functional.rms_norm(x, self.weight.shape, self.weight, _EPSILON)


class Attention(nn.Module):
  """Grouped-query attention; with a base, its positions are rotary."""

  def __init__(self, sizes: sizes_lib.LanguageSizes, base: float | None):
    """Declares the four projections."""
    super().__init__()
    width = sizes.embedding_dim
    self.heads, self.kv_heads = sizes.num_heads, sizes.num_kv_heads
    self.head_dim, self.base = width // sizes.num_heads, base
    kv_width = self.kv_heads * self.head_dim
    self.query = nn.Linear(width, width, bias=False)
    self.key = nn.Linear(width, kv_width, bias=False)
    self.value = nn.Linear(width, kv_width, bias=False)
    self.out = nn.Linear(width, width, bias=False)

  def forward(self, queries, tokens, mask, query_angles, angles):
    """Maps queries `[B, Q, D]` that read tokens `[B, T, D]`."""
    query, key, value = (
      layer(x).unflatten(-1, (heads, self.head_dim)).transpose(1, 2)
      for layer, x, heads in (
        (self.query, queries, self.heads),
        (self.key, tokens, self.kv_heads),
        (self.value, tokens, self.kv_heads),
      )
    )
    if self.base is not None:
      query, key = _rotate(query, query_angles), _rotate(key, angles)
    x = functional.scaled_dot_product_attention(
      query, key, value, mask[:, None], enable_gqa=True
    )
    return self.out(x.transpose(1, 2).flatten(2))


class SwiGLU(nn.Module):
  """A gated perceptron."""

  def __init__(self, width: int, hidden_dim: int):
    """Declares the three layers."""
    super().__init__()
    self.gate = nn.Linear(width, hidden_dim, bias=False)
    self.up = nn.Linear(width, hidden_dim, bias=False)
    self.down = nn.Linear(hidden_dim, width, bias=False)

  def forward(self, x):
    """Maps `[..., D]`."""
    return self.down(functional.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
  """One layer: attention and a perceptron, both pre-norm and residual."""

  def __init__(self, sizes: sizes_lib.LanguageSizes, base: float | None = None):
    """Declares norms, attention and perceptron."""
    super().__init__()
    self.attention_norm = RMSNorm(sizes.embedding_dim)
    self.attention = Attention(sizes, base)
    self.mlp_norm = RMSNorm(sizes.embedding_dim)
    self.mlp = SwiGLU(sizes.embedding_dim, sizes.hidden_dim)

  def forward(self, x, mask, angles=None, rows=None):
    """Maps tokens `[B, T, D]`; those in `rows` `[B]` only, if given."""
    normed = self.attention_norm(x)
    queries, query_angles = normed, angles
    if rows is not None:
      x, queries, mask = (_take(v, rows) for v in (x, normed, mask))
      query_angles = tuple(_take(v, rows) for v in angles)
    x = x + self.attention(queries, normed, mask, query_angles, angles)
    return x + self.mlp(self.mlp_norm(x))


class Tower(nn.Module):
  """Layers over tokens with learned positions, in both directions."""

  def __init__(
    self, sizes: sizes_lib.LanguageSizes, num_tokens: int, width: int
  ):
    """Declares the layers for `num_tokens` tokens of `width` features."""
    super().__init__()
    self.embed = nn.Linear(width, sizes.embedding_dim)
    shape = (num_tokens, sizes.embedding_dim)
    self.position = nn.Parameter(0.02 * torch.randn(shape))
    self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.tower_layers))
    self.norm = RMSNorm(sizes.embedding_dim)

  def forward(self, x, where):
    """Maps tokens `[B, T, F]`; those in `where` `[B, T]` are valid."""
    itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
    x, mask = self.embed(x) + self.position, where[:, None] | itself
    for layer in self.layers:
      x = layer(x, mask)
    return self.norm(x)


class Projector(nn.Module):
  """A perceptron from the tokens of a tower to embeddings."""

  def __init__(self, width: int):
    """Declares the two layers."""
    super().__init__()
    self.hidden = nn.Linear(width, width)
    self.out = nn.Linear(width, width)

  def forward(self, x):
    """Maps `[..., D]`."""
    return self.out(functional.gelu(self.hidden(x), approximate="tanh"))


class Language(nn.Module):
  """The language model with images and audio, and a tied head."""

  def __init__(self, sizes: sizes_lib.LanguageSizes):
    """Declares towers, projectors, embeddings and decoder."""
    super().__init__()
    self.sizes, width = sizes, sizes.embedding_dim
    self.patch_width = sizes.patch_size**2
    frame_width = sizes.frames_per_token * sizes.audio_shape[1]
    self.embedding = nn.Parameter(
      width**-0.5 * torch.randn(sizes.vocab_size, width)
    )
    self.vision = Tower(sizes, sizes.num_image_tokens, self.patch_width)
    self.vision_projector = Projector(width)
    self.audio = Tower(sizes, sizes.num_audio_tokens, frame_width)
    self.audio_projector = Projector(width)
    base = sizes.rope_base
    self.layers = nn.ModuleList(
      Block(sizes, base) for _ in range(sizes.num_layers)
    )
    self.norm = RMSNorm(width)

  def forward(self, inputs: Inputs) -> torch.Tensor:
    """Returns the logits `[B, V]` of the answers."""
    embeddings, valid = self._encode(inputs)
    tokens, num_images = inputs.tokens, self.sizes.num_image_tokens
    is_image = tokens == sizes_lib.IMAGE_TOKEN
    is_audio = tokens == sizes_lib.AUDIO_TOKEN
    is_token = tokens != sizes_lib.PAD
    slots = torch.arange(tokens.shape[1], device=tokens.device)
    source = (num_images + self.sizes.num_audio_tokens + slots).expand_as(
      tokens
    )
    source = torch.where(is_image, _count(is_image), source)
    source = torch.where(is_audio, num_images + _count(is_audio), source)
    x = _take_many(embeddings, source)
    where = torch.gather(valid, 1, source)
    mask = (slots < slots[:, None]) & where[:, None]
    mask = mask | (slots == slots[:, None])
    angles = self._angles(_count(is_token))
    answer = torch.where(is_token, slots, 0).amax(1)
    for layer in self.layers[:-1]:
      x = layer(x, mask, angles)
    x = self.layers[-1](x, mask, angles, answer)
    return functional.linear(self.norm(x[:, 0]), self.embedding)

  def _encode(self, inputs):
    """Returns embeddings `[B, N, D]`, and which of them `[B, N]` are valid."""
    sizes, size = self.sizes, self.sizes.patch_size
    images = inputs.images.unflatten(2, (-1, size)).unflatten(1, (-1, size))
    images = images.transpose(2, 3).flatten(3).flatten(1, 2)
    frames = torch.arange(sizes.audio_shape[0], device=images.device)
    heard = frames < inputs.length[:, None]
    audio = torch.where(heard[..., None], inputs.audio, 0.0)
    audio = audio.unflatten(1, (sizes.num_audio_tokens, -1)).flatten(2)
    heard = heard[:, :: sizes.frames_per_token]
    everywhere = torch.ones_like(images[..., 0], dtype=torch.bool)
    embeddings = [
      self.vision_projector(self.vision(images, everywhere)),
      self.audio_projector(self.audio(audio, heard)),
      functional.embedding(inputs.tokens, self.embedding),
    ]
    text, image, sound = inputs.present.split(1, dim=1)
    valid = [
      everywhere & image,
      heard & sound,
      (inputs.tokens != sizes_lib.PAD) & text,
    ]
    return torch.cat(embeddings, 1), torch.cat(valid, 1)

  def _angles(self, positions):
    """Returns cosines and sines `[B, T, D / heads / 2]` of the positions."""
    half = self.sizes.embedding_dim // self.sizes.num_heads // 2
    steps = torch.arange(half, device=positions.device) / half
    angles = positions[..., None] * self.sizes.rope_base**-steps
    return torch.cos(angles), torch.sin(angles)


def _rotate(x, angles):
  """Rotates heads `[B, heads, T, head_dim]`."""
  cos, sin = (v[:, None] for v in angles)
  real, imag = x.chunk(2, dim=-1)
  return torch.cat([real * cos - imag * sin, imag * cos + real * sin], -1)


def _take(x, rows):
  """Returns the tokens `[B, 1, D]` of `x` `[B, T, D]` in `rows` `[B]`."""
  return x[torch.arange(len(x), device=x.device), rows][:, None]


def _take_many(x, rows):
  """Returns the tokens `[B, T, D]` of `x` `[B, N, D]` in `rows` `[B, T]`."""
  return torch.gather(x, 1, rows[..., None].expand(-1, -1, x.shape[-1]))


def _count(mask):
  """Returns how many entries `[B, T]` are True before each entry."""
  return mask.cumsum(1) - mask.long()


def build(
  sizes: sizes_lib.LanguageSizes, params: chex.ArrayTree, device: str
) -> Language:
  """Builds the model with the parameters of our network."""
  model = Language(sizes)
  state = {}
  for path, value in flax.traverse_util.flatten_dict(params).items():
    # Our towers and our decoder are modules inside others.
    path = [part for part in path if part not in ("tower", "decoder")]
    name = ".".join([*path[:-1], _NAMES.get(path[-1], path[-1])])
    value = np.array(value)
    state[name.replace("layers_", "layers.")] = torch.from_numpy(
      value.T.copy() if path[-1] == "kernel" else value
    )
  model.load_state_dict(state)
  return model.to(device)


def inputs(
  sizes: sizes_lib.LanguageSizes, batch: types.Batch, device: str
) -> Inputs:
  """Returns what the model reads of a batch."""
  height, width = sizes.image_shape
  features = np.asarray(batch.features)
  (steps,) = batch.sequences
  arrays = Inputs(
    features[:, sizes_lib.TEXT, : sizes.num_text].astype(np.int64),
    features[:, sizes_lib.IMAGE, : height * width].reshape(-1, height, width),
    np.asarray(batch.present),
    np.asarray(steps.values)[:, 0],
    np.asarray(steps.length)[:, 0].astype(np.int64),
  )
  return Inputs(*(torch.from_numpy(x).to(device) for x in arrays))


def epoch(
  model: Language,
  examples: Inputs,
  answers: np.ndarray,
  *,
  batch_size: int,
  optimizer: Mapping[str, float],
  max_norm: float,
) -> Callable[[], list[float]]:
  """Returns an epoch of training steps.

  Args:
    model: the model to train.
    examples: the training set.
    answers: `[N]`, the token ids of the answers.
    batch_size: of a step; a remainder is left out.
    optimizer: settings of AdamW.
    max_norm: the largest norm of a gradient.

  Returns:
    A function that trains on shuffled batches, waits, and returns the losses
    before each step.
  """
  device = examples.tokens.device
  answers = torch.from_numpy(np.array(answers, np.int64)).to(device)
  parameters = list(model.parameters())
  adamw = torch.optim.AdamW(parameters, fused=True, **optimizer)

  def run():
    losses = []
    order = torch.randperm(len(answers), device=device)
    for start in range(0, len(answers) - batch_size + 1, batch_size):
      rows = order[start : start + batch_size]
      logits = model(examples.take(rows))
      loss = functional.cross_entropy(logits, answers[rows])
      adamw.zero_grad()
      loss.backward()
      nn.utils.clip_grad_norm_(parameters, max_norm)
      adamw.step()
      losses.append(loss.detach())
    return torch.stack(losses).tolist()

  return run
