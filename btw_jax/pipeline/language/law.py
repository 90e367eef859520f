"""The relation of synergy and the accuracy that is lost without vision.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959: over models, the synergy of image and text
goes with the accuracy that a model loses without images.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from btw_jax.data.questions import question_set
from btw_jax.pipeline.language import interactions_masked as masked_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.pipeline.language import truth as truth_lib
from btw_jax.reports import tables as tables_lib

# Order of the atoms of an interaction.
_UNIQUE_TEXT, _SYNERGY = 2, 3


class Points(NamedTuple):
  """The points of the law, `[P]`, one per model and task.

  Attributes:
    model: the number of the model.
    task: its name.
    synergy: S of image and text, nats.
    unique_text: U of the text, nats.
    information: the information of both, nats.
    lost: accuracy with the image, less that with the image masked.
  """

  model: np.ndarray
  task: np.ndarray
  synergy: np.ndarray
  unique_text: np.ndarray
  information: np.ndarray
  lost: np.ndarray

  def where(self, mask: np.ndarray) -> "Points":
    """Returns the points of a mask `[P]`."""
    return Points(*(x[mask] for x in self))


def measure(
  run: run_lib.FinishedRun,
  questions: question_set.QuestionSet,
  profile: question_set.QuestionSet,
  *,
  first_model: int = 0,
  seed: int = 0,
) -> Points:
  """Measures the points of the S models of a run.

  Args:
    run: the models.
    questions: the questions that are decomposed, of tasks on image and text.
    profile: the questions whose embeddings the masks imitate.
    first_model: number of the first model.
    seed: of the noise.
  """
  answered = masked_lib.passes(run, questions, profile, seed=seed)
  right = {
    masked: np.argmax(x, axis=-1) == questions.labels
    for masked, x in answered.items()
  }
  points = []
  for task in dict.fromkeys(questions.tasks.tolist()):
    where = questions.tasks == task
    of_task, sources = questions.take(where), truth_lib.sources(task)
    for s in range(len(right[None])):
      arrays = masked_lib.to_arrays(
        {masked: x[s, where] for masked, x in answered.items()},
        of_task,
        sources,
        run.setup.world.vocabulary,
      )
      (atoms,), _ = masked_lib.mean([masked_lib.decompose(arrays)])
      lost = right[None][s, where].mean()
      lost -= right[truth_lib.IMAGE][s, where].mean()
      points.append(
        (first_model + s, task, atoms[_SYNERGY], atoms[_UNIQUE_TEXT],
         atoms.sum(), lost)
      )  # fmt: skip
  return Points(*map(np.array, zip(*points, strict=True)))


def concatenate(parts: Sequence[Points]) -> Points:
  """Joins the points of several runs."""
  return Points(*map(np.concatenate, zip(*parts, strict=True)))


def correlation(
  points: Points, field: str, *, num_resamples: int = 1000, seed: int = 0
) -> tuple[float, np.ndarray]:
  """Computes Spearman's correlation of a field with the lost accuracy.

  Returns it, and its 95 % bootstrap interval over models.
  """
  rng = np.random.default_rng(seed)
  models = np.unique(points.model)
  rows = {m: np.flatnonzero(points.model == m) for m in models}

  def spearman(chosen):
    x, y = getattr(points, field)[chosen], points.lost[chosen]
    return float(stats.spearmanr(x, y).statistic)

  drawn = [
    spearman(np.concatenate([rows[m] for m in rng.choice(models, len(models))]))
    for _ in range(num_resamples)
  ]
  whole = spearman(np.arange(len(points.model)))
  return whole, np.quantile(drawn, [0.025, 0.975])


def table(points: Points) -> list[dict[str, Any]]:
  """Returns a row per set of tasks, with the correlations of each quantity."""
  is_choice = np.array([not truth_lib.is_open(t) for t in points.task])
  sets = {
    "multiple choice": is_choice,
    "open": ~is_choice,
    "all": np.ones(len(is_choice), bool),
  }
  rows = []
  for name, mask in sets.items():
    chosen = points.where(mask)
    row = {"tasks": name, "points": len(chosen.model)}
    for title, field in (
      ("ρ(S, lost)", "synergy"),
      ("ρ(U text, lost)", "unique_text"),
      ("ρ(total, lost)", "information"),
    ):
      value, bounds = correlation(chosen, field)
      row[title] = f"{value:.2f} ({tables_lib.interval(bounds, 1, 2)})"
    rows.append(row)
  return rows
