"""Multimodal Mixup: pairs of examples are mixed before they are fused.

Zhang et al. (2018), "mixup: beyond empirical risk minimization", arXiv
1710.09412, at the level of embeddings, as arXiv 2510.10986 has it: the share is
the same for all modalities and for the target.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import interventions
from btw_jax import types
from btw_jax.methods.balance import base


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Fuses `λ·z_i + (1 − λ)·z_j` of random pairs, λ from Beta(a, a).

  The loss is mixed as the embeddings are: that of both targets, by λ and 1 − λ.
  An example is mixed only with one that has the same modalities.
  """

  setting: ClassVar[base.Setting] = base.Setting("a", 0.2, 0.1, 2.0, log=True)

  @classmethod
  def check(cls, network, batch_size):
    """Refuses tokens of single steps, which do not match between examples."""
    del batch_size
    if network.token_modalities != tuple(range(len(network.sizes.widths))):
      return "mixes whole modalities: leave out --fuse_steps"
    return None

  def show(self, step, forward, shown):
    """Mixes the embeddings, with their multipliers."""
    share, partners = self._draw(step, forward)
    scaled = shown.embeddings * shown.factors[..., None]
    others = _gather(scaled, forward.axis_name)[partners]
    mixed = scaled + (1 - share)[:, None, None] * (others - scaled)
    return hooks.Shown(
      mixed, shown.batch, shown.batch.present.astype(jnp.float32)
    )

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Mixes the losses of both targets."""
    del embeddings
    share, partners = self._draw(step, forward)
    target = _gather(forward.batch.target, forward.axis_name)[partners]
    others = forward.losses(outputs, forward.batch._replace(target=target))
    return losses + (1 - share) * (others - losses)

  def _draw(
    self, step: hooks.Step, forward: forward_lib.Forward
  ) -> tuple[chex.Array, chex.Array]:
    """Draws the share λ `[B]` of each example, and its partner's slot `[B]`."""
    by_pair, by_share = jax.random.split(step.key)
    present = forward.batch.present
    gathered = _gather(present, forward.axis_name)
    slots = types.slots(len(present), forward.axis_name)
    partners = interventions.shuffled(by_pair, jnp.ones(len(gathered), bool))
    partners = partners[slots]
    value = self.value(step)
    share = jax.vmap(lambda key: jax.random.beta(key, value, value))(
      types.keys(by_share, len(present), forward.axis_name)
    )
    alike = jnp.all(gathered[partners] == present, axis=-1)
    return jnp.where(alike, share, 1.0), partners


def _gather(x, axis_name):
  """Returns the examples of all shards of a batch, in the order of slots."""
  if axis_name is None:
    return x
  return jax.lax.all_gather(x, axis_name, tiled=True)
