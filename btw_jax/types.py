"""Axis letters and the few types that every layer shares.

Axis letters, used in docstrings and einsums everywhere:

  B  batch            N  examples of a set     M  modalities
  T  time             D  feature               C  class (or label)
  H  hidden unit      E  experts               K  selected experts, or outputs
  L  layer, or grid   G  modalities of a shape U  models trained together
  S  seeds            R  cells (weighting x strength)
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


def as_float(*arrays: chex.Array) -> list[chex.Array]:
  """Arrays in one floating dtype, at least float32.

  Args:
    *arrays: of any dtypes and shapes.

  Returns:
    As many arrays.
  """
  dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
  return [jnp.asarray(array, dtype) for array in arrays]


def total(x: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Sum over the devices that something is spread over.

  Args:
    x: each device's part of the sum.
    axis_name: of the mapped axis of devices; None if all is at hand.

  Returns:
    The sum, on every device.
  """
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def slots(
  batch_size: int, axis_name: str | tuple[str, str] | None
) -> chex.Array:
  """Numbers of a device's examples in the whole batch.

  Args:
    batch_size: examples at hand, static.
    axis_name: of the devices that the batch is spread over, in order; None if
      all of it is at hand.

  Returns:
    `[batch_size]`.
  """
  numbers = jnp.arange(batch_size)
  if axis_name is not None:
    numbers += jax.lax.axis_index(axis_name) * batch_size
  return numbers


def keys(
  key: chex.PRNGKey,
  batch_size: int,
  axis_name: str | tuple[str, str] | None,
) -> chex.PRNGKey:
  """A key for each example, the same however many devices there are.

  Args:
    key: of the batch, the same on all devices.
    batch_size: examples at hand, static.
    axis_name: as for `slots`.

  Returns:
    `[batch_size]` keys.
  """
  each = slots(batch_size, axis_name)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, each)


class Steps(NamedTuple):
  """Sequences of G modalities that have the same shape.

  Attributes:
    values: `[B, G, T, D]`, zeros past the end.
    length: `[B, G]` int, steps that are there, at most T.
    times: `[B, G, T]` when each step was taken, ascending, 0 to 1; None where
      steps are evenly spaced.
    observed: `[B, G, T, D]` bool, values that were measured; None where all of
      a step are.
  """

  values: chex.Array
  length: chex.Array
  times: chex.Array | None = None
  observed: chex.Array | None = None


class Batch(NamedTuple):
  """Examples as a model sees them.

  Attributes:
    features: `[B, M, D]`, each modality zero-padded to the widest one; zeros
      where the modality is absent, or given by `sequences`.
    present: `[B, M]` bool, whether the example has the modality.
    target: `[B]` (regression, binary, multiclass) or `[B, C]` (multilabel);
      None where it is not to be read.
    sequences: of the modalities that come in steps, by shape; a network's
      `Sizes.groups` says which.
  """

  features: chex.Array
  present: chex.Array
  target: chex.Array | None
  sequences: tuple[Steps, ...] = ()


class Split(NamedTuple):
  """Examples, all of a split or those of it that a device has.

  Attributes:
    batch: the examples.
    unimodal: `[M, N, K]` outputs of the frozen unimodal models, or None.
  """

  batch: Batch
  unimodal: chex.Array | None
