"""Axis letters and the few types that every layer shares.

Axis letters, used in docstrings and einsums everywhere:

  B  batch            N  examples of a set     M  modalities
  T  time             D  feature               C  class (or label)
  H  hidden unit      K  output of a head      U  models trained together
  E  expert           S  seeds                 R  cells (weighting x strength)
"""

from typing import NamedTuple

import chex
import jax.numpy as jnp


class InputError(ValueError):
  """A file, field or flag is wrong: one line that says which, and what to do.

  Command lines print the message and exit with status 2; anything else that
  is raised is a defect and keeps its traceback.
  """


def as_float(*arrays: chex.Array) -> list[chex.Array]:
  """Arrays in one floating dtype, at least float32.

  Args:
    *arrays: of any dtypes and shapes.

  Returns:
    As many arrays.
  """
  dtype = jnp.promote_types(jnp.result_type(*arrays), jnp.float32)
  return [jnp.asarray(array, dtype) for array in arrays]


class Batch(NamedTuple):
  """Examples as a model sees them.

  Attributes:
    features: `[B, M, D]`, each modality zero-padded to the widest one; zeros
      where the modality is absent.
    present: `[B, M]` bool, whether the example has the modality.
    target: `[B]` (regression, binary, multiclass) or `[B, C]` (multilabel).
  """

  features: chex.Array
  present: chex.Array
  target: chex.Array
