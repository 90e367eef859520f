"""Heuristic augmentation: copies of examples with one modality perturbed."""

from collections.abc import Sequence
import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import interventions
from btw_jax import types


@dataclasses.dataclass(frozen=True)
class Heuristic:
  """A copy of a batch with an intervention on one modality of every example.

  Every step draws a present modality and an intervention for each example.
  Targets stay the same, so that the model learns to rely on the other
  modalities.

  Attributes:
    kinds: names of `interventions.KINDS`.
    shares: relative frequency of each kind.
    feature_stats: statistics of the training split, `[M, D]` each, or
      `[S, M, D]` if each seed has its own split.
    seeds: the S seeds.
    modalities: positions of the modalities that may be perturbed; all if None.
    num_views: number of copies of the batch.
  """

  kinds: Sequence[str]
  shares: Sequence[float]
  feature_stats: interventions.FeatureStats
  seeds: Sequence[int]
  modalities: Sequence[int] | None = None
  num_views: int = 1

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Returns outputs `[U, B, K]` for the copy, and the copy.

    `embeddings` are not used, because the copy needs new ones. `key` is the
    same on all devices.
    """
    del embeddings
    batch = forward.batch
    by_choice, by_value = jax.random.split(key)
    copy = interventions.intervene(
      batch,
      self.choose(by_choice, batch.present, forward.axis_name),
      by_value,
      self._feature_stats(forward.seed),
      kinds=self.kinds,
      classes=forward.task.classes(batch.target),
      groups=forward.network.sizes.groups,
      axis_name=forward.axis_name,
    )
    multipliers = forward.multipliers
    if multipliers is not None and "missing" in self.kinds:
      multipliers = forward_lib.keep_mean(
        multipliers, batch.present, copy.present
      )
    outputs, _ = forward.fuse(forward.encode(copy), copy, multipliers)
    return outputs, copy

  def choose(
    self,
    key: chex.PRNGKey,
    present: chex.Array,
    axis_name: str | tuple[str, str] | None = None,
  ) -> chex.Array:
    """Draws the intervention on each modality of a batch, from `[B, M]` bool.

    Returns positions in `kinds`, `[B, M]`, at most one in a row; -1 for none.
    `key` is the same on all devices, over which `axis_name` shards the batch.
    """
    logits = jnp.log(jnp.asarray(self.shares))
    positions = np.arange(present.shape[1])
    chosen = positions if self.modalities is None else self.modalities

    def draw(key, allowed):
      by_modality, by_kind = jax.random.split(key)
      modality_logits = jnp.where(allowed, 0.0, -jnp.inf)
      modality = jax.random.categorical(by_modality, modality_logits)
      kind = jax.random.categorical(by_kind, logits)
      return jnp.where(allowed & (positions == modality), kind, -1)

    keys = types.keys(key, len(present), axis_name)
    return jax.vmap(draw)(keys, present & np.isin(positions, chosen))

  def _feature_stats(self, seed):
    """Returns the statistics `[M, D]` of a seed."""
    if jnp.ndim(self.feature_stats.mean) == 2:
      return self.feature_stats
    index = jnp.argmax(jnp.asarray(self.seeds) == seed)
    return jax.tree.map(lambda x: jnp.asarray(x)[index], self.feature_stats)
