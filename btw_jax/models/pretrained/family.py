"""Families of pretrained models: the way from a configuration to parameters."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import chex

from btw_jax.models.pretrained import fields as fields_lib


@dataclasses.dataclass(frozen=True)
class Family:
  """A family of models, and the way from its files to parameters.

  Attributes:
    read_config: maps the fields of `config.json` and the architecture to a
      hashable configuration.
    shapes: maps a configuration to the shape of each parameter, by name.
    aliases: pairs (pattern, replacement) that turn the names in files into
      those of `shapes`, with the number of a layer in place of "*".
    unused: maps a configuration to patterns of names that the model does not
      read, for example the heads of a language model.
  """

  read_config: Callable[[fields_lib.Fields, str], Any]
  shapes: Callable[[Any], dict[str, tuple[int, ...]]]
  aliases: Sequence[tuple[str, str]] = ()
  unused: Callable[[Any], Sequence[str]] = lambda config: ()


@dataclasses.dataclass(frozen=True)
class Pretrained:
  """A model that was read from a folder.

  Attributes:
    folder: its path.
    architecture: its name in `config.json`.
    config: its configuration, of the family's own type; static under `jit`.
    params: name -> array; see `layers`.
    names: name of a parameter of one layer -> its name in the files.
  """

  folder: str
  architecture: str
  config: Any
  params: Mapping[str, chex.Array]
  names: Mapping[str, str]


def check_heads(fields: fields_lib.Fields, width: int, num_heads: int) -> None:
  """Checks that the attention heads divide the width.

  Raises:
    InputError: if they do not.
  """
  if width % num_heads:
    raise fields.wrong(
      "num_attention_heads", f"give a divisor of 'hidden_size', {width}"
    )
