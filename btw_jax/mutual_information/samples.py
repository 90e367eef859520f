"""Conversion of samples to the dtype of a computation, without lost digits.

NumPy's float64 and int64 hold what float32 does not: 1e6 + x has two digits of
x left in float32, 1e8 + x none. No estimate depends on the mean of a variable,
so it is taken off in the dtype of the samples, on the host. What is a JAX array
or is traced has its dtype already, and passes unchanged.
"""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types

# Samples beyond this size, or all below its inverse, are rescaled together. It
# is far inside the range of float32.
_LARGEST = 1e30
# The share of the distinct values that must stay distinct.
_LEAST_DISTINCT = 0.5


def convert(
  arrays: Mapping[str, chex.Array],
  *,
  where: chex.Array | None = None,
  rescale: bool = False,
) -> list[chex.Array]:
  """Converts samples to floats, float32 or wider, and centres NumPy's.

  Every column is shifted by its median. A median keeps the digits of most
  samples even if some are far away.

  Args:
    arrays: name -> `[N]` or `[N, D]` samples; an error gives the name. An array
      of another shape passes unchanged.
    where: `[N]` bool, the samples that count; all by default.
    rescale: also scale each column to at most 1, by a power of two, for what
      does not depend on scales. Otherwise all arrays get one factor, and only
      if they do not fit into float32.

  Returns:
    The arrays, of one common dtype.

  Raises:
    ValueError: if most distinct values of a column are equal in the dtype of
      the computation.
  """
  given = {
    name: x if isinstance(x, jax.Array) else np.asarray(x)
    for name, x in arrays.items()
  }
  counted = None if isinstance(where, jax.core.Tracer) else where
  centred = {
    name: _centre(x, counted) if _is_wide(x) else x for name, x in given.items()
  }
  if rescale:
    centred = {
      name: _scale(x, _exponent(x, counted, 0)) if _is_wide(given[name]) else x
      for name, x in centred.items()
    }
  elif all(isinstance(x, np.ndarray) for x in given.values()):
    exponent = max(_exponent(x, counted, None) for x in centred.values())
    if abs(exponent) > np.log2(_LARGEST):
      centred = {name: _scale(x, exponent) for name, x in centred.items()}
  (empty, *_) = types.as_float(*(np.empty(0, x.dtype) for x in given.values()))
  dtype = empty.dtype
  for name, x in centred.items():
    if _is_wide(given[name]):
      _check_resolution(name, x, dtype, counted)
  with np.errstate(over="ignore", under="ignore"):
    return [
      jnp.asarray(x.astype(dtype) if isinstance(x, np.ndarray) else x, dtype)
      for x in centred.values()
    ]


def _is_wide(x):
  """Tells if float32 may not hold the samples, which are NumPy's."""
  return (
    isinstance(x, np.ndarray)
    and x.ndim in (1, 2)
    and x.size > 0
    and x.dtype.kind in "iuf"
    and x.dtype.itemsize >= (4 if x.dtype.kind in "iu" else 8)
  )


def _counted(x, where):
  """Returns x with NaN in place of what does not count or is not finite."""
  valid = np.isfinite(x)
  if where is not None:
    mask = np.asarray(where, bool)
    valid &= mask if x.ndim == 1 else mask[:, None]
  return np.where(valid, x, np.nan)


def _centre(x, where):
  """Subtracts the median of each column, in the precision of the samples."""
  if x.dtype.kind in "iu":
    # Unsigned differences of the counted samples cannot overflow, and are exact
    # before they are converted.
    counted = True if where is None else np.asarray(where, bool)
    counted = counted if x.ndim == 1 or where is None else counted[:, None]
    low = np.min(x, axis=0, initial=np.iinfo(x.dtype).max, where=counted)
    x = (x.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64)
  with np.errstate(invalid="ignore", over="ignore"):
    # The lower median is a sample: a constant column becomes exactly 0.
    ordered = np.sort(_counted(x, where), axis=0)
    numbers = np.sum(~np.isnan(ordered), axis=0)
    middle = np.expand_dims(np.maximum(numbers - 1, 0) // 2, 0)
    median = np.take_along_axis(ordered, middle, axis=0)
    return x - np.where(np.isnan(median), 0, median)


def _exponent(x, where, axis):
  """Returns the exponents of 2 just above the largest samples, 0 for zeros."""
  if not np.size(x) or x.dtype.kind not in "iuf":
    return 0
  size = np.abs(_counted(x, where))
  largest = np.max(size, axis=axis, initial=0, where=~np.isnan(size))
  return np.frexp(largest)[1]


def _scale(x, exponent):
  with np.errstate(over="ignore", under="ignore"):
    return np.ldexp(x, -exponent)


def _check_resolution(name, x, dtype, where):
  """Raises an error if float32 cannot tell most distinct samples apart."""
  if dtype.itemsize >= x.dtype.itemsize:
    return
  columns = _counted(x, where).reshape(len(x), -1).T
  for number, column in enumerate(columns):
    distinct = np.unique(column[~np.isnan(column)])
    with np.errstate(over="ignore", under="ignore"):
      left = len(np.unique(distinct.astype(dtype)))
    if left < _LEAST_DISTINCT * len(distinct):
      place = f"{name}, column {number}," if x.ndim == 2 else name
      raise ValueError(
        f"{place} has {len(distinct):,} distinct values, of which {dtype} keeps"
        f" {left:,}: give ranks, or compute in float64 with"
        " jax.enable_x64()."
      )
