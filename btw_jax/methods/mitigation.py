"""Training against interference, with losses on perturbed views of a batch.

Cai et al. (2025), "Diagnosing and mitigating modality interference in
multimodal large language models". The objective adds two terms to the loss of
the batch: the loss of views of it with a perturbed modality, and the divergence
of the predictions for a view from the predictions for the batch.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import predictions
from btw_jax import types


class View(Protocol):
  """A way to perturb a batch.

  Attributes:
    num_views: number of views to draw; their losses are averaged.
  """

  num_views: int

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Returns outputs `[U, B, K]` for the perturbed batch, and that batch."""


@dataclasses.dataclass(frozen=True)
class Mitigation(hooks.Hook):
  """A hook that adds `loss(view) + λ·divergence(view ‖ batch)` to the loss.

  Attributes:
    views: ways to perturb a batch.
    augmented: factor of the losses of the views.
    consistency: λ.
    divergence: a name of `predictions.DIVERGENCES`; "kl" has the view first.
  """

  views: Sequence[View]
  augmented: float = 1.0
  consistency: float = 0.0
  divergence: str = "kl"

  def minimise(
    self,
    step: hooks.Step,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    outputs: chex.Array,
    losses: chex.Array,
  ) -> chex.Array:
    """Adds the losses of the views to those `[U, B]` of a batch."""
    return losses + self.added(forward, embeddings, outputs, step.key)

  def added(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    outputs: chex.Array,
    key: chex.PRNGKey,
  ) -> chex.Array:
    """Computes the additional losses `[U, B]` of a batch.

    The outputs `[U, B, K]` for the batch get no gradient. `key` is the same on
    all devices.
    """
    clean = forward.task.predict(jax.lax.stop_gradient(outputs))

    def view_losses(view, key):
      view_outputs, batch = view(forward, embeddings, key)
      losses = jnp.zeros(outputs.shape[:2])
      if self.augmented:
        losses += self.augmented * forward.losses(view_outputs, batch)
      if self.consistency:
        divergence = predictions.divergence(
          forward.task.predict(view_outputs), clean, kind=self.divergence
        )
        losses += self.consistency * forward.mask(divergence, batch)
      return losses

    def mean_losses(view, key):
      if view.num_views == 1:
        return view_losses(view, key)
      keys = jax.random.split(key, view.num_views)
      losses = jax.vmap(lambda key: view_losses(view, key))(keys)
      return jnp.mean(losses, axis=0)

    return sum(
      mean_losses(view, jax.random.fold_in(key, number))
      for number, view in enumerate(self.views)
    )
