"""Interventions: changes of one modality of an example, all others kept.

A change of a model's output is then due to that modality. Values are replaced
(`noise`, `zero`, `mean`), taken from another example (`shuffle`, `mismatch`) or
removed (`missing`). A mismatch misleads: the modality is that of another class.
Cai et al. (2025), "Diagnosing and mitigating modality interference in
multimodal large language models".
"""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types

# Name of an intervention -> what replaces the modality, for help texts.
KINDS = {
  "noise": "normal noise with the mean and std of the training data",
  "zero": "zeros, in the unit of the raw data",
  "mean": "its mean in the training data",
  "shuffle": "the same modality of another example",
  "mismatch": "the same modality of an example of another class",
  "missing": "nothing: the modality is marked as missing",
}
# Kinds that take the modality from another example.
_FROM_OTHERS = ("shuffle", "mismatch")


class FeatureStats(NamedTuple):
  """The statistics of training features, after scaling.

  Each field is `[...]` for examples `[N, ...]`, hence `[M, D]` for a `Batch`;
  or a pytree of such arrays.

  Attributes:
    mean: the mean of each feature.
    std: the standard deviation of each feature.
    zero: the scaled value of a raw 0.
  """

  mean: chex.ArrayTree
  std: chex.ArrayTree
  zero: chex.ArrayTree


def feature_stats(examples: chex.ArrayTree) -> FeatureStats:
  """Computes the statistics of a training set that is not scaled.

  Args:
    examples: pytree of arrays `[N, ...]`.

  Returns:
    Statistics, each a pytree of `[...]`.
  """
  return FeatureStats(
    jax.tree.map(lambda x: jnp.mean(x, axis=0), examples),
    jax.tree.map(lambda x: jnp.std(x, axis=0), examples),
    jax.tree.map(lambda x: jnp.zeros(x.shape[1:]), examples),
  )


def replaced(
  key: chex.PRNGKey, values: chex.Array, feature_stats: FeatureStats
) -> dict[str, chex.Array]:
  """Returns replacements for values.

  Args:
    key: random key for the noise.
    values: `[...]`.
    feature_stats: arrays that broadcast against `values`.

  Returns:
    A dict from "noise", "zero" and "mean" to `[...]`.
  """
  normal = jax.random.normal(key, values.shape, values.dtype)
  return {
    "noise": feature_stats.mean + feature_stats.std * normal,
    "zero": jnp.broadcast_to(feature_stats.zero, values.shape),
    "mean": jnp.broadcast_to(feature_stats.mean, values.shape),
  }


def shuffled(key: chex.PRNGKey, present: chex.Array) -> chex.Array:
  """Picks another example for each example; every example is picked once.

  Args:
    key: random key for the order.
    present: `[N]` bool, True if the example has the modality.

  Returns:
    `[N]` row numbers; the example's own number if it lacks the modality or is
    the only one that has it.
  """
  # In a random order, each example takes the one after it: a single cycle has
  # no fixed point.
  order = _shuffle_by_class(key, jnp.zeros(present.shape, int), present)
  place, count = jnp.arange(len(present)), jnp.sum(present)
  following = order[jnp.where(place + 1 < count, place + 1, 0)]
  return place.at[order].set(jnp.where(place < count, following, order))


def mismatched(
  key: chex.PRNGKey, classes: chex.Array, present: chex.Array
) -> chex.Array:
  """Picks an example of another class for each example, uniformly.

  Args:
    key: random key for the choices.
    classes: `[N]` int.
    present: `[N]` bool, True if the example has the modality.

  Returns:
    `[N]` row numbers; the example's own number if it lacks the modality or no
    other class has it.
  """
  classes = jnp.asarray(classes)
  by_order, by_choice = jax.random.split(key)
  order = _shuffle_by_class(by_order, classes, present)
  # A class is a contiguous range of `order`, from `start` to `end`. Examples
  # without the modality get the largest class and come last.
  count = jnp.sum(present)
  ordered = jnp.where(present, classes, jnp.iinfo(classes.dtype).max)[order]
  start, end = (
    jnp.searchsorted(ordered, classes, side=side) for side in ("left", "right")
  )
  # Counting on from `end`, cyclically, reaches every example of another class
  # once.
  others = count - (end - start)
  u = jax.random.uniform(by_choice, classes.shape)
  step = jnp.minimum((u * others).astype(int), others - 1)
  chosen = order[(end + step) % jnp.maximum(count, 1)]
  unchanged = jnp.arange(len(classes))
  return jnp.where(present & (others > 0), chosen, unchanged)


def _pick_donors(kind, classes, key, present):
  """Returns the `[N]` rows that "shuffle" or "mismatch" takes values from."""
  if kind == "shuffle":
    return shuffled(key, present)
  return mismatched(key, classes, present)


def _shuffle_by_class(key, classes, present):
  """Sorts rows by class, randomly within one; rows without modality last."""
  tie_breaks = jax.random.bits(key, present.shape, jnp.uint32)
  return jnp.lexsort((tie_breaks, classes, ~present))


def recombine(
  batch: types.Batch, rows: chex.Array, groups: Sequence[Sequence[int]] = ()
) -> types.Batch:
  """Builds n examples, without targets, whose modalities come from given rows.

  `rows` is `[n, M]`, the row of `batch` that each modality is taken from;
  `groups` are the positions of the sequence modalities, as in
  `networks.Sizes.groups`.
  """
  modalities = np.arange(rows.shape[1])
  sequences = []
  for group, steps in zip(groups, batch.sequences, strict=True):
    group_rows, places = rows[:, list(group)], np.arange(len(group))
    sequences.append(
      jax.tree.map(lambda x, r=group_rows, places=places: x[r, places], steps)
    )
  return types.Batch(
    features=batch.features[rows, modalities],
    present=batch.present[rows, modalities],
    target=None,
    sequences=tuple(sequences),
  )


def intervene(
  batch: types.Batch,
  chosen: chex.Array,
  key: chex.PRNGKey,
  feature_stats: FeatureStats,
  *,
  kinds: Sequence[str] = tuple(KINDS),
  classes: chex.Array | None = None,
  groups: Sequence[Sequence[int]] = (),
  axis_name: str | tuple[str, str] | None = None,
) -> types.Batch:
  """Intervenes on modalities of a batch; each example has its own choice.

  Args:
    batch: `[B, ...]`, with scaled features.
    chosen: `[B, M]` int, the position in `kinds` of the intervention on each
      modality, or -1 for none. A missing modality stays missing.
    key: random key.
    feature_stats: `[M, D]` each, of the scaled features.
    kinds: the names of `KINDS` that `chosen` refers to, static.
    classes: `[B]` int, needed for "mismatch".
    groups: positions of the sequence modalities.
    axis_name: mapped axes over which the batch is sharded; values are then
      taken from examples of all shards. None for a full batch.

  Returns:
    The changed batch with its original targets.
  """
  chosen = jnp.where(batch.present, chosen, -1)
  where = {kind: chosen == i for i, kind in enumerate(kinds)}
  target = batch.target
  from_others = {kind: where[kind] for kind in _FROM_OTHERS if kind in where}
  if from_others:
    batch = _take_from_others(
      batch, from_others, key, classes, groups, axis_name
    )
  if where.keys() & {"noise", "zero", "mean"}:
    batch = _replace(batch, where, key, feature_stats, groups, axis_name)
  if "missing" in where:
    batch = _remove(batch, where["missing"], groups)
  return batch._replace(target=target)


def _take_from_others(batch, where, key, classes, groups, axis_name):
  """Applies "shuffle" and "mismatch"; `where` maps them to `[B, M]` bool."""
  full_batch = batch._replace(target=None)
  slots = types.slots(len(batch.present), axis_name)
  if axis_name is not None:
    full_batch, classes = jax.lax.all_gather(
      (full_batch, classes), axis_name, tiled=True
    )
  num_modalities = batch.present.shape[1]
  rows = jnp.broadcast_to(slots[:, None], batch.present.shape)
  for kind, selected in where.items():
    keys = jax.random.split(_kind_key(key, kind), num_modalities)
    pick = functools.partial(_pick_donors, kind, classes)
    donors = jax.vmap(pick, (0, 1), 1)(keys, full_batch.present)
    rows = jnp.where(selected, donors[slots], rows)
  return recombine(full_batch, rows, groups)


def _replace(batch, where, key, feature_stats, groups, axis_name):
  """Applies "noise", "zero" and "mean"; `where` maps them to `[B, M]` bool."""
  num_examples, num_modalities = batch.present.shape
  keys = types.keys(_kind_key(key, "noise"), num_examples, axis_name)

  def replace_valid(values, number, feature_stats, where, valid):
    """Replaces the valid values of `[B, G, ...]`; `number` varies the keys."""
    array_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
    replacements = jax.vmap(lambda key, v: replaced(key, v, feature_stats))(
      array_keys, values
    )
    for kind, replacement in replacements.items():
      if kind in where:
        selected = where[kind].reshape(
          where[kind].shape + (1,) * (values.ndim - 2)
        )
        values = jnp.where(selected & valid, replacement, values)
    return values

  in_groups = {m for group in groups for m in group}
  vectors = np.array([m not in in_groups for m in range(num_modalities)])
  features = batch.features
  if vectors.any():
    features = replace_valid(
      features, 0, feature_stats, where, vectors[:, None]
    )
  sequences = []
  for number, (group, steps) in enumerate(
    zip(groups, batch.sequences, strict=True), 1
  ):
    places, width = np.array(group), steps.values.shape[-1]
    valid = jnp.arange(steps.values.shape[2]) < steps.length[..., None]
    valid = valid[..., None]
    if steps.observed is not None:
      valid &= steps.observed
    values = replace_valid(
      steps.values,
      number,
      jax.tree.map(lambda x, p=places, w=width: x[p, None, :w], feature_stats),
      {kind: selected[:, places] for kind, selected in where.items()},
      valid,
    )
    sequences.append(steps._replace(values=values))
  return batch._replace(features=features, sequences=tuple(sequences))


def _remove(batch, where, groups):
  """Applies "missing" where `where`, `[B, M]` bool, is True."""
  sequences = [
    steps._replace(
      values=jnp.where(where[:, list(group), None, None], 0.0, steps.values)
    )
    for group, steps in zip(groups, batch.sequences, strict=True)
  ]
  return batch._replace(
    features=jnp.where(where[..., None], 0.0, batch.features),
    present=batch.present & ~where,
    sequences=tuple(sequences),
  )


def of_modality(
  kind: str,
  key: chex.PRNGKey,
  values: chex.ArrayTree,
  feature_stats: FeatureStats,
  classes: chex.Array,
) -> Any:
  """Intervenes on one modality of the inputs of any model.

  Args:
    kind: a name of `KINDS`, static.
    key: random key.
    values: pytree of arrays `[N, ...]`; "noise", "zero" and "mean" need
      floating-point arrays.
    feature_stats: pytrees like `values`, `[...]`.
    classes: `[N]` int, for "mismatch".

  Returns:
    A pytree like `values`; None for "missing".

  Raises:
    ValueError: if values to be replaced are not floating-point numbers.
  """
  if kind == "missing":
    return None
  if kind in _FROM_OTHERS:
    rows = _pick_donors(kind, classes, key, jnp.ones(classes.shape, bool))
    return jax.tree.map(lambda x: x[rows], values)
  leaves, structure = jax.tree.flatten(values)
  for leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(
        f"{kind!r} cannot replace values of type {leaf.dtype}: use"
        f" {' or '.join(map(repr, _FROM_OTHERS))}."
      )
  leaf_stats = [
    FeatureStats(*x)
    for x in zip(*map(jax.tree.leaves, feature_stats), strict=True)
  ]
  keys = jax.random.split(key, len(leaves))
  new = [
    replaced(*arguments)[kind]
    for arguments in zip(keys, leaves, leaf_stats, strict=True)
  ]
  return jax.tree.unflatten(structure, new)


def _kind_key(key, kind):
  """Derives a key that does not depend on which other kinds are in use."""
  return jax.random.fold_in(key, list(KINDS).index(kind))
