"""Heuristic augmentation: copies with one modality intervened on."""

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
  """A copy of a batch, one modality of every example intervened on.

  Which modality, of those that the example has, and how, is drawn anew for
  every example and step. Labels stay: the others are to be relied on.

  Attributes:
    kinds: names of `interventions.KINDS`.
    shares: how often each comes, relative to the others.
    usual: of the training sets, `[M, D]`, or `[S, M, D]` if seeds have their
      own.
    seeds: S of them.
    modalities: positions of those that may be intervened on; all if None.
    num_views: copies of the batch.
  """

  kinds: Sequence[str]
  shares: Sequence[float]
  usual: interventions.FeatureStats
  seeds: Sequence[int]
  modalities: Sequence[int] | None = None
  num_views: int = 1

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Outputs for the copy.

    Args:
      forward: of the batch.
      embeddings: not used: the copy has its own.
      key: the same on every device.

    Returns:
      Outputs `[U, B, K]`, and the copy.
    """
    del embeddings
    batch = forward.batch
    by_choice, by_value = jax.random.split(key)
    copy = interventions.intervene(
      batch,
      self.choose(by_choice, batch.present, forward.axis_name),
      by_value,
      self._usual(forward.seed),
      kinds=self.kinds,
      classes=forward.task.classes(batch.target),
      groups=forward.network.sizes.groups,
      axis_name=forward.axis_name,
    )
    multipliers = forward.multipliers
    if multipliers is not None and "missing" in self.kinds:
      multipliers = _of_those_left(multipliers, batch.present, copy.present)
    outputs, _ = forward.fuse(forward.encode(copy), copy, multipliers)
    return outputs, copy

  def choose(
    self,
    key: chex.PRNGKey,
    present: chex.Array,
    axis_name: str | tuple[str, str] | None = None,
  ) -> chex.Array:
    """What is done with every example of a batch.

    Args:
      key: the same on every device.
      present: `[B, M]` bool.
      axis_name: of the devices that the batch is spread over.

    Returns:
      `[B, M]` positions in `kinds`, at most one in a row, the others -1.
    """
    logits = jnp.log(jnp.asarray(self.shares))
    places = np.arange(present.shape[1])
    chosen = places if self.modalities is None else self.modalities

    def of_example(key, may):
      by_modality, by_kind = jax.random.split(key)
      among = jnp.where(may, 0.0, -jnp.inf)
      modality = jax.random.categorical(by_modality, among)
      kind = jax.random.categorical(by_kind, logits)
      return jnp.where(may & (places == modality), kind, -1)

    keys = types.keys(key, len(present), axis_name)
    return jax.vmap(of_example)(keys, present & np.isin(places, chosen))

  def _usual(self, seed):
    if jnp.ndim(self.usual.mean) == 2:
      return self.usual
    number = jnp.argmax(jnp.asarray(self.seeds) == seed)
    return jax.tree.map(lambda x: jnp.asarray(x)[number], self.usual)


def _of_those_left(multipliers, before, after):
  """Multipliers with their mean over fewer modalities as it was over all."""

  def mean(present):
    total = jnp.sum(jnp.where(present, multipliers, 0.0), axis=-1)
    return total / jnp.maximum(jnp.sum(present, axis=-1), 1)

  old, new = mean(before), mean(after)
  factor = jnp.where(old == new, 1.0, old / jnp.where(new > 0, new, 1.0))
  return jnp.where(after, multipliers * factor[:, None], 0.0)
