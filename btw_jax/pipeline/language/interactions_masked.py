"""Interactions by masking: passes with both sources, and with each alone.

The passes become answers as an audit reads them, and the audit decomposes them:
nothing is written twice, and `experiments.audit` measures the same from the
exported files. "Modality interaction in multimodal language models by Partial
Information Decomposition", arXiv 2606.00959.

Without its text, a question about an image could be any question of the world.
The pass of the image alone is then less certain than the truth of the task, or
even by the rule of `answers.LEAST_MASS`: R and U1 become smaller, S larger.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from btw_jax.analysis import interference
from btw_jax.data.answers import arrays as answer_arrays
from btw_jax.data.answers import conditions
from btw_jax.data.questions import question_set
from btw_jax.data.questions import vocabulary as vocabulary_lib
from btw_jax.pipeline.audit import interactions as audit_interactions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import roles
from btw_jax.pipeline.language import run as run_lib
from btw_jax.pipeline.language import truth as truth_lib

# Name of the column that tells the wordings of a question apart.
CONTROL = "wording"
_COLUMN = f"group_{CONTROL}"


def passes(
  run: run_lib.FinishedRun,
  questions: question_set.QuestionSet,
  profile: question_set.QuestionSet,
  *,
  seed: int,
) -> dict[int | None, np.ndarray]:
  """Answers questions as they are, and with each modality masked.

  Args:
    run: the models of S seeds.
    questions: N questions.
    profile: the questions whose embeddings the noise imitates.
    seed: of the noise.

  Returns:
    Masked modality, or None -> `[S, N, K]` log-probabilities.
  """
  stats = run.statistics(profile)
  answered = {None: run.log_probs(questions)}
  for modality in range(questions.present.shape[1]):
    answered[modality] = run.log_probs(
      questions, masked=[modality], stats=stats, seed=seed
    )
  return answered


def to_arrays(
  answered: Mapping[int | None, np.ndarray],
  questions: question_set.QuestionSet,
  sources: truth_lib.Sources,
  vocabulary: vocabulary_lib.Vocabulary,
) -> dict[str, np.ndarray]:
  """Returns the arrays of a task as an audit reads them from an `.npz` file.

  A pass with one source is the pass in which the other one is masked. With a
  control, the names of the conditions contain it; any other modality is in no
  name, since all passes show it.

  Args:
    answered: masked modality, or None -> `[N, K]` log-probabilities.
    questions: the N questions of a task.
    sources: the two sources and the control.
    vocabulary: gives the options their names.
  """
  offered = questions.options != vocabulary_lib.PAD
  num_options = int(offered.sum(axis=1).max())
  offered = offered[:, :num_options]

  def scores(masked):
    return np.where(offered, answered[masked][:, :num_options], np.nan)

  return {
    "both": scores(None),
    sources.condition(sources.first): scores(sources.second),
    sources.condition(sources.second): scores(sources.first),
    "labels": np.asarray(questions.labels),
    "ids": np.asarray(questions.ids),
    "options": np.array(
      [vocabulary.words[t] for t in questions.options[0, :num_options]]
    ),
    _COLUMN: np.asarray(questions.wordings),
  }


def decompose(
  arrays: Mapping[str, np.ndarray],
) -> audit_interactions.Interaction:
  """Decomposes the arrays of a task as an audit does with its defaults."""
  answers = _read(arrays)
  (pair,) = roles.pairs(roles.assign(list(answers.decisions)))
  options = options_lib.Options(control=CONTROL if pair.control else "")
  return audit_interactions.measure(answers, pair, options)


def mean(
  interactions: Sequence[audit_interactions.Interaction],
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the atoms `[S, 4]` of all seeds, and intervals `[4, 2]` of means.

  The questions are resampled, and are the same for all seeds.
  """
  atoms = np.array(
    [
      [one.row["atoms"][atom]["mean"] for atom in audit_interactions.ATOMS]
      for one in interactions
    ]
  )
  by_question = np.mean([one.atoms[:4] for one in interactions], axis=0)
  counted = ~np.isnan(by_question[0])
  options = options_lib.Options()
  return atoms, interference.interval(
    by_question[:, counted], num_resamples=options.num_resamples
  )


def _read(arrays) -> conditions.Answers:
  shared = {"labels", "ids", "options", _COLUMN}
  return answer_arrays.from_arrays(
    {name: x for name, x in arrays.items() if name not in shared},
    arrays["labels"],
    arrays["ids"],
    arrays["options"],
    {CONTROL: arrays[_COLUMN]},
  )
