"""What a run leaves on disk, through Orbax."""

from collections.abc import Sequence
import errno
import os
import pathlib
from typing import NamedTuple

import chex
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.training import state as state_lib

# Letters of an unusual reason that are shown.
_REASON = 120


class Unimodal(NamedTuple):
  """The frozen models of stage 1.

  Attributes:
    params: `[S, ...]`.
    scalers: what raw features were standardised with, one per seed or one.
  """

  params: chex.ArrayTree
  scalers: Sequence[scaling.Scaler]


class Multimodal(NamedTuple):
  """The models of stage 2 under one weighting.

  Attributes:
    params: `[S, ...]`.
    guide: `[S, ...]`, how to weigh unseen examples; None if uniform only.
    cell: variant, strength and scale, chosen for all seeds.
  """

  params: chex.ArrayTree
  guide: state_lib.UnseenPrior | None
  cell: state_lib.RunParams


def save(folder: str, name: str, tree: chex.ArrayTree) -> None:
  """Writes `folder/checkpoints/name`, whole or not at all.

  Args:
    folder: a workdir.
    name: of the checkpoint; one of that name is replaced.
    tree: any pytree of arrays.

  Raises:
    InputError: if it cannot be written.
  """
  path = _path(folder, name)
  try:
    ocp.save(path, jax.tree.map(np.asarray, tree), overwrite=True)
  except (OSError, ValueError, RuntimeError) as error:
    raise errors.InputError(
      f"{path}: cannot be written ({reason(error)}): make room, or choose"
      " another --workdir; the same flags go on from the last snapshot."
    ) from error


def load(folder: str, name: str, like: chex.ArrayTree) -> chex.ArrayTree:
  """Reads what `save` wrote.

  Args:
    folder: a workdir.
    name: of the checkpoint.
    like: a pytree of the same structure, of arrays or shapes.

  Returns:
    A pytree with the structure and shapes of `like`.

  Raises:
    InputError: if there is no such checkpoint, or it has other shapes.
  """
  path = _path(folder, name)
  if not path.exists():
    raise errors.InputError(
      f"{path}: no such checkpoint: train it first, or set --workdir."
    )
  # Saved on any number of devices, restored to the host; a program that maps
  # over several spreads its arguments itself.
  abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
  try:
    found = ocp.load(path, abstract)
    # Arrays of the host come back in whatever shape they were saved in.
    chex.assert_trees_all_equal_shapes(found, abstract)
  except (ValueError, KeyError, AssertionError) as error:
    raise errors.InputError(
      f"{path}: does not fit this configuration"
      f" ({str(error).strip().splitlines()[0]}): evaluate it with the"
      " config.json that it was trained with."
    ) from error
  return found


def reason(error: BaseException) -> str:
  """What went wrong on disk, in a few words.

  Args:
    error: of Orbax, whose text may run over many lines.

  Returns:
    What the system says, if it is among the usual; else the first words.
  """
  text = " ".join(str(error).split())
  for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS,
                 errno.EACCES):  # fmt: skip
    if os.strerror(number) in text:
      return os.strerror(number)
  return text[:_REASON]


def _path(folder, name):
  return pathlib.Path(folder).absolute() / "checkpoints" / name
