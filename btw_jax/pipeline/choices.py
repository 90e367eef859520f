"""The choices that a run made by its validation split: `choices.json`."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
from typing import Any

from btw_jax import errors
from btw_jax.pipeline import files

_FILE = "choices.json"


@dataclasses.dataclass(frozen=True)
class Choices:
  """The choices of a run by its validation split.

  Attributes:
    modalities: names, ordered by the validation score of their own models, the
      best first.
    idle: names of the modalities for which no test finds anything; the gate
      tries to close them.
    weightings: weighting -> its `choice`, a setting; the number of
      `candidates`, the `first` of them and the `differences` of the others to
      it; and per seed the best `epoch` and its `valid_loss`.
  """

  modalities: Sequence[str]
  idle: Sequence[str]
  weightings: Mapping[str, Mapping[str, Any]]

  def is_open(self, modalities: Sequence[str]) -> tuple[bool, ...]:
    """Returns for each of the named modalities whether it is not idle."""
    return tuple(m not in self.idle for m in modalities)

  def is_gated(self, name: str) -> bool:
    """Returns whether a weighting has chosen to close modalities."""
    return "closed" in self.weightings[name]["choice"]

  def write(self, workdir: str | os.PathLike) -> None:
    """Writes the choices into a workdir."""
    values = dataclasses.asdict(self)
    files.write_json(pathlib.Path(workdir) / _FILE, values)


def read(workdir: str | os.PathLike) -> Choices | None:
  """Reads the choices of a run; None for one of an earlier version.

  Raises:
    InputError: if the file cannot be read.
  """
  path = pathlib.Path(workdir) / _FILE
  if not path.exists():
    return None
  remedy = "copy it again, or train again"
  try:
    return Choices(**files.read_json(path, remedy))
  except TypeError as error:
    raise errors.InputError(f"{path}: {error}: {remedy}.") from error
