"""GapScores of questions, and the weights that fine-tuning could give them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from btw_jax import errors
from btw_jax.analysis import gap_score
from btw_jax.analysis import pid
from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import roles

_TEXTS = ("text", "language", "l", "question", "prompt", "caption")


class TrainingWeights(NamedTuple):
  """The scores and weights of N questions.

  Attributes:
    summary: a row for JSON.
    columns: name -> `[N]`, the columns of training_weights.csv.
  """

  summary: Mapping[str, Any]
  columns: Mapping[str, np.ndarray]


def compute(
  answers: conditions.Answers,
  pair: roles.Pair,
  atoms: pid.Decomposition,
  options: options_lib.Options,
) -> TrainingWeights:
  """Scores all questions, and weights the highest scores.

  `options.shortcut` is one of the two sources, or empty.
  """
  shortcut = options.shortcut or _choose_shortcut(pair)
  if shortcut == pair.first:
    atoms = atoms._replace(unique1=atoms.unique2, unique2=atoms.unique1)
  names = (pair.both, pair.only_first, pair.only_second)
  scores = gap_score.score(atoms, *(answers.log_probs[n] for n in names))
  scores = gap_score.GapScore(*(np.nan_to_num(np.asarray(x)) for x in scores))
  num_top = round(options.top_share * len(answers))
  weights = gap_score.training_weights(scores, num_top)
  columns = {name: np.asarray(x) for name, x in scores._asdict().items()}
  summary = {
    "shortcut": shortcut,
    "num_top": num_top,
    "num_gaps": int(np.sum(weights == gap_score.GAP_WEIGHT)),
    "num_shortcuts": int(np.sum(weights == gap_score.SHORTCUT_WEIGHT)),
    "means": {name: float(x.mean()) for name, x in columns.items()},
  }
  return TrainingWeights(summary, columns | {"weight": weights})


def check_shortcut(pairs: Sequence[roles.Pair], shortcut: str) -> None:
  """Checks that a shortcut, if given, is a source of the pair that is scored.

  Raises:
    InputError: naming the sources.
  """
  plain = [pair for pair in pairs if not pair.control][:1]
  for pair in plain if shortcut else ():
    errors.check_names(
      "shortcut", [shortcut], [pair.first, pair.second], "source"
    )


def _choose_shortcut(pair):
  """Returns the text if it is a source, else the second source."""
  return pair.first if pair.first.lower() in _TEXTS else pair.second
