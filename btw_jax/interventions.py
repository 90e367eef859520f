"""Interventions: something else in place of a modality, all else left alone.

What changes in a model's answers then, changes because of that modality. Values
are replaced (`noise`, `zero`, `mean`), taken from another example (`shuffle`,
`mismatch`) or taken away (`missing`). The mismatch misleads: it speaks for a
class that the example is not of. Cai et al. (2025), "Diagnosing and mitigating
modality interference in multimodal large language models".
"""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types

# name -> what takes a modality's place
KINDS = {
  "noise": "normal noise with the mean and the deviation of training",
  "zero": "zeros, in the data's own unit",
  "mean": "its mean in training",
  "shuffle": "that of another example",
  "mismatch": "that of an example of another class",
  "missing": "nothing: it is absent",
}
_FROM_OTHERS = ("shuffle", "mismatch")


class FeatureStats(NamedTuple):
  """What the values of a training set are like, as a model sees them.

  Attributes:
    mean: `[...]` of each feature, to broadcast against examples `[N, ...]`; of
      a `Batch` `[M, D]`. Pytrees like the examples if those are.
    std: likewise.
    zero: likewise, what 0 in the data's own unit has become by scaling.
  """

  mean: chex.ArrayTree
  std: chex.ArrayTree
  zero: chex.ArrayTree


def feature_stats(examples: chex.ArrayTree) -> FeatureStats:
  """Moments of a training set that is not scaled.

  Args:
    examples: pytree of arrays `[N, ...]`.

  Returns:
    Pytrees of `[...]`.
  """
  return FeatureStats(
    jax.tree.map(lambda x: jnp.mean(x, axis=0), examples),
    jax.tree.map(lambda x: jnp.std(x, axis=0), examples),
    jax.tree.map(lambda x: jnp.zeros(x.shape[1:]), examples),
  )


def replaced(
  key: chex.PRNGKey, values: chex.Array, usual: FeatureStats
) -> dict[str, chex.Array]:
  """What may stand in place of values.

  Args:
    key: of the noise.
    values: `[...]`.
    usual: arrays that broadcast against them.

  Returns:
    "noise", "zero" and "mean" -> `[...]`.
  """
  drawn = jax.random.normal(key, values.shape, values.dtype)
  return {
    "noise": usual.mean + usual.std * drawn,
    "zero": jnp.broadcast_to(usual.zero, values.shape),
    "mean": jnp.broadcast_to(usual.mean, values.shape),
  }


def shuffled(key: chex.PRNGKey, present: chex.Array) -> chex.Array:
  """For every example another one: each is taken once.

  Args:
    key: of the order.
    present: `[N]` bool, those that have the modality.

  Returns:
    `[N]` numbers of examples; its own of one without, or where it is the only
    one with the modality.
  """
  order = _ordered(key, jnp.zeros(present.shape, int), present)
  place, count = jnp.arange(len(present)), jnp.sum(present)
  following = order[jnp.where(place + 1 < count, place + 1, 0)]
  return place.at[order].set(jnp.where(place < count, following, order))


def mismatched(
  key: chex.PRNGKey, classes: chex.Array, present: chex.Array
) -> chex.Array:
  """For every example one of another class, all of these alike.

  Args:
    key: of the choices.
    classes: `[N]` int.
    present: `[N]` bool, those that have the modality.

  Returns:
    `[N]` numbers of examples; its own of one without the modality, or where
    all with it are of one class.
  """
  classes = jnp.asarray(classes)
  by_order, by_choice = jax.random.split(key)
  order = _ordered(by_order, classes, present)
  # Of a class those in a row, those without the modality behind all others.
  count = jnp.sum(present)
  last = jnp.where(present, classes, jnp.iinfo(classes.dtype).max)[order]
  start, end = (
    jnp.searchsorted(last, classes, side=side) for side in ("left", "right")
  )
  others = count - (end - start)
  u = jax.random.uniform(by_choice, classes.shape)
  step = jnp.minimum((u * others).astype(int), others - 1)
  chosen = order[(end + step) % jnp.maximum(count, 1)]
  own = jnp.arange(len(classes))
  return jnp.where(present & (others > 0), chosen, own)


def _donors(kind, classes, key, present):
  if kind == "shuffle":
    return shuffled(key, present)
  return mismatched(key, classes, present)


def _ordered(key, classes, present):
  """Numbers of examples by class, in random order; those without last."""
  drawn = jax.random.bits(key, present.shape, jnp.uint32)
  return jnp.lexsort((drawn, classes, ~present))


def recombine(
  batch: types.Batch, rows: chex.Array, groups: Sequence[Sequence[int]] = ()
) -> types.Batch:
  """Examples whose modalities come from several others.

  Args:
    batch: `[N, ...]`.
    rows: `[n, M]` the example that each modality is taken from.
    groups: positions of modalities that come in steps, as in
      `networks.Sizes.groups`.

  Returns:
    Batch of n examples, without targets.
  """
  modalities = np.arange(rows.shape[1])
  sequences = []
  for group, steps in zip(groups, batch.sequences, strict=True):
    own, places = rows[:, list(group)], np.arange(len(group))
    sequences.append(
      jax.tree.map(lambda x, own=own, places=places: x[own, places], steps)
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
  usual: FeatureStats,
  *,
  kinds: Sequence[str] = tuple(KINDS),
  classes: chex.Array | None = None,
  groups: Sequence[Sequence[int]] = (),
  axis_name: str | tuple[str, str] | None = None,
) -> types.Batch:
  """Intervenes on modalities of a batch, of every example others if need be.

  Args:
    batch: `[B, ...]`, scaled.
    chosen: `[B, M]` int, what is done with a modality: a position in `kinds`,
      or -1 for nothing. One that is absent stays so.
    key: of all that is drawn.
    usual: `[M, D]` each, for scaled features.
    kinds: names of `KINDS` that may be chosen, static.
    classes: `[B]` int, for "mismatch".
    groups: positions of modalities that come in steps.
    axis_name: of the devices that the batch is spread over: others are sought
      among all; None if all of it is at hand.

  Returns:
    The batch, its targets kept.
  """
  chosen = jnp.where(batch.present, chosen, -1)
  where = {kind: chosen == i for i, kind in enumerate(kinds)}
  target = batch.target
  taken = {kind: where[kind] for kind in _FROM_OTHERS if kind in where}
  if taken:
    batch = _from_others(batch, taken, key, classes, groups, axis_name)
  if where.keys() & {"noise", "zero", "mean"}:
    batch = _replace(batch, where, key, usual, groups, axis_name)
  if "missing" in where:
    batch = _remove(batch, where["missing"], groups)
  return batch._replace(target=target)


def _from_others(batch, where, key, classes, groups, axis_name):
  bare = batch._replace(target=None)
  slots = types.slots(len(batch.present), axis_name)
  if axis_name is not None:
    bare, classes = jax.lax.all_gather((bare, classes), axis_name, tiled=True)
  num_modalities = batch.present.shape[1]
  rows = jnp.broadcast_to(slots[:, None], batch.present.shape)
  for kind, own in where.items():
    keys = jax.random.split(_key(key, kind), num_modalities)
    draw = functools.partial(_donors, kind, classes)
    found = jax.vmap(draw, (0, 1), 1)(keys, bare.present)
    rows = jnp.where(own, found[slots], rows)
  return recombine(bare, rows, groups)


def _replace(batch, where, key, usual, groups, axis_name):
  """Puts "noise", "zero" and "mean" where they are wanted."""
  num_examples, num_modalities = batch.present.shape
  keys = types.keys(_key(key, "noise"), num_examples, axis_name)

  def fill(values, number, usual, where, there):
    """Of values `[B, G, ...]`, those that are there."""
    keys_of_part = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
    new = jax.vmap(lambda key, own: replaced(key, own, usual))(
      keys_of_part, values
    )
    for kind, others in new.items():
      if kind in where:
        own = where[kind].reshape(where[kind].shape + (1,) * (values.ndim - 2))
        values = jnp.where(own & there, others, values)
    return values

  stepped = {m for group in groups for m in group}
  vectors = np.array([m not in stepped for m in range(num_modalities)])
  features = batch.features
  if vectors.any():
    features = fill(features, 0, usual, where, vectors[:, None])
  sequences = []
  for number, (group, steps) in enumerate(
    zip(groups, batch.sequences, strict=True), 1
  ):
    own, width = np.array(group), steps.values.shape[-1]
    there = jnp.arange(steps.values.shape[2]) < steps.length[..., None]
    there = there[..., None]
    if steps.observed is not None:
      there &= steps.observed
    values = fill(
      steps.values,
      number,
      jax.tree.map(lambda x, own=own, w=width: x[own, None, :w], usual),
      {kind: own_where[:, own] for kind, own_where in where.items()},
      there,
    )
    sequences.append(steps._replace(values=values))
  return batch._replace(features=features, sequences=tuple(sequences))


def _remove(batch, where, groups):
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
  usual: FeatureStats,
  classes: chex.Array,
) -> Any:
  """Intervenes on one modality of any model's inputs.

  Args:
    kind: a name of `KINDS`, static.
    key: of what is drawn.
    values: pytree of arrays `[N, ...]`; those that are no floating-point
      numbers can be taken from others, and not replaced.
    usual: pytrees like it, `[...]`.
    classes: `[N]` int, for "mismatch".

  Returns:
    A pytree like `values`; None if it is "missing".

  Raises:
    ValueError: if values are to be replaced that are no floating-point numbers.
  """
  if kind == "missing":
    return None
  if kind in _FROM_OTHERS:
    rows = _donors(kind, classes, key, jnp.ones(classes.shape, bool))
    return jax.tree.map(lambda x: x[rows], values)
  leaves, structure = jax.tree.flatten(values)
  for leaf in leaves:
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(
        f"{kind!r} cannot replace values of type {leaf.dtype}: use"
        f" {' or '.join(map(repr, _FROM_OTHERS))}."
      )
  parts = [
    FeatureStats(*x) for x in zip(*map(jax.tree.leaves, usual), strict=True)
  ]
  keys = jax.random.split(key, len(leaves))
  new = [
    replaced(*each)[kind] for each in zip(keys, leaves, parts, strict=True)
  ]
  return jax.tree.unflatten(structure, new)


def _key(key, kind):
  """Whatever other kinds may be chosen."""
  return jax.random.fold_in(key, list(KINDS).index(kind))
