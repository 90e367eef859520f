"""The arrays of a batch, built from examples on the host."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import scaling


def groups(
  num_steps: Sequence[int],
  widths: Sequence[int],
  vocab_sizes: Sequence[int] = (),
) -> tuple[tuple[int, ...], ...]:
  """Groups the positions of sequence modalities by shape `(T, D)`.

  Args:
    num_steps: T of each modality, 0 for a vector.
    widths: D of each modality.
    vocab_sizes: number of tokens that there are for each modality, 0 for one
      that holds no tokens; by default none does. Tokens have their own groups.

  Returns:
    The groups, in the order of `Batch.sequences`.
  """
  positions = {}
  vocab_sizes = vocab_sizes or [0] * len(widths)
  for m, kind in enumerate(zip(num_steps, widths, vocab_sizes, strict=True)):
    if kind[0]:
      positions.setdefault(kind, []).append(m)
  return tuple(map(tuple, positions.values()))


def groups_of(
  examples: dataset_lib.Examples,
) -> tuple[tuple[int, ...], ...]:
  """Groups the positions of the sequence modalities of a split."""
  vocab_sizes = [examples.vocab_sizes.get(m, 0) for m in examples.modalities]
  return groups(examples.num_steps, examples.widths, vocab_sizes)


def scale_target(target: np.ndarray, scaler: scaling.Scaler) -> np.ndarray:
  """Standardises `[N]` or `[N, C]` targets if they are floats, not labels."""
  if np.issubdtype(target.dtype, np.floating):
    # float32 is too coarse for the difference of large numbers.
    target = target.astype(np.float64)
    target = (target - scaler.target_mean) / scaler.target_std
    return target.astype(np.float32)
  return target


def take(batch: types.Batch, rows: np.ndarray) -> types.Batch:
  """Takes rows of a batch `[N, ...]` or `[S, N, ...]` to NumPy arrays."""
  axis = np.ndim(batch.present) - 2
  return jax.tree.map(lambda x: np.take(np.asarray(x), rows, axis), batch)


def stack(
  examples: dataset_lib.Examples,
  scaler: scaling.Scaler,
  modality_groups: Sequence[Sequence[int]] | None = None,
  empty: Callable[..., np.ndarray] = np.empty,
) -> types.Batch:
  """Scales a split, pads its vectors to one width and groups its sequences.

  Args:
    examples: the split.
    scaler: fitted on the training split.
    modality_groups: positions of the sequence modalities, grouped by shape;
      computed by `groups` if None.
    empty: allocates the arrays of the sequences; called like `np.empty`.

  Returns:
    A `Batch` of NumPy arrays with all N examples; without targets if they are
    not known.
  """
  features = np.zeros((len(examples), *scaler.mean.shape), np.float32)
  present = np.stack(list(examples.present.values()), axis=1)
  for m, x in enumerate(examples.features.values()):
    if x.ndim == 2:
      width = x.shape[1]
      # Rows without the modality may hold any values, also NaN.
      x = np.where(present[:, m, None], x, 0) - scaler.mean[m, :width]
      features[:, m, :width] = x * scaler.inverse_std[m, :width]
  is_sequence = np.asarray(examples.num_steps) > 0
  valid = present & ~is_sequence
  # Scaling moved the zeros of absent modalities away from 0.
  features[~valid] = 0
  if modality_groups is None:
    modality_groups = groups_of(examples)
  sequences = tuple(
    _stack_sequences(examples, scaler, group, empty)
    for group in modality_groups
  )
  target = examples.target
  if target is not None:
    target = scale_target(target, scaler)
  return types.Batch(features, present, target, sequences)


def _stack_sequences(examples, scaler, group, empty):
  """Stacks the scaled sequences of G modalities to `[N, G, T, D]`."""
  names = [examples.modalities[m] for m in group]
  shape = examples.features[names[0]].shape
  values = empty((shape[0], len(group), *shape[1:]), np.float32)
  for g, (m, name) in enumerate(zip(group, names, strict=True)):
    _scale_sequences(values[:, g], examples, scaler, m, name)
  length = np.stack([examples.steps[name].length for name in names], axis=1)
  times = observed = None
  if any(examples.steps[name].times is not None for name in names):
    times = np.stack([_scale_times(examples, scaler, m) for m in group], axis=1)
  if any(examples.steps[name].observed is not None for name in names):
    observed = np.stack([examples.observed(name) for name in names], axis=1)
  return types.Steps(values, length.astype(np.int32), times, observed)


def _scale_sequences(out, examples, scaler, m, name):
  """Writes the scaled sequences `[N, T, D]` of a modality to `out`."""
  x, steps = examples.features[name], examples.steps[name]
  width = x.shape[2]
  # In place, because a batch from disk is too large for temporary copies. The
  # difference is taken in the precision that the features have.
  np.subtract(x, scaler.mean[m, :width].astype(x.dtype), out=out)
  np.multiply(out, scaler.inverse_std[m, :width].astype(np.float32), out=out)
  valid = steps.inside(x.shape[1]) & examples.present[name][:, None]
  out[~valid] = 0
  if steps.observed is not None:
    out[~steps.observed] = 0


def _scale_times(examples, scaler, m):
  """Returns `[N, T]` times, 0 to 1 in training; evenly spaced if not given."""
  name = examples.modalities[m]
  num_steps = examples.num_steps[m]
  times = examples.steps[name].times
  if times is None:
    times = np.broadcast_to(
      np.linspace(0, 1, num_steps), (len(examples), num_steps)
    )
    return times.astype(np.float32)
  return (times / scaler.last_time[m]).astype(np.float32)
