"""The network's pass over a batch in training, for a step and for its hooks."""

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
  """One step's batch and parameters, and what the network makes of them.

  Dropout and noise are the same however often it is asked: what differs between
  two answers is due to what was asked.

  Attributes:
    network: that is trained.
    task: what its outputs mean.
    params: its parameters.
    batch: this device's share of the batch.
    multipliers: `[B, M]` of its embeddings, or None.
    key: of dropout, the same on every device.
    seed: scalar int, that of the run.
    axis_name: of the devices that the batch is spread over.
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
    """A batch to embeddings `[B, N, D]`.

    Args:
      batch: like this one.

    Returns:
      Embeddings; `network.token_modalities` tells whose they are.
    """
    return self._apply(batch, method="encode")

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
  ) -> tuple[chex.Array, Any]:
    """Embeddings to outputs.

    Args:
      embeddings: as `encode` gives them.
      batch: says what is there.
      multipliers: `[B, M]`, or None.

    Returns:
      Outputs `[U, B, K]`, and how experts were used, or None.
    """
    return self._apply(embeddings, batch, multipliers, method="fuse")

  def losses(self, outputs: chex.Array, batch: types.Batch) -> chex.Array:
    """What training minimises, per example.

    Args:
      outputs: `[U, B, K]`.
      batch: whose they are.

    Returns:
      `[U, B]`, 0 where an example is not for a model.
    """
    return self.counted(self.task.loss(outputs, batch.target), batch)

  def counted(self, values: chex.Array, batch: types.Batch) -> chex.Array:
    """Values of those examples that are for a model.

    Args:
      values: `[U, B]`.
      batch: whose they are.

    Returns:
      `[U, B]`, 0 for the others.
    """
    return jnp.where(self.network.where(batch.present), values, 0.0)

  def held_fixed(self) -> "Forward":
    """The same, its parameters constants of any gradient."""
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
