"""The axis letters, the terms and the types that all layers share.

Axis letters, in docstrings and einsums:

  B  batch             N  examples              M  modalities
  T  time steps        D  features              C  classes, or labels
  H  hidden units      E  experts               K  selected experts, or outputs
  L  layers, or grid   G  modalities of equal   U  models trained together
  S  seeds                shape
  R  settings: weighting variant x strength x embedding scale

Terms:

  example             one row of the data: all modalities of one case
  modality            one kind of input: text, audio, a table, ...
  target              the value to predict; for classification a class or labels
  class               one of C exclusive answers
  label               one of C independent yes/no answers
  output              the raw numbers of a model's head
  prediction          a predictive distribution, computed from an output
  unimodal model      a frozen model that reads one modality
  multimodal model    the model that fuses all modalities, and is weighted
  weight              how much a modality counts for an example; rows sum to 1,
                      but not with min-max weights
  weighting           a named method: uniform, kl, mi, kl+mi, ..., auto
  variant             the formula of a setting's weights; auto tries several
  strength            λ in [0, 1], from uniform weights (0) to full weights (1)
  embedding scale     c, a constant factor of all embeddings
  gate                closing idle modalities: they weigh 0, all others the same
  idle modality       tells nothing alone, and nothing together with the others
  exchange            giving each example the modality of another one
  setting             one combination of variant, strength and embedding scale
  seed                the number that a run's random draws start from
  run                 one setting trained with one seed
  refresh             recomputing the weights during training
  moving average W    the running mean of the weights over refreshes
  prior               the weights that an unseen example starts from
  slot                a position in a batch
  padding             zeros or empty slots that fill an array to its shape
  bucket              one padded shape of batches
  shard, replicate    split an array over devices; copy it to all of them
  process             one program of a distributed run; it owns some devices
  record              one example as it is stored on disk
  checkpoint          saved parameters or training state
  workdir             the folder that holds the files of a run or a study
  intervention        a change of one modality of an example
  source              an input variable in partial information decomposition
  dataset loader      the function that reads one data set
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import threefry


def as_float(*arrays: chex.Array) -> list[chex.Array]:
  """Converts arrays to one common floating dtype, at least float32."""
  dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
  return [jnp.asarray(array, dtype) for array in arrays]


def psum_over(x: chex.ArrayTree, axis_name: str | None) -> chex.ArrayTree:
  """Sums a pytree over a mapped axis; returns it as it is for None."""
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def slots(
  batch_size: int, axis_name: str | tuple[str, str] | None
) -> chex.Array:
  """Returns the slots that a device's examples have in the full batch.

  Args:
    batch_size: the device's number of examples, static.
    axis_name: mapped axes over which the batch is sharded, in order; None if
      the device has the full batch.

  Returns:
    `[batch_size]` int.
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
  """Returns `[batch_size]` keys, one per example.

  `key` must be the same on all devices. The key of an example then depends on
  its slot only, so results do not change with the number of devices. The other
  arguments are those of `slots`.
  """
  batch_slots = slots(batch_size, axis_name)
  return threefry.fold_in(key, batch_slots)


class Steps(NamedTuple):
  """The sequences of G modalities that have the same shape.

  Attributes:
    values: `[B, G, T, D]`, zeros past the end.
    length: `[B, G]` int, the number of valid steps, at most T.
    times: `[B, G, T]`, the time of each step, ascending from 0 to 1; None for
      evenly spaced steps.
    observed: `[B, G, T, D]` bool, False for missing values; None if no values
      are missing.
  """

  values: chex.Array
  length: chex.Array
  times: chex.Array | None = None
  observed: chex.Array | None = None


class Batch(NamedTuple):
  """A batch of examples, as models take it.

  Attributes:
    features: `[B, M, D]`, each modality zero-padded to the widest one; zeros
      where the modality is missing or stored in `sequences`.
    present: `[B, M]` bool, True if the example has the modality.
    target: `[B]` (regression, binary, multiclass) or `[B, C]` (multilabel);
      None where targets are not used.
    sequences: the sequence modalities, grouped by shape; `Sizes.groups` of a
      network lists the modalities of each group.
    relevant: `[B, M]` bool, the modalities that the target depends on; None
      where this is not known.
  """

  features: chex.Array
  present: chex.Array
  target: chex.Array | None
  sequences: tuple[Steps, ...] = ()
  relevant: chex.Array | None = None
  # This batch is in memory; `data.batch_source.DiskBatches` is one on disk.
  on_disk = False


class Split(NamedTuple):
  """A training, validation or test split, or one device's shard of it.

  Attributes:
    batch: the examples.
    unimodal: `[M, N, K]` outputs of the frozen unimodal models, or None.
  """

  batch: Batch
  unimodal: chex.Array | None
