"""A pre-norm Transformer whose text tokens attend to the tokens before them."""

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax.models.language import attention
from btw_jax.models.language import linear

# Added to a mean square, so that a token of zeros has a norm.
_EPSILON = 1e-6


class RMSNorm(nn.Module):
  """A division by the root mean square of the features, and a learned scale.

  Zhang and Sennrich (2019), "Root mean square layer normalization".
  """

  @nn.compact
  def __call__(self, x: chex.Array) -> chex.Array:
    """Maps `[..., D]`."""
    scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
    square = jnp.mean(x * x, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(square + _EPSILON) * scale


class SwiGLU(nn.Module):
  """A gated perceptron, `down(silu(gate(x)) · up(x))`.

  Shazeer (2020), "GLU variants improve Transformer".

  Attributes:
    hidden_dim: number of hidden units.
  """

  hidden_dim: int

  @nn.compact
  def __call__(self, x: chex.Array) -> chex.Array:
    """Maps `[..., D]`."""
    gate, up = (
      linear.Linear(self.hidden_dim, use_bias=False, name=name)(x)
      for name in ("gate", "up")
    )
    down = linear.Linear(x.shape[-1], use_bias=False, name="down")
    return down(nn.silu(gate) * up)


class Block(nn.Module):
  """One layer: attention and a perceptron, both pre-norm and residual.

  Attributes:
    num_heads: number of query heads.
    num_kv_heads: number of heads of keys and values.
    hidden_dim: number of hidden units of the perceptron.
  """

  num_heads: int
  num_kv_heads: int
  hidden_dim: int

  @nn.compact
  def __call__(
    self,
    x: chex.Array,
    mask: chex.Array,
    rotation: chex.Array | None = None,
    rows: chex.Array | None = None,
    cache: attention.Cache | None = None,
    start: chex.Array | int = 0,
  ) -> tuple[chex.Array, attention.Cache | None]:
    """Maps tokens `[B, T, D]`.

    Args:
      x: `[B, T, D]`.
      mask: `[B, T, T]`, or `[B, T, slots]` with a cache, the tokens that each
        token attends to.
      rotation: `[2, B, T, head_dim / 2]`, from `attention.rotations`; None if
        order does not matter.
      rows: `[B, Q]`, the tokens to compute; all if None.
      cache: the tokens read before.
      start: the slot of the first token in the cache.

    Returns:
      `[B, Q, D]`, and the cache with these tokens or None.
    """
    normed = RMSNorm(name="attention_norm")(x)
    queries, query_rotation = normed, rotation
    if rows is not None:
      x, queries, mask = (take(v, rows) for v in (x, normed, mask))
      if rotation is not None:
        query_rotation = jnp.stack([take(v, rows) for v in rotation])
    attend = attention.GroupedQueryAttention(
      self.num_heads, self.num_kv_heads, name="attention"
    )
    y, cache = attend(
      queries, normed, mask, query_rotation, rotation, cache, start
    )
    x += y
    mlp = SwiGLU(self.hidden_dim, name="mlp")
    return x + mlp(RMSNorm(name="mlp_norm")(x)), cache


class Decoder(nn.Module):
  """A stack of layers, left to right.

  Attributes:
    num_layers: L.
    num_heads: number of query heads.
    num_kv_heads: number of heads of keys and values.
    hidden_dim: number of hidden units of a perceptron.
    rope_base: the base of the rotary positions.
  """

  num_layers: int
  num_heads: int
  num_kv_heads: int
  hidden_dim: int
  rope_base: float

  def setup(self):
    """Declares layers and the final norm."""
    self.layers = [
      Block(self.num_heads, self.num_kv_heads, self.hidden_dim)
      for _ in range(self.num_layers)
    ]
    self.norm = RMSNorm()

  def __call__(
    self,
    x: chex.Array,
    positions: chex.Array,
    mask: chex.Array,
    rows: chex.Array | None = None,
    caches: tuple[attention.Cache, ...] | None = None,
    start: chex.Array | int = 0,
  ) -> tuple[chex.Array, tuple[attention.Cache, ...] | None]:
    """Maps tokens `[B, T, D]` to the hidden states after every layer.

    The last layer is computed for the tokens in `rows` only.

    Args:
      x: `[B, T, D]`.
      positions: `[B, T]` int.
      mask: `[B, T, T]`, or `[B, T, slots]` with caches, the tokens that each
        token attends to.
      rows: `[B, Q]`, the tokens to return; all if None.
      caches: for each layer the tokens read before.
      start: the slot of the first token in the caches.

    Returns:
      `[L + 1, B, Q, D]`, the first before all layers, none normalised; and the
      caches with these tokens or None.
    """

    def select(x):
      return x if rows is None else take(x, rows)

    rotation = attention.rotations(
      positions, x.shape[-1] // self.num_heads, self.rope_base
    )
    hidden, kept = [select(x)], []
    for i, layer in enumerate(self.layers):
      is_last = i == self.num_layers - 1
      x, cache = layer(
        x,
        mask,
        rotation,
        rows if is_last else None,
        None if caches is None else caches[i],
        start,
      )
      hidden.append(x if is_last else select(x))
      kept.append(cache)
    return jnp.stack(hidden), None if caches is None else tuple(kept)

  def normalise(self, x: chex.Array) -> chex.Array:
    """Applies the final norm to hidden states `[..., D]`."""
    return self.norm(x)


def take(x: chex.Array, rows: chex.Array) -> chex.Array:
  """Returns the tokens `[B, Q, D]` of `x` `[B, T, D]` in `rows` `[B, Q]`."""
  return jax.vmap(lambda x, rows: x[rows])(x, rows)


def causal_mask(where: chex.Array, slots: chex.Array) -> chex.Array:
  """Returns the tokens `[B, Q, T]` that the tokens in `slots` `[Q]` attend to.

  A token attends to itself, so that no softmax is empty, and to the tokens in
  `where` `[B, T]` before it.
  """
  others = jnp.arange(where.shape[1])
  before = others < slots[:, None]
  return (before & where[:, None]) | (others == slots[:, None])
