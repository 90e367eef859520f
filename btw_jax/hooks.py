"""Hooks: the parts of a training step that a method may change.

A step runs in this order. A hook changes some of the lines that name it; the
methods of `Hook` change nothing.

  for each of `rounds` steps on a batch:
    embeddings  = encode(batch)
    state       = hook.observe(...)           of this step, without a gradient
    shown       = hook.show(...)              what the examples show of each
                                              modality
    outputs     = fuse(shown)
    losses      = hook.minimise(...)          the loss of each example
    apart       = hook.minimise_apart(...)    more losses, whose gradient is
                                              computed apart
    gradients   = hook.change_gradients(gradients, gradients of `apart`)
    gradients   are clipped, the optimizer turns them into updates
    updates     = hook.change_updates(updates)
    parameters  + updates, for the encoders of hook.trained(...)
  after each epoch:
    state       = hook.end_epoch(state)

A hook keeps what it has to remember in its state, a pytree: the state is saved
with the run, and a resumed run goes on with it. Hooks are pure; all arrays that
differ from step to step reach them as arguments.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import forward as forward_lib
from btw_jax import types


class Shown(NamedTuple):
  """The input of the fusion in a step.

  Attributes:
    embeddings: `[B, N, D]`, as `Forward.encode` returns them.
    batch: the batch; a modality that is not shown is not present in it.
    multipliers: `[B, M]` factors of the embeddings, or None.
  """

  embeddings: chex.Array
  batch: types.Batch
  multipliers: chex.Array | None

  @property
  def factors(self) -> chex.Array:
    """The multipliers `[B, M]`; without any, 1 where a modality is present."""
    return forward_lib.factors(self.multipliers, self.batch.present)


class Owners(NamedTuple):
  """The modality of each parameter of an encoder.

  Attributes:
    ids: a pytree like the parameters, of int arrays: the modality of each entry
      of a leaf's leading axis; M, a scalar, for what belongs to no encoder.
    num_modalities: M.
  """

  ids: chex.ArrayTree
  num_modalities: int

  def scale(self, tree: chex.ArrayTree, factors: chex.Array) -> chex.ArrayTree:
    """Multiplies the encoders' part of a tree by `factors` `[M]`."""
    return jax.tree.map(
      lambda ids, x: x * _spread(factors, ids, x.ndim) if ids.ndim else x,
      self.ids,
      tree,
    )

  def combine(
    self,
    first: chex.ArrayTree,
    factors: chex.Array,
    second: chex.ArrayTree,
    others: chex.Array,
  ) -> chex.ArrayTree:
    """Adds two trees, each multiplied by factors of the encoders.

    `factors` and `others` are `[M + 1]`; the last one is for what belongs to no
    encoder.
    """
    return jax.tree.map(
      lambda ids, a, b: (
        _spread(factors, ids, a.ndim) * a + _spread(others, ids, b.ndim) * b
      ),
      self.ids,
      first,
      second,
    )

  def add_noise(
    self, tree: chex.ArrayTree, stds: chex.ArrayTree, key: chex.PRNGKey
  ) -> chex.ArrayTree:
    """Adds normal noise to the encoders' part of a tree.

    An encoder's part of a leaf gets noise with the standard deviation of the
    entries that the encoder has in the same leaf of `stds`.
    """
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))

    def add(ids, x, reference, key):
      if not ids.ndim:
        return x
      axes = tuple(range(1, x.ndim))
      std = jnp.std(reference, axis=axes, keepdims=True)
      return x + std * jax.random.normal(key, x.shape)

    flat_ids, flat_stds = map(jax.tree.leaves, (self.ids, stds))
    noisy = map(add, flat_ids, leaves, flat_stds, keys)
    return jax.tree.unflatten(structure, noisy)

  def products(
    self, first: chex.ArrayTree, second: chex.ArrayTree
  ) -> chex.Array:
    """Computes the inner products `[M]` of two trees, encoder by encoder."""

    def products(a, b, ids):
      total = jnp.sum(a * b, axis=tuple(range(1, a.ndim)))
      return jnp.zeros(self.num_modalities).at[ids].add(total)

    leaves = [
      products(a, b, ids)
      for ids, a, b in zip(
        *map(jax.tree.leaves, (self.ids, first, second)), strict=True
      )
      if ids.ndim
    ]
    return sum(leaves)


def _spread(values, ids, ndim):
  """Spreads values by ids over the entries of a leaf of `ndim` axes."""
  return values[ids].reshape(ids.shape + (1,) * (ndim - ids.ndim))


@dataclasses.dataclass(frozen=True)
class Step:
  """The step that a hook is called in.

  Attributes:
    state: of the hook; after `observe`, what that returned.
    key: random key of the hook and the step, the same on all devices.
    number: scalar int, the number of the step, from 0.
    value: scalar, the setting of the method that runs differ in; None if the
      method has its default.
  """

  state: chex.ArrayTree
  key: chex.PRNGKey
  number: chex.Array
  value: chex.Array | None = None

  def with_state(self, state: chex.ArrayTree) -> "Step":
    """Returns the step with another state of the hook."""
    return dataclasses.replace(self, state=state)


class Hook:
  """A hook that changes nothing; methods override what they need.

  In all methods, `forward` is the forward pass of the step, and `embeddings`
  `[B, N, D]` are those of its batch. States, and all values over a whole batch,
  must be the same on all devices: sum over `forward.axis_name`.

  Attributes:
    rounds: number of steps on every batch, static.
    has_apart: whether there are losses apart, static.
  """

  rounds: int = 1
  has_apart: bool = False

  def init(self, seed: chex.Array) -> chex.ArrayTree:
    """Returns the state before the first step of a seed."""
    del seed
    return ()

  def observe(
    self,
    step: Step,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
  ) -> chex.ArrayTree:
    """Returns the state, with what this step's batch tells.

    No gradient flows through it.
    """
    del forward, embeddings
    return step.state

  def show(
    self, step: Step, forward: forward_lib.Forward, shown: Shown
  ) -> Shown:
    """Returns what the examples show of each modality."""
    del step, forward
    return shown

  def minimise(
    self,
    step: Step,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    outputs: chex.Array,
    losses: chex.Array,
  ) -> chex.Array:
    """Returns the losses `[U, B]` to minimise.

    `outputs` `[U, B, K]` and `losses` `[U, B]` are those of what was shown.
    """
    del step, forward, embeddings, outputs
    return losses

  def minimise_apart(
    self,
    step: Step,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
  ) -> chex.Array:
    """Returns more losses `[U, B]`, whose gradient is computed apart.

    It is called if `has_apart` is true.
    """
    raise NotImplementedError

  def change_gradients(
    self,
    step: Step,
    owners: Owners,
    gradients: chex.ArrayTree,
    apart: chex.ArrayTree | None,
  ) -> chex.ArrayTree:
    """Returns the gradients to follow, over the batch of all devices.

    `apart` are those of `minimise_apart`, None without it.
    """
    del step, owners, apart
    return gradients

  def change_updates(
    self, step: Step, owners: Owners, updates: chex.ArrayTree
  ) -> chex.ArrayTree:
    """Returns the updates that are added to the parameters."""
    del step, owners
    return updates

  def trained(self, step: Step) -> chex.Array | None:
    """Returns `[M]` bool, the encoders that the step trains; None for all.

    The others keep their parameters and the state of their optimizer.
    """
    del step

  def end_epoch(self, state: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the state after an epoch."""
    return state


class Chain(Hook):
  """Several hooks as one, each with a state and a key of its own."""

  def __init__(self, hooks: Sequence[Hook]):
    """Chains hooks; each sees what those before it have changed.

    At most one of them may have losses apart, and one more than one round.
    """
    self._hooks = tuple(hooks)
    self.rounds = max(hook.rounds for hook in self._hooks)
    self.has_apart = any(hook.has_apart for hook in self._hooks)

  def init(self, seed: chex.Array) -> chex.ArrayTree:
    """Returns the states of all hooks."""
    return tuple(hook.init(seed) for hook in self._hooks)

  def observe(self, step, forward, embeddings):
    """Lets every hook observe."""
    return tuple(
      hook.observe(part, forward, embeddings)
      for hook, part in self._parts(step)
    )

  def show(self, step, forward, shown):
    """Lets one hook after another change what is shown."""
    for hook, part in self._parts(step):
      shown = hook.show(part, forward, shown)
    return shown

  def minimise(self, step, forward, embeddings, outputs, losses):
    """Lets one hook after another change the losses."""
    for hook, part in self._parts(step):
      losses = hook.minimise(part, forward, embeddings, outputs, losses)
    return losses

  def minimise_apart(self, step, forward, embeddings):
    """Returns the losses of the hook that has any."""
    (losses,) = (
      hook.minimise_apart(part, forward, embeddings)
      for hook, part in self._parts(step)
      if hook.has_apart
    )
    return losses

  def change_gradients(self, step, owners, gradients, apart):
    """Lets one hook after another change the gradients."""
    for hook, part in self._parts(step):
      its_apart = apart if hook.has_apart else None
      gradients = hook.change_gradients(part, owners, gradients, its_apart)
    return gradients

  def change_updates(self, step, owners, updates):
    """Lets one hook after another change the updates."""
    for hook, part in self._parts(step):
      updates = hook.change_updates(part, owners, updates)
    return updates

  def trained(self, step):
    """Returns the encoders that all hooks train."""
    trained = None
    for hook, part in self._parts(step):
      mask = hook.trained(part)
      if mask is not None:
        trained = mask if trained is None else trained & mask
    return trained

  def end_epoch(self, state):
    """Ends the epoch of every hook."""
    pairs = zip(self._hooks, state, strict=True)
    return tuple(hook.end_epoch(part) for hook, part in pairs)

  def _parts(self, step):
    """Yields each hook with its part of the step."""
    for number, hook in enumerate(self._hooks):
      yield (
        hook,
        dataclasses.replace(
          step,
          state=step.state[number],
          key=jax.random.fold_in(step.key, number),
        ),
      )
