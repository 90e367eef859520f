"""The reader of the files of the PID of large vision-language models.

A JSON list holds one record per question. `conversations[1]` has the label, a
letter, and the probabilities of the options that the model gives from the
picture (`v_prob`), from the text (`l_prob`), and from both (`vl_prob`).
"""

from collections.abc import Mapping
from typing import Any

from btw_jax import errors
from btw_jax.data.answers import conditions
from btw_jax.data.answers import files
from btw_jax.data.answers import labels
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options
from btw_jax.data.answers import scores

FIELDS = {"vision": "v_prob", "text": "l_prob", "both": "vl_prob"}
_SKIP = ("id", "conversations", "num_options")


def recognise(record: Mapping[str, Any]) -> bool:
  """Returns True if a record is one of these files."""
  turns = record.get("conversations")
  return isinstance(turns, list) and any(map(_has_probs, turns))


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads the conditions vision, text and both.

  Raises:
    InputError: naming the first record that is wrong.
  """
  ids, places, right, counts = [], [], [], []
  groups = questions.Columns(_SKIP)
  values = {name: [] for name in FIELDS}
  for place, record in files.read_records(path):
    where = f"{path}: {place}"
    if not isinstance(record, Mapping) or not recognise(record):
      raise errors.InputError(
        f"{where} has no 'vl_prob' in 'conversations': give the file with the"
        " probabilities of all three conditions."
      )
    turn = next(t for t in record["conversations"] if _has_probs(t))
    ids.append(str(record.get("id", len(ids))))
    places.append(place)
    count = _num_options(where, record, turn)
    for name, field in FIELDS.items():
      values[name].append(scores.read_numbers(turn[field][:count], where))
    right.append(turn.get("label"))
    counts.append(count)
    groups.add(record)
  columns = groups.finish()
  right = labels.read(
    right, counts, [()] * len(ids), lambda row: f"{path}: {places[row]}"
  )
  return [
    questions.Questions(
      f"{path}, condition {name!r}", ids, places, name,
      labels=right, columns=columns,
    ).scored(scores.pad(rows), options)
    for name, rows in values.items()
  ]  # fmt: skip


def _has_probs(turn):
  return isinstance(turn, Mapping) and "vl_prob" in turn


def _num_options(where, record, turn):
  """Returns the number of options; checks the three lists against it."""
  for field in FIELDS.values():
    if not isinstance(turn.get(field), list):
      raise errors.InputError(
        f"{where} has no list {field!r}: give the probabilities of the options."
      )
  sizes = {field: len(turn[field]) for field in FIELDS.values()}
  count = questions.read_count(
    where, record.get("num_options", turn.get("num_options"))
  )
  if not count:
    count = sizes["vl_prob"]
    if len(set(sizes.values())) > 1:
      raise errors.InputError(
        f"{where} has lists of different lengths"
        f" ({', '.join(f'{k} {v}' for k, v in sizes.items())}): give one"
        " probability per option in each."
      )
  for field, size in sizes.items():
    if size < count:
      raise errors.InputError(
        f"{where} has {count} options, but {size} numbers in {field!r}: give"
        " one probability per option."
      )
    if any(turn[field][count:]):
      raise errors.InputError(
        f"{where} has {count} options, but more numbers than zeros after them"
        f" in {field!r}: mend 'num_options'."
      )
  return count
