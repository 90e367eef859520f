"""Weights of training questions: by GapScore, and by its controls.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from btw_jax.analysis import gap_score
from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid
from btw_jax.data.questions import question_set
from btw_jax.data.questions import vocabulary
from btw_jax.pipeline.audit import batches as batches_lib
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.language import interactions_masked as masked_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.pipeline.language import truth as truth_lib

UNIFORM, GAP_SCORE = "uniform", "GapScore"


class Profile(NamedTuple):
  """The properties of N questions for each of S models.

  Attributes:
    scores: `[S, N]` scores.
    is_right: `[S, N]` bool, whether the model's answer is right.
    lost: `[S, N]`, the probability that the right answer loses when the image
      is masked.
  """

  scores: gap_score.GapScore
  is_right: np.ndarray
  lost: np.ndarray


def profile(
  run: run_lib.FinishedRun, questions: question_set.QuestionSet, *, seed: int
) -> Profile:
  """Profiles questions by passes with both sources and with each alone.

  Args:
    run: S models.
    questions: N questions, whose embeddings the masks imitate too.
    seed: of masks and batches.
  """
  answered = masked_lib.passes(run, questions, questions, seed=seed)
  labels = np.broadcast_to(
    np.asarray(questions.labels)[:, None], (*answered[None].shape[:2], 1)
  )
  right = {
    masked: np.exp(np.take_along_axis(answered[masked], labels, -1)[..., 0])
    for masked in (None, truth_lib.IMAGE)
  }
  return Profile(
    scores(answered, questions, seed=seed),
    np.argmax(answered[None], axis=-1) == questions.labels,
    right[None] - right[truth_lib.IMAGE],
  )


def variants(
  profiled: Profile, num_top: int, num_seeds: int, *, seed: int = 0
) -> dict[str, np.ndarray]:
  """Returns variant -> `[num_seeds, N]` factor of each question in the loss.

  The seed s of a fine-tuning gets the weights of model s modulo S. The controls
  are those of the source: no weights; those of GapScore at random; questions
  that the model gets wrong; the `num_top` questions that need the image most.

  Args:
    profiled: of S models and N questions.
    num_top: number of questions that GapScore and ablation weigh.
    num_seeds: number of seeds of the fine-tuning.
    seed: of the random weights.
  """
  models = np.arange(num_seeds) % len(profiled.lost)
  by_score = np.stack(
    [
      gap_score.training_weights(
        jax.tree.map(lambda x, s=s: x[s], profiled.scores), num_top
      )
      for s in range(len(profiled.lost))
    ]
  )[models]
  rng = np.random.default_rng(seed)
  lost = np.stack([_is_top(x, num_top) for x in profiled.lost])
  return {
    UNIFORM: np.ones_like(by_score),
    GAP_SCORE: by_score,
    "random": rng.permuted(by_score, axis=1),
    "accuracy": _raised(~profiled.is_right)[models],
    "ablation": _raised(lost)[models],
  }


def scores(
  answered: Mapping[int | None, np.ndarray],
  questions: question_set.QuestionSet,
  *,
  seed: int,
) -> gap_score.GapScore:
  """Scores questions, which are decomposed task by task.

  The second source counts as the shortcut: the text, or the sound where the
  text is held fixed.

  Args:
    answered: masked modality, or None -> `[S, N, K]` log-probabilities.
    questions: N questions.
    seed: of the batches.

  Returns:
    The scores `[S, N]`; 0 for the only question of a wording that is held
    fixed.
  """
  offered = np.asarray(questions.options) != vocabulary.PAD
  first, second = (np.array(answered[None]) for _ in range(2))
  for task in np.unique(questions.tasks):
    rows, sources = questions.tasks == task, truth_lib.sources(str(task))
    # A pass with one source is the pass in which the other one is masked.
    first[:, rows] = answered[sources.second][:, rows]
    second[:, rows] = answered[sources.first][:, rows]
  passes = passes_lib.Passes(
    *(np.asarray(_RAISE(x, offered)) for x in (answered[None], first, second))
  )
  atoms = _decompose(passes, _controls(questions), seed)
  scored = _SCORE(pid.Decomposition(*atoms, 0.0), *passes)
  return gap_score.GapScore(*map(np.asarray, scored))


def shares(weights: Mapping[str, np.ndarray]) -> list[dict[str, str]]:
  """Returns a row per variant: the share of each weight, in percent."""
  return [
    {
      "weights": name,
      **{
        f"count {weight:g}, %": f"{100 * np.mean(of_variant == weight):.1f}"
        for weight in (gap_score.GAP_WEIGHT, 1.0, gap_score.SHORTCUT_WEIGHT)
      },
    }
    for name, of_variant in weights.items()
  ]


def _controls(questions):
  """Returns the number `[N]` of what a question is decomposed with.

  It is the task, and the wording if the text is held fixed.
  """
  fixed = [truth_lib.sources(str(t)).control is not None for t in
           questions.tasks]  # fmt: skip
  names = np.char.add(
    questions.tasks, np.where(fixed, questions.wordings, -1).astype(str)
  )
  return np.unique(names, return_inverse=True)[1]


def _decompose(passes, controls, seed):
  """Returns atoms `[4, S, N]`; 0 where a question has no batch.

  The options of all tasks have one width, so that few programs are compiled.
  """
  num_models, num_questions, num_options = passes.both.shape
  flat = passes_lib.Passes(*(x.reshape(-1, num_options) for x in passes))
  # The questions of a batch have one model and one control.
  groups = np.arange(num_models)[:, None] * (controls.max() + 1) + controls
  options = options_lib.Options()
  batch_size = min(options.batch_size, batches_lib.largest_size(num_options))
  batches = batches_lib.draw(flat, groups.ravel(), batch_size, seed)
  solved = batches_lib.solve(
    flat, groups.ravel(), batches, num_iterations=options.num_iterations
  )
  atoms = np.nan_to_num(solved.atoms)
  return atoms.reshape(4, num_models, num_questions)


def _is_top(values, number):
  """Returns `[N]` bool, the positive ones among the highest values."""
  chosen = np.zeros(len(values), bool)
  chosen[np.argsort(-values, kind="stable")[:number]] = True
  return chosen & (values > 0)


def _raised(chosen):
  """Returns the weight of chosen questions, and 1 for the others."""
  return np.where(chosen, gap_score.GAP_WEIGHT, 1.0)


_RAISE = jax.jit(passes_lib.raise_floor)
_SCORE = jax.jit(gap_score.score)
