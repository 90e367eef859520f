"""Adversarial augmentation: embeddings moved to increase the loss."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import types


@dataclasses.dataclass(frozen=True)
class Adversarial:
  """A view of a batch with embeddings moved by projected gradient ascent.

  Madry et al. (2018), "Towards deep learning models resistant to adversarial
  attacks", equation 2.1 and the paragraph after it, applied to embeddings in a
  box: every entry of an embedding moves by at most ε. The ascent holds the
  parameters fixed; the gradient of the parameters holds the move fixed. Where
  the batch tells which modalities are relevant for an example, only the others
  move.

  Attributes:
    radius: ε, relative to the standard deviation of a modality's embeddings in
      the batch.
    rate: length of a step, relative to ε.
    num_steps: number of ascent steps, static.
    signed: whether to ascend along the sign of the gradient.
    modalities: positions of the modalities that may be moved; all if None.
  """

  radius: float = 1e-3
  rate: float = 0.1
  num_steps: int = 2
  signed: bool = True
  modalities: Sequence[int] | None = None
  num_views: ClassVar[int] = 1

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Returns outputs `[U, B, K]` for the moved embeddings, and the batch.

    `embeddings` are `[B, N, D]` from `forward.encode`. `key` draws the start of
    the ascent and is the same on all devices.
    """
    fixed = forward.with_fixed_params()
    start = jax.lax.stop_gradient(embeddings)
    radius = self.radii(forward, start)[:, None]
    if forward.batch.relevant is not None:
      owners = np.asarray(forward.network.token_modalities)
      radius = radius * ~forward.batch.relevant[:, owners, None]

    def fuse(forward, moved):
      return forward.fuse(moved, forward.batch, forward.multipliers)[0]

    def loss(delta):
      outputs = fuse(fixed, start + delta)
      return jnp.sum(fixed.losses(outputs, fixed.batch))

    keys = types.keys(key, len(start), forward.axis_name)
    drawn = jax.vmap(
      lambda key: jax.random.uniform(key, start.shape[1:], minval=-1.0)
    )(keys)
    delta = ascend(
      loss,
      drawn * radius,
      radius,
      rate=self.rate * radius,
      num_steps=self.num_steps,
      signed=self.signed,
    )
    return fuse(forward, embeddings + delta), forward.batch

  def radii(
    self, forward: forward_lib.Forward, embeddings: chex.Array
  ) -> chex.Array:
    """Computes the radius `[N]` of the box of each embedding `[B, N, D]`.

    It is ε times the standard deviation of the modality's embeddings in the
    full batch, and 0 for a modality that is not to be moved.
    """
    owners = np.asarray(forward.network.token_modalities)
    present = forward.batch.present[:, owners, None]
    values = jnp.where(present, embeddings, 0.0)
    counts = jnp.broadcast_to(present, values.shape)
    moments = (counts, values, values**2)
    # Sums, unlike means, add up over the shards of a batch.
    sums = types.psum_over(
      [jnp.sum(x, axis=(0, 2), dtype=jnp.float32) for x in moments],
      forward.axis_name,
    )
    num_modalities = forward.batch.present.shape[1]
    count, first, second = (
      jax.ops.segment_sum(x, owners, num_modalities) for x in sums
    )
    count = jnp.maximum(count, 1.0)
    variance = jnp.maximum(second / count - (first / count) ** 2, 0.0)
    positions = np.arange(num_modalities)
    chosen = positions if self.modalities is None else self.modalities
    radius = self.radius * jnp.sqrt(variance) * np.isin(positions, chosen)
    return radius[owners]


def ascend(
  loss: Callable[[chex.Array], chex.Array],
  start: chex.Array,
  radius: chex.Array | float,
  *,
  rate: chex.Array | float,
  num_steps: int,
  signed: bool = True,
) -> chex.Array:
  """Runs projected gradient ascent in a box, `δ ← clip(δ + rate·g, −ε, ε)`.

  Args:
    loss: maps δ to a scalar.
    start: the initial δ.
    radius: ε, broadcast against δ.
    rate: step length, broadcast against δ.
    num_steps: number of steps, static.
    signed: whether g is the sign of the gradient instead of the gradient,
      static.

  Returns:
    The final δ, without a gradient.
  """

  def body(delta, _):
    gradient = jax.grad(loss)(delta)
    direction = jnp.sign(gradient) if signed else gradient
    return jnp.clip(delta + rate * direction, -radius, radius), None

  delta, _ = jax.lax.scan(body, start, length=num_steps)
  return jax.lax.stop_gradient(delta)
