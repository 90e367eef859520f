"""The network's forward pass of a training step, for the step and its hooks."""

import dataclasses
from typing import Any

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax import tasks
from btw_jax import types


@dataclasses.dataclass(frozen=True)
class Forward:
  """The batch, the parameters and the forward pass of one training step.

  All calls use the same dropout masks and noise, so a difference between two
  outputs is due to their inputs.

  Attributes:
    network: the network in training.
    task: the task of its outputs.
    params: the parameters of the network.
    batch: this device's shard of the batch.
    multipliers: `[B, M]` factors of the embeddings, or None.
    key: the key for dropout, the same on all devices.
    seed: scalar int, the seed of the run.
    axis_name: the mapped axes over which the batch is sharded.
  """

  network: nn.Module
  task: tasks.Task
  params: chex.ArrayTree
  batch: types.Batch
  multipliers: chex.Array | None
  key: chex.PRNGKey
  seed: chex.Array
  axis_name: Any

  def encode(self, batch: types.Batch) -> chex.Array:
    """Returns embeddings `[B, N, D]`, N as in `network.token_modalities`."""
    return self._apply(batch, method="encode")

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
  ) -> tuple[chex.Array, Any]:
    """Returns outputs `[U, B, K]`, and the use of experts or None.

    `embeddings` are those of `encode`; `multipliers` are `[B, M]` or None.
    """
    return self._apply(embeddings, batch, multipliers, method="fuse")

  def fuse_subsets(
    self, embeddings: chex.Array, subsets: chex.Array
  ) -> tuple[chex.Array, chex.Array]:
    """Fuses subsets of the modalities of a multimodal network.

    The multipliers of the modalities that an example shows keep the mean that
    all its modalities have, so that a subset is no weaker an input.

    Args:
      embeddings: `[B, N, D]`, those of `encode` for the batch.
      subsets: `[P, M]` bool, the modalities of each subset.

    Returns:
      Outputs `[P, B, K]`, and `[P, B]` bool, whether an example has a modality
      of the subset.
    """
    batch = self.batch
    shown = batch.present & jnp.asarray(subsets)[:, None]
    multipliers = keep_mean(
      factors(self.multipliers, batch.present), batch.present, shown
    )
    known = jnp.any(shown, axis=-1)
    if hasattr(self.network, "fuse_subsets"):
      outputs = self._apply(
        embeddings, batch, multipliers, method="fuse_subsets"
      )
      return outputs, known

    def fuse(shown, multipliers):
      part = batch._replace(present=shown)
      return self.fuse(embeddings, part, multipliers)[0][0]

    return jax.vmap(fuse)(shown, multipliers), known

  def losses(self, outputs: chex.Array, batch: types.Batch) -> chex.Array:
    """Returns the `[U, B]` training losses, after `mask`."""
    return self.mask(self.task.loss(outputs, batch.target), batch)

  def mask(self, values: chex.Array, batch: types.Batch) -> chex.Array:
    """Sets `[U, B]` values to 0 where a model does not train on an example."""
    return jnp.where(self.network.training_mask(batch.present), values, 0.0)

  def sum_batch(self, tree: chex.ArrayTree) -> chex.ArrayTree:
    """Adds up arrays of a shard over all shards of the batch."""
    return types.psum_over(tree, self.axis_name)

  def with_params(self, params: chex.ArrayTree) -> "Forward":
    """Returns a copy with other parameters."""
    return dataclasses.replace(self, params=params)

  def with_fixed_params(self) -> "Forward":
    """Returns a copy whose parameters get no gradient."""
    return self.with_params(jax.lax.stop_gradient(self.params))

  def _apply(self, *args, method):
    return self.network.apply(
      {"params": self.params},
      *args,
      train=True,
      rngs={"dropout": self.key},
      method=method,
    )


def factors(multipliers: chex.Array | None, present: chex.Array) -> chex.Array:
  """Returns multipliers `[B, M]`; without any, 1 where one is present."""
  if multipliers is None:
    return present.astype(jnp.float32)
  return multipliers


def keep_mean(
  multipliers: chex.Array, before: chex.Array, after: chex.Array
) -> chex.Array:
  """Rescales multipliers so that hiding modalities keeps their mean.

  `multipliers` are `[..., M]` of the modalities present `before`, `[..., M]`
  bool. Returns those of the modalities shown `after`, and 0 elsewhere.
  """

  def mean(present):
    total = jnp.sum(jnp.where(present, multipliers, 0.0), axis=-1)
    return total / jnp.maximum(jnp.sum(present, axis=-1), 1)

  old, new = mean(before), mean(after)
  factor = jnp.where(old == new, 1.0, old / jnp.where(new > 0, new, 1.0))
  return jnp.where(after, multipliers * factor[..., None], 0.0)
