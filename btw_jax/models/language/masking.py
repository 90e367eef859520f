"""Calibrated embedding masking: a modality's embeddings become noise.

The embeddings of a masked modality are replaced by draws from N(μ, diag σ²),
with the mean and standard deviation of its embeddings per dimension, so that
positions, shapes and scales stay. "Modality interaction in multimodal language
models by Partial Information Decomposition", arXiv 2606.00959.
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types


class EmbeddingStats(NamedTuple):
  """The statistics of the embeddings of M modalities.

  Attributes:
    mean: `[M, D]`.
    std: `[M, D]`.
  """

  mean: chex.Array
  std: chex.Array


def statistics(
  embeddings: chex.Array,
  valid: chex.Array,
  owners: Sequence[int],
  num_modalities: int,
  axis_name: str | tuple[str, str] | None = None,
) -> EmbeddingStats:
  """Computes the statistics of embeddings, per modality and dimension.

  Args:
    embeddings: `[B, N, D]`.
    valid: `[B, N]` bool, False for padding and absent modalities.
    owners: the modality of each of the N embeddings, static.
    num_modalities: M, static.
    axis_name: mapped axes over which the examples are sharded, or None.

  Returns:
    The statistics; 0 for a modality without a valid embedding.
  """
  shares = jax.nn.one_hot(np.asarray(owners), num_modalities)
  mask = valid[:, :, None] * shares
  sums = types.psum_over(
    (
      jnp.einsum("bnm->m", mask),
      jnp.einsum("bnm,bnd->md", mask, embeddings),
      jnp.einsum("bnm,bnd->md", mask, embeddings**2),
    ),
    axis_name,
  )
  count, first, second = sums
  count = jnp.maximum(count, 1.0)[:, None]
  mean = first / count
  variance = second / count - mean**2
  # Guarded twice, because the root has no finite gradient at 0.
  varies = variance > 0
  std = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 0.0)
  return EmbeddingStats(mean, std)


def mask(
  keys: chex.PRNGKey,
  embeddings: chex.Array,
  stats: EmbeddingStats,
  owners: Sequence[int],
  masked: chex.Array,
) -> chex.Array:
  """Replaces the embeddings of masked modalities by calibrated noise.

  Args:
    keys: `[B]`, one per example.
    embeddings: `[B, N, D]`.
    stats: of the embeddings that the noise imitates.
    owners: the modality of each of the N embeddings, static.
    masked: `[B, M]` bool, the modalities to take away from each example.

  Returns:
    `[B, N, D]`; embeddings of other modalities stay as they are.
  """
  owners = np.asarray(owners)
  noise = jax.vmap(lambda k: jax.random.normal(k, embeddings.shape[1:]))(keys)
  drawn = stats.mean[owners] + stats.std[owners] * noise
  return jnp.where(masked[:, owners, None], drawn, embeddings)
