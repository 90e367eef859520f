"""From examples on the host to the arrays that a model sees."""

from collections.abc import Callable, Sequence

import numpy as np

from btw_jax import types
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import scaling


def groups(
  num_steps: Sequence[int], widths: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
  """Modalities that come in steps, those of one shape together.

  Args:
    num_steps: T of each modality; 0 for a vector.
    widths: D of each.

  Returns:
    Positions of modalities, in the order of `Batch.sequences`.
  """
  found = {}
  for m, shape in enumerate(zip(num_steps, widths, strict=True)):
    if shape[0]:
      found.setdefault(shape, []).append(m)
  return tuple(map(tuple, found.values()))


def scale_target(target: np.ndarray, scaler: scaling.Scaler) -> np.ndarray:
  """Targets as a model sees them: standardised if they are quantities.

  Args:
    target: `[N]` or `[N, C]`.
    scaler: fitted on the training split.

  Returns:
    An array of that shape.
  """
  if np.issubdtype(target.dtype, np.floating):
    return (target - scaler.target_mean) / scaler.target_std
  return target


def stack(
  examples: dataset_lib.Examples,
  scaler: scaling.Scaler,
  grouped: Sequence[Sequence[int]] | None = None,
  empty: Callable[..., np.ndarray] = np.empty,
) -> types.Batch:
  """Scales a split, pads its vectors to one width and groups its sequences.

  Args:
    examples: the split.
    scaler: fitted on the training split.
    grouped: positions of modalities that come in steps, those of one shape
      together; found by `groups` if None.
    empty: makes arrays for sequences, as `np.empty` does.

  Returns:
    A `Batch` of NumPy arrays, all N examples.
  """
  num_modalities, width = scaler.mean.shape
  features = np.zeros((len(examples), num_modalities, width), np.float32)
  present = np.stack(list(examples.present.values()), axis=1)
  for m, x in enumerate(examples.features.values()):
    if x.ndim == 2:
      features[:, m, : x.shape[1]] = np.where(present[:, m, None], x, 0)
  features = (features - scaler.mean) * scaler.inverse_std
  in_steps = np.asarray(examples.num_steps) > 0
  there = present & ~in_steps
  features = np.where(there[..., None], features, 0).astype(np.float32)
  if grouped is None:
    grouped = groups(examples.num_steps, examples.widths)
  sequences = tuple(_group(examples, scaler, group, empty) for group in grouped)
  target = scale_target(examples.target, scaler)
  return types.Batch(features, present, target, sequences)


def _group(examples, scaler, group, empty):
  names = [examples.modalities[m] for m in group]
  shape = examples.features[names[0]].shape
  values = empty((shape[0], len(group), *shape[1:]), np.float32)
  for g, (m, name) in enumerate(zip(group, names, strict=True)):
    _scale(values[:, g], examples, scaler, m, name)
  length = np.stack([examples.steps[name].length for name in names], axis=1)
  times = observed = None
  if any(examples.steps[name].times is not None for name in names):
    times = np.stack([_times(examples, scaler, m) for m in group], axis=1)
  if any(examples.steps[name].observed is not None for name in names):
    observed = np.stack([examples.observed(name) for name in names], axis=1)
  return types.Steps(values, length.astype(np.int32), times, observed)


def _scale(out, examples, scaler, m, name):
  """Writes a sequence, in place: a batch from disk is too large to copy."""
  x, steps = examples.features[name], examples.steps[name]
  width = x.shape[2]
  np.subtract(x, scaler.mean[m, :width], out=out)
  np.multiply(out, scaler.inverse_std[m, :width], out=out)
  there = steps.inside(x.shape[1]) & examples.present[name][:, None]
  out[~there] = 0
  if steps.observed is not None:
    out[~steps.observed] = 0


def _times(examples, scaler, m):
  """0 to 1 over the training split; evenly spaced if none are given."""
  name = examples.modalities[m]
  num_steps = examples.num_steps[m]
  times = examples.steps[name].times
  if times is None:
    times = np.broadcast_to(
      np.linspace(0, 1, num_steps), (len(examples), num_steps)
    )
    return times.astype(np.float32)
  return (times / scaler.last_time[m]).astype(np.float32)
