"""Unimodal losses: the loss of each modality alone is minimised too.

Most of the methods that lead comparisons contain it, so that it is a row of its
own. A regression takes its own training loss.
"""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from btw_jax.methods.balance import base
from btw_jax.methods.balance import passes


@dataclasses.dataclass(frozen=True)
class Method(base.Balance):
  """Minimises `L + v·Σ_m L_m`; L_m is the loss with modality m alone.

  L_m counts for the examples that have modality m.
  """

  setting: ClassVar[base.Setting] = base.Setting(
    "weight of the unimodal losses", 1.0, 0.1, 10.0, log=True
  )

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Adds the losses of the modalities alone."""
    added = jnp.sum(passes.losses_alone(forward, embeddings), axis=0)
    return losses + self.value(step) * added
