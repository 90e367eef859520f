"""Whole networks: the unimodal models and the multimodal one.

Both run in two parts, `encode` (features to embeddings `[B, M, D]`) and `fuse`
(embeddings and their multipliers to outputs `[U, B, K]`, U the number of
models trained side by side), so that new weights need no new embeddings.
"""

from collections.abc import Sequence
import dataclasses

import chex
from flax import linen as nn
import jax.numpy as jnp

from btw_jax.models import dropout
from btw_jax.models import encoders


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Shape of a network.

  Attributes:
    widths: features of each modality before padding.
    num_outputs: K, outputs of a head.
    hidden_dim: hidden units of encoders and heads.
    embedding_dim: width of an embedding.
    dropout: share of hidden units dropped in training, in [0, 1).
  """

  widths: Sequence[int]
  num_outputs: int
  hidden_dim: int = 64
  embedding_dim: int = 64
  dropout: float = 0.1

  def encoder(self) -> encoders.MLP:
    """The encoder that both networks use."""
    return encoders.MLP(
      self.widths, self.hidden_dim, self.embedding_dim, self.dropout
    )


class Unimodal(nn.Module):
  """One model per modality, trained side by side: U = M.

  Their parameters are disjoint and carry a leading M axis, so one program
  trains them all and each could be cut out alone.
  """

  sizes: Sizes

  def setup(self):
    """Declares encoder and head."""
    sizes = self.sizes
    embedding = (sizes.embedding_dim,) * len(sizes.widths)
    self.encoder = sizes.encoder()
    self.head = encoders.ModalityDense(sizes.num_outputs, embedding)

  def encode(self, features: chex.Array, *, train: bool) -> chex.Array:
    """Features `[B, M, D]` to embeddings `[B, M, D]`."""
    return self.encoder(features, train=train)

  def fuse(
    self,
    embeddings: chex.Array,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> chex.Array:
    """Each embedding to its own outputs `[M, B, K]`; nothing to multiply."""
    del multipliers, train
    return self.head(jnp.swapaxes(embeddings, 0, 1))

  def where(self, present: chex.Array) -> chex.Array:
    """`[M, B]`: a modality's model is trained where the modality is present."""
    return jnp.swapaxes(present, 0, 1)

  def __call__(self, features, multipliers, *, train: bool) -> chex.Array:
    """Encodes and fuses."""
    embeddings = self.encode(features, train=train)
    return self.fuse(embeddings, multipliers, train=train)


class Concatenation(nn.Module):
  """The multimodal model: multiplied embeddings, concatenated, then an MLP."""

  sizes: Sizes

  def setup(self):
    """Declares encoder and head."""
    sizes = self.sizes
    self.encoder = sizes.encoder()
    self.hidden = nn.Dense(sizes.hidden_dim)
    self.dropout = dropout.Dropout(sizes.dropout)
    self.head = nn.Dense(sizes.num_outputs)

  def encode(self, features: chex.Array, *, train: bool) -> chex.Array:
    """Features `[B, M, D]` to embeddings `[B, M, D]`."""
    return self.encoder(features, train=train)

  def fuse(
    self,
    embeddings: chex.Array,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> chex.Array:
    """Embeddings `[B, M, D]` times multipliers `[B, M]` to `[1, B, K]`.

    Without multipliers this is the plain model on complete data.
    """
    if multipliers is not None:
      embeddings = embeddings * multipliers[..., None]
    x = jnp.reshape(embeddings, (embeddings.shape[0], -1))
    x = self.dropout(nn.relu(self.hidden(x)), train=train)
    return self.head(x)[None]

  def where(self, present: chex.Array) -> chex.Array:
    """`[1, B]`: every example that has any modality."""
    return jnp.any(present, axis=-1)[None]

  def __call__(self, features, multipliers, *, train: bool) -> chex.Array:
    """Encodes and fuses."""
    embeddings = self.encode(features, train=train)
    return self.fuse(embeddings, multipliers, train=train)
