"""The forward pass of a small network, in the form that methods get."""

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import interventions
from btw_jax import types
from btw_jax import weighting
from btw_jax.models import networks
from support import problems

KEY = jax.random.key(0)
PLAIN = interventions.FeatureStats(*np.zeros((3, 3, 5), np.float32))


class Linear(networks.Concatenation):
  """A network whose head is linear in the embeddings."""

  def apply_head(self, embeddings, *, train):
    del train
    return self.head(embeddings.reshape(len(embeddings), -1))[None]


def forward_of(network=Linear, *, task="binary", dropout=0.0, missing=0.3):
  """Returns the forward pass of a batch with missing modalities."""
  trainer = problems.trainer(network, task=task, dropout=dropout)
  batch = problems.batch(16, missing=missing)
  # The last example has no modality at all.
  last = jnp.arange(16)[:, None] == 15
  batch = batch._replace(
    present=batch.present & ~last,
    features=jnp.where(last[..., None], 0, batch.features),
  )
  if task == "binary":
    batch = batch._replace(target=batch.target % 2)
  params = trainer.init(0, types.Split(batch, None)).train.params
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  # Every example has different weights.
  rng = np.random.default_rng(0)
  multipliers *= rng.uniform(0.5, 1.5, multipliers.shape)
  return forward_lib.Forward(
    trainer.network, trainer.task, params, batch, multipliers, KEY,
    jnp.int32(0), None,
  )  # fmt: skip


def clean(forward):
  """Returns embeddings and outputs of the unchanged batch."""
  embeddings = forward.encode(forward.batch)
  return embeddings, forward.fuse(
    embeddings, forward.batch, forward.multipliers
  )[0]
