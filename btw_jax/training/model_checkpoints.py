"""Checkpoints of finished models, written by Orbax."""

from collections.abc import Mapping, Sequence
import errno
import os
import pathlib
from typing import Any, NamedTuple, TypeVar

import chex
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.training import checksums
from btw_jax.training import state as state_lib

# The name of the checksums in the JSON beside a checkpoint.
CHECKSUMS = "checksums"
# Characters of an unexpected reason that an error line shows.
_REASON_LENGTH = 120
_T = TypeVar("_T", bound=NamedTuple)
# Fields whose name on disk differs, so that earlier checkpoints can be read.
_NAMES_ON_DISK = {"unseen_prior": "guide", "run_params": "cell"}


class Unimodal(NamedTuple):
  """The frozen models of stage 1.

  Attributes:
    params: `[S, ...]`.
    scalers: standardisation of the raw features, one per seed or one for all.
  """

  params: chex.ArrayTree
  scalers: Sequence[scaling.Scaler]


class Multimodal(NamedTuple):
  """The models of stage 2 under one weighting.

  Attributes:
    params: `[S, ...]`.
    unseen_prior: `[S, ...]`, how to weigh unseen examples; None if uniform.
    run_params: variant, strength and scale, the same for all seeds.
  """

  params: chex.ArrayTree
  unseen_prior: state_lib.UnseenPrior | None
  run_params: state_lib.RunParams


def save(folder: str, name: str, models: Unimodal | Multimodal) -> None:
  """Writes `folder/checkpoints/name` in full or not at all.

  Args:
    folder: a workdir.
    name: of the checkpoint; an existing one is replaced.
    models: the models.

  Raises:
    InputError: if the checkpoint cannot be written.
  """
  path = _path(folder, name)
  try:
    arrays = jax.tree.map(np.asarray, to_disk(models))
    ocp.save(
      path,
      arrays,
      overwrite=True,
      custom_metadata={CHECKSUMS: checksums.of_tree(arrays)},
    )
  except (OSError, ValueError, RuntimeError) as error:
    raise errors.InputError(
      f"{path}: cannot be written ({short_reason(error)}): make room, or choose"
      " another --workdir; the same flags resume the run."
    ) from error


def load(
  folder: str, name: str, shapes: Unimodal | Multimodal
) -> Unimodal | Multimodal:
  """Reads a checkpoint that `save` wrote.

  Args:
    folder: a workdir.
    name: of the checkpoint.
    shapes: models of the same structure, of arrays or shapes.

  Returns:
    Models with the structure and shapes of `shapes`.

  Raises:
    InputError: if there is no such checkpoint, its shapes differ, or it is
      damaged.
  """
  path = _path(folder, name)
  if not path.exists():
    raise errors.InputError(
      f"{path}: no such checkpoint: train it first, or set --workdir."
    )
  # Restored to the host, whatever devices it was saved on: a mapped program
  # shards its arguments itself.
  abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)
  on_disk = to_disk(abstract)
  try:
    loaded = ocp.load(path, on_disk)
    # Orbax restores arrays of the host in the shape that they were saved in.
    chex.assert_trees_all_equal_shapes(loaded, on_disk)
    beside = ocp.metadata(path).custom_metadata
  except (ValueError, KeyError, AssertionError) as error:
    raise errors.InputError(
      f"{path}: does not fit this configuration"
      f" ({str(error).strip().splitlines()[0]}): evaluate it with the"
      " config.json that it was trained with."
    ) from error
  damaged = differing(beside, loaded)
  if damaged:
    raise errors.InputError(
      f"{path}: is damaged (the checksum of {damaged[0]} differs): copy it"
      " again, or train again with --noresume."
    )
  return from_disk(type(shapes), loaded)


def differing(
  beside: Mapping[str, Any] | None, tree: chex.ArrayTree
) -> list[str]:
  """Lists the arrays of a checkpoint whose checksums differ.

  `beside` is the JSON beside it. Checkpoints of earlier versions have none.
  """
  before = (beside or {}).get(CHECKSUMS)
  return [] if before is None else checksums.differing(before, tree)


def to_disk(fields: NamedTuple) -> dict[str, Any]:
  """Returns the fields of models or of a state by their names on disk.

  The optional fields of `run_params` are not among them: `choices.json` of the
  workdir names the modalities that a gate closes.
  """
  values = fields._asdict()
  if "run_params" in values:
    run_params = values["run_params"]
    names = ("variant", "strength", "scale")
    values["run_params"] = {k: getattr(run_params, k) for k in names}
  return {_NAMES_ON_DISK.get(k, k): v for k, v in values.items()}


def from_disk(kind: type[_T], loaded: Mapping[str, Any]) -> _T:
  """Returns what `to_disk` was given, a named tuple of type `kind`."""
  values = {k: loaded[_NAMES_ON_DISK.get(k, k)] for k in kind._fields}
  if "run_params" in values:
    values["run_params"] = state_lib.RunParams(**values["run_params"])
  return kind(**values)


def short_reason(error: BaseException) -> str:
  """Returns the reason of an error of Orbax in a few words.

  The system's own words for a full disk and the like are preferred to Orbax's
  message, which may run over many lines.
  """
  text = " ".join(str(error).split())
  for number in (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES
  ):  # fmt: skip
    if os.strerror(number) in text:
      return os.strerror(number)
  return text[:_REASON_LENGTH]


def _path(folder, name):
  return pathlib.Path(folder).absolute() / "checkpoints" / name
