"""Modality dropout: an example loses each modality with a fixed probability."""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import types
from btw_jax.methods.balance import base


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Drops every modality with the same probability, in training only."""

  setting: ClassVar[base.Setting] = base.Setting(
    "rate", 0.2, 0.1, 0.5, limit=1.0
  )

  def show(self, step, forward, shown):
    """Drops modalities."""
    rates = jnp.full(self.num_modalities, self.value(step), jnp.float32)
    return drop(step.key, rates, forward, shown)


def drop(
  key: chex.PRNGKey,
  rates: chex.Array,
  forward: forward_lib.Forward,
  shown: hooks.Shown,
) -> hooks.Shown:
  """Drops modalities of examples, each with its rate `[M]`.

  The multipliers of the rest are divided by the share that is kept. An example
  never loses all its modalities: it keeps the one that was nearest to be kept.
  """
  batch, present = shown.batch, shown.batch.present
  keys = types.keys(key, len(present), forward.axis_name)
  drawn = jax.vmap(lambda key: jax.random.uniform(key, rates.shape))(keys)
  margin = jnp.where(present, drawn - rates, -jnp.inf)
  nearest = jnp.argmax(margin, axis=-1)[:, None] == jnp.arange(len(rates))
  kept = present & ((margin >= 0) | nearest)
  # Exactly 1 where nothing is dropped.
  factor = jnp.sum(present, axis=-1) / jnp.maximum(jnp.sum(kept, axis=-1), 1)
  multipliers = jnp.where(kept, factor[:, None] * shown.factors, 0.0)
  return shown._replace(
    batch=batch._replace(present=kept), multipliers=multipliers
  )
