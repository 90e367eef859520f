"""The reader of answers of servers, with lists of the likeliest tokens.

A record holds a response of the OpenAI form, which vLLM and other servers use:
`choices[0].logprobs.content[].top_logprobs`. It may be inside `response.body`
(the batch API), or a sample of an inspect-ai log.
"""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import files
from btw_jax.data.answers import labels
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options
from btw_jax.data.answers import scores
from btw_jax.data.answers import token_lists

_LABEL_FIELDS = ("label", "target", "answer")
_IDS = ("custom_id", "doc_id", "id")
_SKIP = (
  *_IDS, *_LABEL_FIELDS, "object", "created", "model", "system_fingerprint",
  "error", "num_options", "service_tier", "input", "uuid", "question",
)  # fmt: skip
_ADVICE = "ask the server for logprobs=true and top_logprobs=20"


def recognise(record: Mapping[str, Any]) -> bool:
  """Returns True if a record is a response, or a log of inspect-ai."""
  samples = record.get("samples")
  if isinstance(samples, list) and samples:
    record = samples[0]
  return isinstance(record, Mapping) and bool(_response_choices(record))


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads responses; their one condition has no name.

  Raises:
    InputError: naming the first record that is wrong.
  """
  ids, places, raw, texts, lists, counts = [], [], [], [], [], []
  groups = questions.Columns(_SKIP)
  guess = None
  for place, record in _records(path):
    where = f"{path}: {place}"
    entries = _entries(where, record)
    label = next((record[f] for f in _LABEL_FIELDS if f in record), None)
    options_texts = _option_texts(record)
    count = len(options_texts) or questions.read_count(
      where, record.get("num_options")
    )
    if not count:
      guess = guess or _guess_count(path)
      count = guess
    ids.append(_id(where, record))
    places.append(place)
    raw.append(label)
    texts.append(options_texts)
    counts.append(count)
    lists.append(token_lists.summarise(entries, count, options_texts))
    groups.add(record)
  right = labels.read(raw, counts, texts, lambda row: f"{path}: {places[row]}")
  notes = []
  if guess:
    notes.append(
      f"the file does not tell the options, so each question has {guess}, the"
      " letters that labels and answers name; add num_options or options"
    )
  asked = questions.Questions(
    path, ids, places,
    labels=right, texts=texts if all(texts) else None,
    columns=groups.finish(), notes=notes,
  )  # fmt: skip
  return [_condition(asked, lists, options)]


def _condition(asked, lists, options):
  """Returns the condition of the lists of all questions."""
  unlisted = np.array([row.position is None for row in lists])
  small = np.array([row.mass < options.least_mass for row in lists])
  uniform = unlisted | small
  masses = scores.pad([row.log_masses for row in lists])
  ceiling = scores.pad([row.ceiling for row in lists])
  present = ~np.isnan(masses)
  cut = ~uniform & (present & (masses == -np.inf)).any(1)
  decisions = np.where(
    unlisted, conditions.NONE, np.where(present, masses, -np.inf).argmax(1)
  )
  flat = present & uniform[:, None]
  counts = present.sum(1, keepdims=True)
  condition = dataclasses.replace(
    asked,
    notes=[
      *asked.notes,
      *_notes(lists, unlisted, small & ~unlisted, cut, options.least_mass),
    ],
  ).scored(
    np.where(flat, 0.0, masses),
    read_options.ReadOptions(scores="logits"),
    decisions=decisions,
  )
  ceiling = np.where(flat, -np.log(counts), ceiling)
  ceiling = np.where(present, ceiling, -np.inf)
  return dataclasses.replace(condition, ceiling=ceiling if cut.any() else None)


def _notes(lists, unlisted, small, cut, least_mass):
  """Returns the notes on questions whose list does not tell everything."""
  later = sum(bool(row.position) for row in lists)
  texts = {
    "have no letter of an option in the lists of tokens: they have no decision"
    " and the uniform distribution": unlisted.sum(),
    f"have less than {least_mass:g} of the probability on letters of options:"
    " they have the uniform distribution": small.sum(),
    "have options outside the list of tokens: only the largest possible"
    " probability of these is known": cut.sum(),
    "have the first letter of an option after the first token": later,
  }
  return [
    note
    for text, count in texts.items()
    for note in questions.count_note(int(count), len(lists), text)
  ]


def _records(path) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """Yields place and content of each response or sample."""
  for place, record in files.read_records(path):
    if isinstance(record, Mapping) and isinstance(record.get("samples"), list):
      for number, sample in enumerate(record["samples"], 1):
        yield f"sample {number}", sample
    else:
      yield place, record


def _response_choices(record):
  """Returns `choices` of the response in a record, or an empty list."""
  for body in (record.get("output"), record.get("response"), record):
    if isinstance(body, Mapping):
      inner = body.get("body")
      answers = (inner if isinstance(inner, Mapping) else body).get("choices")
      if isinstance(answers, list) and answers and (
        isinstance(answers[0], Mapping)
      ):  # fmt: skip
        return answers
  return []


def _entries(where, record):
  """Returns chosen token and listed tokens of each token of an answer."""
  if not isinstance(record, Mapping):
    raise errors.InputError(
      f"{where} is no JSON object: give one response per line."
    )
  answers = _response_choices(record)
  if not answers:
    raise errors.InputError(
      f"{where} has no 'choices' of a response: delete the record, or ask the"
      " server again."
    )
  try:
    entries = token_lists.read_entries(answers[0].get("logprobs"))
  except (KeyError, TypeError, ValueError, AttributeError):
    raise errors.InputError(
      f"{where}: 'logprobs' is not a list of tokens with {{token, logprob}}:"
      f" {_ADVICE}."
    ) from None
  if not any(listed for _, _, listed in entries):
    raise errors.InputError(f"{where} has no 'top_logprobs': {_ADVICE}.")
  return entries


def _id(where, record):
  name = next((record[f] for f in _IDS if record.get(f) is not None), None)
  if name is None:
    raise errors.InputError(
      f"{where} has none of {', '.join(_IDS)}: add one of them to each record."
    )
  return str(name)


def _option_texts(record):
  """Returns the texts of the options of a question, or nothing."""
  for field in ("options", "choices"):
    value = record.get(field)
    if isinstance(value, Mapping):
      value = list(value.values())
    if isinstance(value, list) and value and (
      not any(isinstance(item, Mapping | list) for item in value)
    ):  # fmt: skip
      return tuple(str(text).strip() for text in value)
  return ()


def _guess_count(path):
  """Returns the number of options by the letters of labels and answers."""
  positions = set()
  for place, record in _records(path):
    entries = _entries(f"{path}: {place}", record)
    label = next((record[f] for f in _LABEL_FIELDS if f in record), None)
    positions.add(choices.read_answer(label))
    positions.add(token_lists.position(entries[0][0]))
  # "I" begins sentences: it is an option only if H is.
  if 7 not in positions:
    positions.discard(8)
  return max(2, max(positions) + 1)
