"""The reader of the logs of lm-evaluation-harness and lmms-eval.

Each line of `samples_*.jsonl` is a question. A task of multiple choice has one
log-likelihood per option, `["-1.2", "False"]`; other tasks have an answer as
text. lmms-eval leaves out `doc`, and with it the texts of the options.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import choices
from btw_jax.data.answers import conditions
from btw_jax.data.answers import eval_fields
from btw_jax.data.answers import files
from btw_jax.data.answers import labels
from btw_jax.data.answers import questions
from btw_jax.data.answers import read_options
from btw_jax.data.answers import scores

# Fields of a document that hold the question and its options.
_SKIP = (
  "question", "query", "choices", "options", "endings", "answer", "answers",
  "answerKey", "gold", "label", "target", "hint", *choices.letters(26),
)  # fmt: skip


class _Log:
  """The lines of a log, of which only what is needed is kept."""

  def __init__(self, path):
    self.path = path
    self.ids, self.places, self.targets, self.texts = [], [], [], []
    self.scores, self.lengths, self.answers = [], [], []
    self.columns = questions.Columns(_SKIP)
    self.filter, self.other_filters, self.unconditional = None, 0, 0

  def where(self, row):
    """Returns the file and the place of a question."""
    return f"{self.path}: {self.places[row]}"


def recognise(record: Mapping[str, Any]) -> bool:
  """Returns True if a line is one of these logs."""
  return "doc_id" in record and (
    "filtered_resps" in record or "resps" in record
  )


def read(
  path: str, options: read_options.ReadOptions
) -> list[conditions.Condition]:
  """Reads a log; its one condition has no name.

  Raises:
    InputError: naming the first line that is wrong.
  """
  log = _Log(path)
  for place, record in files.read_records(path):
    _add(log, place, record, options)
  if log.scores and log.answers:
    raise errors.InputError(
      f"{path}: some lines have log-likelihoods, others have texts: give the"
      " log of one task."
    )
  return [_scored(log, options) if log.scores else _decided(log)]


def _add(log, place, record, options):
  """Adds a line of the file to the log."""
  where = f"{log.path}: {place}"
  if not isinstance(record, Mapping) or not recognise(record):
    raise errors.InputError(
      f"{where} lacks 'doc_id' or 'filtered_resps': give the samples_*.jsonl"
      " that --log_samples writes."
    )
  if log.filter is None:
    log.filter = record.get("filter", "")
  if record.get("filter", "") != log.filter:
    log.other_filters += 1
    return
  answer = record.get("filtered_resps") or record.get("resps")
  if not isinstance(answer, list) or not answer:
    raise errors.InputError(
      f"{where} has no answer in 'filtered_resps': run the evaluation again for"
      " this question."
    )
  doc = record.get("doc")
  doc = doc if isinstance(doc, Mapping) else {}
  texts = eval_fields.option_texts(doc)
  continuations = eval_fields.continuations(record)
  values = eval_fields.read_scores(answer, where)
  if values is None:
    log.answers.append(eval_fields.read_text(answer))
  else:
    values, texts, continuations = _match(
      log, where, values, texts, continuations
    )
    log.scores.append(values)
    log.lengths.append(
      eval_fields.lengths(continuations or texts, options.length)
    )
  log.ids.append(str(record["doc_id"]))
  log.places.append(place)
  log.targets.append(record.get("target"))
  log.texts.append(texts)
  log.columns.add(doc)


def _match(log, where, values, texts, continuations):
  """Checks the number of options; returns scores, texts and continuations."""
  n = len(values)
  half = n // 2
  repeats = continuations and continuations[:half] == continuations[half:]
  if n % 2 == 0 and n > 2 and (2 * len(texts) == n or (not texts and repeats)):
    # The metric acc_mutual_info scores each option again without a question.
    log.unconditional += 1
    values, continuations, n = values[:half], continuations[:half], half
  if len(texts) != n and len(set(continuations)) == n:
    # Letters do not tell which option they stand for.
    texts = () if continuations == choices.letters(n) else continuations
  if n < 2:
    raise errors.InputError(
      f"{where} has the score of one option: give a task of multiple choice."
    )
  if texts and len(texts) != n:
    raise errors.InputError(
      f"{where} has {n} scores, but {len(texts)} options: run the evaluation"
      " again for this question."
    )
  return values, texts, continuations if len(continuations) == n else ()


def _scored(log, options):
  if options.scores == "auto":
    options = dataclasses.replace(options, scores="log_likelihoods")
  values = scores.pad(log.scores)
  known = all(log.lengths)
  notes = questions.count_note(
    log.unconditional, len(log.ids),
    "have scores of the options without the question, which are left out",
  )  # fmt: skip
  counts = [len(row) for row in log.scores]
  return _questions(log, counts, log.texts, notes).scored(
    values, options, scores.pad(log.lengths) if known else None
  )


def _decided(log):
  names = ()
  texts = log.texts
  if not any(texts):
    names = questions.shared_names(log.targets)
    texts = [names] * len(log.ids)
  counts = np.array([len(row) for row in texts], int)
  decisions = np.array(
    [
      choices.read_answer(answer, len(row), row)
      for answer, row in zip(log.answers, texts, strict=True)
    ],
    int,
  )
  asked = _questions(log, counts, texts, names=names)
  return asked.decided(decisions, counts)


def _questions(log, counts, texts, notes=(), names=()):
  """Returns the questions of a log."""
  if log.other_filters:
    notes = [
      *notes,
      f"the filter {log.filter!r} is read; {log.other_filters} lines of other"
      " filters are left out",
    ]
  # The target of a task of multiple choice is a position, even if the options
  # are numbers.
  right = labels.read(
    log.targets, counts, texts, log.where, positions_first=bool(log.scores)
  )
  return questions.Questions(
    log.path, log.ids, log.places, labels=right,
    texts=texts if any(texts) else None, names=names,
    columns=log.columns.finish(), notes=notes,
  )  # fmt: skip
