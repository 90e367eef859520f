"""Files of a fine-tuning: what it reads, and what tells it from another one."""

from collections.abc import Mapping, Sequence
import csv
import hashlib
import pathlib
import shutil
from typing import Any

from btw_jax import errors
from btw_jax.data import fingerprints
from btw_jax.data.sources import questions as questions_lib
from btw_jax.pipeline import config_sections
from btw_jax.pipeline import files
from btw_jax.pipeline.pretrained import finetune_config

CONFIG, RESULTS, METRICS = "config.json", "results.json", "metrics.csv"
# Checkpoints: what training goes on from, and the adapters in the end.
SNAPSHOT, FINAL = "snapshot", "adapters"
# The folder of the changed model.
MODEL = "model"
_MOST_WEIGHT = 1e6


def read_weights(
  path: str, entries: Sequence[questions_lib.Entry]
) -> dict[str, float]:
  """Reads the factors of questions in the loss.

  Args:
    path: a table with the columns `id` and `weight`, as an audit leaves it.
    entries: the questions; those that the table lacks have the factor 1.

  Returns:
    Id -> factor.

  Raises:
    InputError: if the table cannot be read or has other questions.
  """
  need = "give the training_weights.csv of an audit, with columns id and weight"
  try:
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
      reader = csv.DictReader(file)
      rows = list(reader)
  except (OSError, ValueError, csv.Error) as error:
    raise errors.InputError(
      f"--weights={path}: cannot be read ({error}): {need}."
    ) from error
  if not rows or not {"id", "weight"} <= set(reader.fieldnames or ()):
    raise errors.InputError(
      f"--weights={path}: has no rows with the columns id and weight: {need}."
    )
  weights = {}
  for number, row in enumerate(rows, 2):
    try:
      weights[row["id"]] = float(row["weight"])
    except (TypeError, ValueError) as error:
      raise errors.InputError(
        f"--weights={path}: the weight in line {number} is {row['weight']!r}:"
        " give a number."
      ) from error
  known = {entry.id for entry in entries}
  for name, weight in weights.items():
    if name not in known:
      raise errors.InputError(
        f"--weights={path}: has the id {name!r}, which the questions lack: give"
        " the weights of the same questions."
      )
    if not 0 <= weight <= _MOST_WEIGHT:
      raise errors.InputError(
        f"--weights={path}: the weight of {name!r} is {weight:g}: give a number"
        f" from 0 to {_MOST_WEIGHT:g}."
      )
  return weights


def describe(config: finetune_config.FinetuneConfig) -> dict[str, Any]:
  """Returns what `config.json` is to say: settings, and contents of files."""
  return {
    "config": config_sections.to_json(config, free=False),
    "contents": {
      "--pretrained": fingerprints.of_folder(config.pretrained),
      "--questions": _of_file(config.questions),
      "--weights": _of_file(config.weights) if config.weights else "",
    },
  }


def check_same(path: pathlib.Path, content: Mapping[str, Any]) -> None:
  """Refuses a folder that holds a run of other settings or files.

  Args:
    path: the workdir.
    content: from `describe`.

  Raises:
    InputError: naming the first flag that differs.
  """
  if not (path / CONFIG).exists():
    return
  before = files.read_json(path / CONFIG, "remove it, or train with --noresume")
  remedy = "choose another folder, or start anew with --noresume"
  for flag, fingerprint in content["contents"].items():
    if before.get("contents", {}).get(flag) != fingerprint:
      raise errors.InputError(
        f"--workdir={path}: holds a run whose {flag} had another content:"
        f" {remedy}."
      )
  then = before.get("config", {})
  for name, value in content["config"].items():
    if then.get(name) != value:
      raise errors.InputError(
        f"--workdir={path}: holds a run with another --{name}"
        f" ({then.get(name)!r}): {remedy}."
      )


def begin(
  path: pathlib.Path, content: Mapping[str, Any], *, resume: bool
) -> None:
  """Writes `config.json`, after removing a run that is not to be resumed."""
  if not resume:
    # First: what is there belongs to another run from now on.
    for name in (SNAPSHOT, FINAL):
      shutil.rmtree(path / "checkpoints" / name, ignore_errors=True)
    shutil.rmtree(path / MODEL, ignore_errors=True)
    files.remove([path / RESULTS, path / METRICS])
  files.write_json(path / CONFIG, content)


def _of_file(path):
  """Returns a fingerprint of the content of a file."""
  return hashlib.blake2b(
    pathlib.Path(path).read_bytes(), digest_size=16
  ).hexdigest()
