"""Grouped-query attention with rotary positions and an optional cache."""

from typing import NamedTuple

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax.models.language import linear


class Cache(NamedTuple):
  """The keys and values of the tokens that an attention layer has read.

  Attributes:
    key: `[B, T, heads, head_dim]`, rotated; zeros in the slots ahead.
    value: `[B, T, heads, head_dim]`.
  """

  key: chex.Array
  value: chex.Array


def rotations(positions: chex.Array, head_dim: int, base: float) -> chex.Array:
  """Returns the cosines and sines `[2, B, T, head_dim / 2]` of positions.

  Args:
    positions: `[B, T]`.
    head_dim: width of a head, even.
    base: the slowest rotation has a wavelength of nearly `2π · base`.
  """
  half = head_dim // 2
  rates = base ** (-jnp.arange(half) / half)
  angles = positions[..., None] * rates
  # Without the barrier XLA computes them again for every head and layer.
  return jax.lax.optimization_barrier(
    jnp.stack([jnp.cos(angles), jnp.sin(angles)])
  )


def rotary(x: chex.Array, rotation: chex.Array) -> chex.Array:
  """Rotates heads by their positions, so that scores see distances only.

  Su et al. (2021), "RoFormer", eq. 34; the two halves of a head are the real
  and the imaginary parts.

  Args:
    x: `[B, T, heads, head_dim]`.
    rotation: `[2, B, T, head_dim / 2]`, from `rotations`.
  """
  cos, sin = rotation[..., None, :]
  real, imag = jnp.split(x, 2, axis=-1)
  return jnp.concatenate(
    [real * cos - imag * sin, imag * cos + real * sin], axis=-1
  )


class GroupedQueryAttention(nn.Module):
  """Attention whose query heads share heads of keys and values.

  Ainslie et al. (2023), "GQA: training generalized multi-query Transformer
  models from multi-head checkpoints".

  Attributes:
    num_heads: number of query heads, a divisor of D.
    num_kv_heads: number of heads of keys and values, a divisor of `num_heads`.
  """

  num_heads: int
  num_kv_heads: int

  @nn.compact
  def __call__(
    self,
    queries: chex.Array,
    tokens: chex.Array,
    mask: chex.Array,
    query_rotation: chex.Array | None = None,
    rotation: chex.Array | None = None,
    cache: Cache | None = None,
    start: chex.Array | int = 0,
  ) -> tuple[chex.Array, Cache | None]:
    """Reads tokens, and with a cache those before them.

    Args:
      queries: `[B, Q, D]`, the tokens that read.
      tokens: `[B, T, D]`, the tokens that are read.
      mask: `[B, Q, T]`, or `[B, Q, slots]` with a cache, the tokens that each
        query attends to; at least one.
      query_rotation: `[2, B, Q, head_dim / 2]`, from `rotations`, for the
        positions of the queries; None if order does not matter.
      rotation: `[2, B, T, head_dim / 2]` or None, the same for the tokens.
      cache: the tokens read before, to which these tokens are added.
      start: the slot of the first token in the cache.

    Returns:
      `[B, Q, D]`, and the cache with these tokens or None.
    """
    width = queries.shape[-1]
    head_dim = width // self.num_heads

    def project(x, num_heads, name):
      x = linear.Linear(num_heads * head_dim, use_bias=False, name=name)(x)
      return x.reshape(*x.shape[:-1], num_heads, head_dim)

    query = project(queries, self.num_heads, "query")
    key = project(tokens, self.num_kv_heads, "key")
    value = project(tokens, self.num_kv_heads, "value")
    if rotation is not None:
      query = rotary(query, query_rotation)
      key = rotary(key, rotation)
    if cache is not None:
      cache = Cache(
        *(
          jax.lax.dynamic_update_slice_in_dim(old, x, start, axis=1)
          for old, x in zip(cache, (key, value), strict=True)
        )
      )
      key, value = cache
    x = jax.nn.dot_product_attention(query, key, value, mask=mask[:, None])
    x = x.reshape(*queries.shape)
    return linear.Linear(width, use_bias=False, name="out")(x), cache
