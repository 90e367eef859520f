"""The formats of files with answers, and the way to one of them."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import re
import types
from typing import Any, NamedTuple

from btw_jax import errors
from btw_jax.data.answers import arrays
from btw_jax.data.answers import conditions
from btw_jax.data.answers import eval_log
from btw_jax.data.answers import files
from btw_jax.data.answers import joining
from btw_jax.data.answers import pid_lvlm
from btw_jax.data.answers import read_options
from btw_jax.data.answers import table
from btw_jax.data.answers import top_logprobs
from btw_jax.data.answers import vlmevalkit

_JSON = ("json",)
_TABLES = ("csv", "tsv", "parquet", "xlsx")


class Format(NamedTuple):
  """A format of files with answers.

  Attributes:
    module: the reader, with a function `read(path, options)`.
    files: the files, in words.
    kinds: the kinds of files, as `files.kind_of` names them.
    recognise: the first record, or the columns of a table -> True if the file
      has this format.
  """

  module: types.ModuleType
  files: str
  kinds: tuple[str, ...]
  recognise: Callable[[Mapping[str, Any]], bool]


FORMATS = {
  "lm_eval": Format(
    eval_log, "samples_*.jsonl of lm-evaluation-harness", _JSON,
    lambda record: eval_log.recognise(record) and "doc" in record,
  ),
  "lmms_eval": Format(
    eval_log, "*_samples_*.jsonl of lmms-eval", _JSON, eval_log.recognise
  ),
  "vlmevalkit": Format(
    vlmevalkit, "xlsx, tsv or json of VLMEvalKit", (*_JSON, *_TABLES),
    vlmevalkit.recognise,
  ),
  "pid_lvlm": Format(
    pid_lvlm, "json with v_prob, l_prob and vl_prob", _JSON, pid_lvlm.recognise
  ),
  "top_logprobs": Format(
    top_logprobs, "jsonl of servers, or json of inspect-ai, with top_logprobs",
    _JSON, top_logprobs.recognise,
  ),
  "table": Format(
    table, "csv, tsv or parquet with id and p_<option> or answer", _TABLES,
    table.recognise,
  ),
  "arrays": Format(
    arrays, "npz, or a folder of npy", ("arrays",), lambda record: True
  ),
}  # fmt: skip


def parse(text: str) -> dict[str, str]:
  """Returns condition -> path of the text of `--input`.

  The text is one path, whose condition has the name "", or
  `both=a.jsonl,vision=b.jsonl`.

  Raises:
    InputError: if a name is missing or repeats, or a path is empty.
  """
  if "=" not in text:
    if not text.strip():
      raise errors.InputError("--input: is empty: give a file with answers.")
    parts = text.split(",")
    if len(parts) > 1 and all(pathlib.Path(part).exists() for part in parts):
      raise errors.InputError(
        f"--input={text}: names several files: name the condition of each, as"
        " in both=FILE,vision=FILE."
      )
    return {"": text.strip()}
  inputs = {}
  # A comma that no name follows is part of a path.
  for part in re.split(r",(?=[^,=]*=)", text):
    name, equals, path = (piece.strip() for piece in part.partition("="))
    unnamed = "" if pathlib.Path(path).exists() else path.partition(",")[2]
    if not equals or not name or not path or unnamed:
      raise errors.InputError(
        f"--input={text}: {(unnamed or part.strip())!r} is not NAME=FILE: write"
        " both=FILE,vision=FILE."
      )
    joining.check_name(f"--input={text}", name)
    if name in inputs:
      raise errors.InputError(
        f"--input={text}: has the name {name!r} twice: use different names."
      )
    inputs[name] = path
  return inputs


def read(
  inputs: Mapping[str, str], options: read_options.ReadOptions
) -> conditions.Answers:
  """Reads and joins the files of conditions.

  Args:
    inputs: condition -> path, as `parse` returns it.
    options: the format and the meaning of the scores.

  Raises:
    InputError: one line that names the file and the first thing that is wrong.
  """
  options.check()
  conditions_read = []
  for name, path in inputs.items():
    conditions_read += _read_file(name, path, options)
  return joining.join(conditions_read)


def recognise(path: str) -> str:
  """Returns the name of the format of a file or folder.

  Raises:
    InputError: listing the formats if it has none of them.
  """
  kind = files.kind_of(files.check_exists(path))
  record = _first_record(path, kind)
  for name, known in FORMATS.items():
    if kind in known.kinds and known.recognise(record):
      return name
  if kind in _TABLES:
    columns = ", ".join(map(str, list(record)[:8]))
    raise errors.InputError(
      f"{path}: has the columns {columns}: give a table with id, and p_<option>"
      " or answer, or one of VLMEvalKit, with index and prediction."
    )
  known = "; ".join(f"{name} ({f.files})" for name, f in FORMATS.items())
  raise errors.InputError(
    f"{path}: has none of the formats: {known}: give such a file, or --format."
  )


def _read_file(name, path, options):
  """Returns the conditions of a file; a given name replaces that of one."""
  place = files.check_exists(path)
  if place.is_dir() and not list(pathlib.Path(place).glob("*.npy")):
    raise errors.InputError(
      f"{path}: is a folder without .npy files: give files, as in"
      " --input=both=FILE,vision=FILE."
    )
  if options.format != "auto":
    errors.check_names("format", [options.format], list(FORMATS), "format")
  chosen = recognise(path) if options.format == "auto" else options.format
  held = FORMATS[chosen].module.read(str(path), options)
  if not name:
    return held
  if len(held) > 1:
    names = ", ".join(condition.name for condition in held)
    raise errors.InputError(
      f"{path}: has {len(held)} conditions ({names}), so it cannot be called"
      f" {name!r}: give it without a name."
    )
  return [dataclasses.replace(held[0], name=name)]


def _first_record(path, kind):
  """Returns the first record of a file, or its columns, as a mapping."""
  if kind == "arrays":
    return {}
  if kind != "json":
    return dict.fromkeys(files.read_columns(path))
  _, record = next(files.read_records(path), ("", {}))
  return record if isinstance(record, Mapping) else {}
