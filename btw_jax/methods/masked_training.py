"""Training with masked modalities, so that a mask leaves calibrated beliefs."""

import dataclasses

import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import types
from btw_jax.models.language import masking


@dataclasses.dataclass(frozen=True)
class MaskedTraining(hooks.Hook):
  """Masks one modality of a share of the examples, for a language model.

  The model learns what it may believe of an answer without a modality. The
  noise has the statistics of the batch; no gradient flows through these.

  Attributes:
    share: of the examples, in [0, 1).
  """

  share: float

  def show(
    self,
    step: hooks.Step,
    forward: forward_lib.Forward,
    shown: hooks.Shown,
  ) -> hooks.Shown:
    """Masks a present modality of some examples."""
    batch, network = shown.batch, forward.network
    num_examples, num_modalities = batch.present.shape
    by_example, by_modality, by_value = (
      types.keys(key, num_examples, forward.axis_name)
      for key in jax.random.split(step.key, 3)
    )
    is_chosen = jax.vmap(jax.random.uniform)(by_example) < self.share
    # A question with all its modalities masked would teach nothing.
    is_chosen &= jnp.sum(batch.present, axis=-1) > 1
    modality = jax.vmap(jax.random.categorical)(
      by_modality, jnp.where(batch.present, 0.0, -jnp.inf)
    )
    masked = jax.nn.one_hot(modality, num_modalities) > 0
    owners = network.token_modalities
    stats = masking.statistics(
      jax.lax.stop_gradient(shown.embeddings),
      network.token_mask(batch),
      owners,
      num_modalities,
      forward.axis_name,
    )
    return shown._replace(
      embeddings=masking.mask(
        by_value,
        shown.embeddings,
        stats,
        owners,
        masked & is_chosen[:, None],
      )
    )
