"""The network whose modalities share one head and are mixed by confidence."""

from collections.abc import Callable

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.models import networks


class SharedHead(networks.Multimodal):
  """The multimodal model that predicts from each modality by the same head.

  Its outputs are those of the present modalities, averaged with weights that
  grow with how certain each of them is (Zhang et al. 2024, arXiv 2311.10707).

  Attributes:
    certainty: outputs `[..., K]` -> `[...]`, in nats.
  """

  certainty: Callable[[chex.Array], chex.Array]

  def setup(self):
    """Declares encoders and the head."""
    self.declare_encoders()
    self.head = nn.Dense(self.sizes.num_outputs)

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> networks.Outputs:
    """Maps embeddings `[B, M, D]` and multipliers `[B, M]` to `[1, B, K]`."""
    del train
    if multipliers is not None:
      embeddings = embeddings * multipliers[..., None]
    outputs = self.head(embeddings)
    certainty = jnp.where(batch.present, self.certainty(outputs), -jnp.inf)
    # An example without any modality would have no finite certainty.
    has_any = jnp.any(batch.present, axis=-1, keepdims=True)
    shares = jax.nn.softmax(jnp.where(has_any, certainty, 0.0), axis=-1)
    return jnp.einsum("bm,bmk->bk", shares, outputs)[None], None
