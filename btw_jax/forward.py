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

  def losses(self, outputs: chex.Array, batch: types.Batch) -> chex.Array:
    """Returns the `[U, B]` training losses, after `mask`."""
    return self.mask(self.task.loss(outputs, batch.target), batch)

  def mask(self, values: chex.Array, batch: types.Batch) -> chex.Array:
    """Sets `[U, B]` values to 0 where a model does not train on an example."""
    return jnp.where(self.network.training_mask(batch.present), values, 0.0)

  def with_fixed_params(self) -> "Forward":
    """Returns a copy whose parameters get no gradient."""
    fixed = jax.lax.stop_gradient(self.params)
    return dataclasses.replace(self, params=fixed)

  def _apply(self, *args, method):
    return self.network.apply(
      {"params": self.params},
      *args,
      train=True,
      rngs={"dropout": self.key},
      method=method,
    )
