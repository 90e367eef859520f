"""MMPareto: a Pareto step between multimodal and unimodal gradients.

Wei and Hu (2024), "MMPareto: boosting multimodal learning with innocent
unimodal assistance", arXiv 2405.17730.
"""

import dataclasses
from typing import ClassVar

import chex
import jax.numpy as jnp

from btw_jax.methods.balance import base
from btw_jax.methods.balance import passes


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Follows a combination of two gradients for each encoder.

  With g of the multimodal loss and u of the loss of the encoder's modality
  alone, an encoder follows `γ·h`. If g and u do not conflict, h is g + u; else
  h is twice the point of least norm between both, raised to the norm of g + u.
  All other parameters follow g + u. A regression takes its own training loss.

  Attributes:
    acts_on: "updates" or "gradients", what γ multiplies. Under Adam, γ cancels
      if it multiplies gradients.
  """

  setting: ClassVar[base.Setting] = base.Setting("γ", 1.5, 0.5, 4.0, log=True)
  has_apart: ClassVar[bool] = True
  acts_on: str = "updates"

  @classmethod
  def make(cls, setup: base.Setup) -> "Method":
    """Builds the method."""
    return cls(setup.num_modalities, setup.acts_on)

  @classmethod
  def doubt(cls, num_epochs, acts_on):
    """Doubts that γ has an effect on gradients."""
    del num_epochs
    if acts_on != "gradients":
      return None
    return (
      "γ cancels under AdamW if it multiplies gradients: use"
      " --balance_acts_on=updates"
    )

  def minimise_apart(self, step, forward, embeddings):
    """Returns the losses of the modalities alone."""
    del step
    return jnp.sum(passes.losses_alone(forward, embeddings), axis=0)[None]

  def change_gradients(self, step, owners, gradients, apart):
    """Combines both gradients, encoder by encoder."""
    squared, product, squared_apart = (
      owners.products(a, b)
      for a, b in ((gradients, gradients), (gradients, apart), (apart, apart))
    )
    first, second = combine(squared, product, squared_apart)
    if self.acts_on == "gradients":
      first, second = (self.value(step) * x for x in (first, second))
    # What belongs to no encoder follows the sum.
    first, second = (jnp.append(x, 1.0) for x in (first, second))
    return owners.combine(gradients, first, apart, second)

  def change_updates(self, step, owners, updates):
    """Multiplies the encoders' updates by γ, if it acts on these."""
    if self.acts_on != "updates":
      return updates
    factors = jnp.full(self.num_modalities, self.value(step), jnp.float32)
    return owners.scale(updates, factors)


def combine(
  squared: chex.Array, product: chex.Array, squared_apart: chex.Array
) -> tuple[chex.Array, chex.Array]:
  """Computes the factors a, b of the combination a·g + b·u, before γ.

  Args:
    squared: `[M]`, |g|² of each encoder.
    product: `[M]`, g·u.
    squared_apart: `[M]`, |u|².

  Returns:
    a and b, `[M]` each.
  """
  difference = squared - 2 * product + squared_apart
  share = (squared_apart - product) / jnp.where(difference > 0, difference, 1.0)
  share = jnp.where(
    (product > 0) | (difference <= 0), 0.5, jnp.clip(share, 0.0, 1.0)
  )
  first, second = 2 * share, 2 * (1 - share)
  norm = (
    first**2 * squared
    + 2 * first * second * product
    + second**2 * squared_apart
  )
  plain = squared + 2 * product + squared_apart
  is_short = (norm < plain) & (norm > 0)
  scale = jnp.where(
    is_short, jnp.sqrt(plain / jnp.where(is_short, norm, 1.0)), 1.0
  )
  return scale * first, scale * second
