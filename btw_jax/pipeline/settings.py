"""Settings given in Python, checked as flags are."""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import difflib
import math
import os
import re
from typing import Any

from btw_jax import errors
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections


@contextlib.contextmanager
def named_in_python() -> Iterator[None]:
  """Names flags in errors as Python names settings: `name=value`."""
  try:
    yield
  except errors.InputError as error:
    text = re.sub(r"--no(resume)\b", r"\1=False", str(error))
    raise errors.InputError(
      re.sub(r"--(?=[a-z_]+)(?!help)", "", text)
    ) from error


def make_config(values: Mapping[str, Any]) -> config_lib.RunConfig:
  """Makes a configuration of settings, by the names of their flags.

  Raises:
    InputError: if a setting is unknown or its value is wrong.
  """
  fields = {setting.name: setting.field for setting in config_lib.settings()}
  checked = check(values, fields, see="btw-jax train --help")
  with named_in_python():
    return config_lib.make(**checked)


def check(
  values: Mapping[str, Any],
  fields: Mapping[str, dataclasses.Field],
  *,
  see: str,
) -> dict[str, Any]:
  """Returns values in the types of their fields, name -> field.

  `see` is the command that lists all names.

  Raises:
    InputError: if a name is unknown or a value is wrong.
  """
  checked = {}
  for name, value in values.items():
    if name not in fields:
      close = difflib.get_close_matches(name, fields, 1)
      hint = f"did you mean {close[0]}?" if close else f"see {see}."
      raise errors.InputError(f"{name}={value!r}: no such setting: {hint}")
    checked[name] = _check(name, fields[name], value)
  return checked


def _check(name, field, value):
  """Returns a value in the type of its setting."""
  default, meta = field.default, field.metadata
  if isinstance(default, bool):
    if value not in (True, False):
      raise errors.InputError(f"{name}={value!r}: give True or False.")
    return bool(value)
  if isinstance(default, tuple):
    return _check_names(name, meta, value)
  if isinstance(default, int | float):
    return _check_number(name, field, value)
  if "numbers_or" in meta:
    return _check_numbers(name, meta, value)
  value = os.fspath(value)
  if value not in meta.get("choices", (value,)):
    known = ", ".join(choice for choice in meta["choices"] if choice)
    raise errors.InputError(f"{name}={value!r}: use one of {known}.")
  return value


def _check_names(name, meta, value):
  names = tuple(value.split(",") if isinstance(value, str) else value)
  names = tuple(n for n in names if n)
  for one in names:
    if one not in meta.get("each", (one,)):
      raise errors.InputError(
        f"{name}={one!r}: use some of {', '.join(meta['each'])}."
      )
  if "each" in meta and not names and not meta.get("optional"):
    raise errors.InputError(
      f"{name} is empty: use some of {', '.join(meta['each'])}."
    )
  return names


def _check_number(name, field, value):
  kind, meta = type(field.default), field.metadata
  low, high = meta.get("low", -math.inf), meta.get("high", math.inf)
  try:
    number = kind(value)
    is_valid = number == float(value) and low <= number <= high
  except (TypeError, ValueError, OverflowError):
    is_valid = False
  if not is_valid or not math.isfinite(number):
    noun = "a whole number" if kind is int else "a number"
    span = (
      f"of at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
    )
    raise errors.InputError(f"{name}={value!r}: give {noun} {span}.")
  if not config_sections.is_moderate(number):
    raise errors.InputError(f"{name}={value!r}: {config_sections.MODERATE}.")
  return number


def _check_numbers(name, meta, value):
  """Returns numbers, or the word that may take their place, as a text."""
  if isinstance(value, str):
    parts = value.split(",")
  else:
    parts = list(value) if isinstance(value, list | tuple) else [value]
  low, high = meta["low"], meta.get("high", math.inf)
  for part in parts:
    if part == meta["numbers_or"]:
      continue
    try:
      number = float(part)
    except (TypeError, ValueError):
      number = math.nan
    above = number > low if high == math.inf else number >= low
    is_valid = math.isfinite(number) and config_sections.is_moderate(number)
    if not (above and number <= high and is_valid):
      span = f"{low:g} to {high:g}" if high < math.inf else f"above {low:g}"
      raise errors.InputError(
        f"{name}={part!r}: give numbers {span}, or {meta['numbers_or']!r}."
      )
  return ",".join(map(str, parts))
