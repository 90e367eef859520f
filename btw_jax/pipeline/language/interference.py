"""Interference: decisions that an irrelevant modality of a question changes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.analysis import interference
from btw_jax.data.questions import question_set
from btw_jax.methods import irrelevant
from btw_jax.pipeline.language import run as run_lib
from btw_jax.reports import tables as tables_lib

# The groups of questions by what they need, as the source names them.
GROUPS = ("text", "image", "audio", "both")
# The perturbation by the facts of a question file.
OWN_FACTS = "own facts"
_PERTURB = jax.jit(irrelevant.perturb)


class Effect(NamedTuple):
  """The effect of a perturbation on the questions of a group.

  Attributes:
    before: `[S]` accuracy on the questions as they are.
    after: `[S]` accuracy on the perturbed questions.
    changed: `[S]` share of changed decisions.
    interval: of the mean of `changed`, from a bootstrap over questions.
    num_questions: number of questions.
  """

  before: np.ndarray
  after: np.ndarray
  changed: np.ndarray
  interval: np.ndarray
  num_questions: int


def group(questions: question_set.QuestionSet) -> np.ndarray:
  """Returns the group `[N]` of each question, by its relevant modalities."""
  relevant = np.asarray(questions.relevant)
  single = np.array(GROUPS)[np.argmax(relevant, axis=1)]
  return np.where(relevant.sum(axis=1) > 1, "both", single)


def measure(
  run: run_lib.FinishedRun,
  questions: question_set.QuestionSet,
  kinds: Sequence[str] = irrelevant.KINDS,
  *,
  with_facts: question_set.QuestionSet | None = None,
  seed: int = 0,
  num_resamples: int = 1000,
) -> dict[tuple[str, str], Effect]:
  """Measures what perturbations of irrelevant modalities change.

  Args:
    run: the models.
    questions: N questions, as they are.
    kinds: names of `irrelevant.KINDS`.
    with_facts: the same questions, each with a fact of its own in its text.
    seed: draws the perturbations and the resamples.
    num_resamples: of the bootstrap.

  Returns:
    (group, kind) -> effect on the questions of the group that have an
    irrelevant modality of that kind.
  """
  groups = group(questions)
  labels = np.asarray(questions.labels)
  batches = {
    kind: perturbed(
      run, questions, kind, jax.random.fold_in(jax.random.key(seed), number)
    )
    for number, kind in enumerate(kinds)
  }
  if with_facts is not None:
    batches[OWN_FACTS] = with_facts.to_batch()
  before = np.argmax(run.log_probs(questions), axis=-1)
  effects = {}
  for kind, batch in batches.items():
    after = np.argmax(run.log_probs(questions, batch=batch), axis=-1)
    changeable = _changeable(questions, kind)
    for name in GROUPS:
      where = changeable & (groups == name)
      if where.any():
        effects[name, kind] = _effect(
          before[:, where], after[:, where], labels[where], num_resamples, seed
        )
  return effects


def perturbed(
  run: run_lib.FinishedRun,
  questions: question_set.QuestionSet,
  kind: str,
  key: jax.Array,
):
  """Returns a batch of the questions with irrelevant modalities replaced."""
  kinds = jnp.full(len(questions.tasks), irrelevant.KINDS.index(kind))
  statements = run.setup.world.statements
  return _PERTURB(key, questions.to_batch(), kinds, statements)


def clean(
  run: run_lib.FinishedRun, questions: question_set.QuestionSet
) -> dict[str, np.ndarray]:
  """Returns group -> accuracy `[S]` on the questions as they are."""
  decisions = np.argmax(run.log_probs(questions), axis=-1)
  right, groups = decisions == questions.labels, group(questions)
  return {
    name: right[:, groups == name].mean(axis=1)
    for name in GROUPS
    if np.any(groups == name)
  }


def table(
  of_models: Mapping[str, Mapping[tuple[str, str], Effect]],
) -> list[dict[str, Any]]:
  """Returns a row per group and kind, with columns for each model."""
  first = next(iter(of_models.values()))
  rows = []
  for (name, kind), effect in first.items():
    row = {
      "decided by": name,
      "irrelevant modality": kind,
      "questions": effect.num_questions,
    }
    for model, effects in of_models.items():
      effect = effects[name, kind]
      row[f"{model}: clean %"] = tables_lib.mean_std(effect.before, 100, 1)
      row[f"{model}: perturbed %"] = tables_lib.mean_std(effect.after, 100, 1)
      row[f"{model}: changed %"] = tables_lib.mean_std(effect.changed, 100, 1)
    rows.append(row)
  return rows


def clean_table(
  of_models: Mapping[str, Mapping[str, np.ndarray]],
) -> list[dict[str, Any]]:
  """Returns a row per model: its clean accuracy, and that over the first's."""
  base = next(iter(of_models.values()))
  return [
    {
      "model": model,
      **{
        f"decided by {name}, %": tables_lib.mean_std(scores, 100, 1)
        + ("" if of_group is base else f" ({_over(scores, base[name])})")
        for name, scores in of_group.items()
      },
    }
    for model, of_group in of_models.items()
  ]


def _over(scores, base):
  return tables_lib.difference(scores, base, 100, 1)


def shares(
  of_models: Mapping[str, Mapping[tuple[str, str], Effect]],
) -> dict[str, dict[str, np.ndarray]]:
  """Returns model -> perturbation -> changed decisions `[S]`, in percent."""
  return {
    model: {
      f"{name}: {kind}": 100 * effect.changed
      for (name, kind), effect in effects.items()
    }
    for model, effects in of_models.items()
  }


def _changeable(questions, kind):
  """Returns `[N]` bool: an irrelevant modality can be replaced in this way."""
  free = np.asarray(questions.present) & ~np.asarray(questions.relevant)
  if kind in (*irrelevant.TEXT_KINDS, OWN_FACTS):
    return free[:, irrelevant.TEXT]
  return free[:, irrelevant.IMAGE :].any(axis=1)


def _effect(before, after, labels, num_resamples, seed):
  """Compares decisions `[S, n]` with labels `[n]` and with each other."""
  changed = before != after
  (bounds,) = interference.interval(
    [changed.mean(axis=0)], num_resamples=num_resamples, seed=seed
  )
  return Effect(
    (before == labels).mean(axis=1),
    (after == labels).mean(axis=1),
    changed.mean(axis=1),
    bounds,
    len(labels),
  )
