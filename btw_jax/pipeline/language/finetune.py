"""Fine-tuning of a run's language models with weighted training questions.

Questions that could gain most from fusing modalities count more (GapScore).
Controls tell whether that choice matters. "Modality interaction in multimodal
language models by Partial Information Decomposition", arXiv 2606.00959.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from btw_jax import errors
from btw_jax.data.questions import question_set
from btw_jax.pipeline import progress
from btw_jax.pipeline.language import answers
from btw_jax.pipeline.language import finetune_training as training_lib
from btw_jax.pipeline.language import finetune_weights as weights_lib
from btw_jax.pipeline.language import run as run_lib
from btw_jax.reports import statistics
from btw_jax.reports import tables as tables_lib

_BEFORE = "before fine-tuning"


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of a comparison of weights.

  Attributes:
    training: of the fine-tuning.
    num_train: number of training questions; 0 for all of the run.
    top_share: share of the questions that count more, and of shortcuts.
    seed: of masks, batches and random weights.
  """

  training: training_lib.Options = dataclasses.field(
    default_factory=training_lib.Options
  )
  num_train: int = 4000
  top_share: float = 0.1
  seed: int = 0


class Scores(NamedTuple):
  """The answers to N test questions, of S runs.

  Attributes:
    is_right: `[S, N]` bool.
    nll: `[S, N]` nats, −log of the probability of the right option.
  """

  is_right: np.ndarray
  nll: np.ndarray


class Comparison(NamedTuple):
  """The results of all variants.

  Attributes:
    scores: variant -> answers of its runs; the first are the models before
      fine-tuning, once for each run.
    weights: variant -> `[S, N]` factor of each training question.
    groups: name -> `[N]` mask of the test questions.
    train_accuracy: `[S']` of the models before fine-tuning, on the training
      questions.
  """

  scores: Mapping[str, Scores]
  weights: Mapping[str, np.ndarray]
  groups: Mapping[str, np.ndarray]
  train_accuracy: np.ndarray


def compare(run: run_lib.FinishedRun, options: Options) -> Comparison:
  """Profiles training questions, and fine-tunes with each variant.

  Raises:
    InputError: if a setting does not fit the run.
  """
  setup, seeds = run.setup, options.training.num_seeds
  num_train = options.num_train or setup.config.num_train
  if num_train > setup.config.num_train:
    raise errors.InputError(
      f"--num_train={num_train}: the run has"
      f" {setup.config.num_train} training questions: give at most that."
    )
  training_lib.check(num_train, options.training)
  questions = setup.questions("train").take(np.arange(num_train))
  with progress.doing("profiling training questions"):
    profiled = weights_lib.profile(run, questions, seed=options.seed)
  num_top = round(options.top_share * num_train)
  weights = weights_lib.variants(profiled, num_top, seeds, seed=options.seed)
  models = training_lib.fit(run, questions, weights, options.training)
  test = setup.questions("test")
  with progress.doing("testing"):
    before = _score(run.log_probs(test), test)
    rows = np.arange(seeds) % len(before.nll)
    scores = {_BEFORE: Scores(*(x[rows] for x in before))}
    for name, params in models.items():
      log_probs = answers.log_probs(setup.trainer.network, params, test)
      scores[name] = _score(log_probs, test)
  return Comparison(
    scores, weights, _groups(test), profiled.is_right.mean(axis=1)
  )


def table(comparison: Comparison) -> list[dict[str, str]]:
  """Returns a row per group of questions and variant."""
  rows = []
  for group, where in comparison.groups.items():
    means = {
      name: Scores(*(x[:, where].mean(axis=1) for x in scores))
      for name, scores in comparison.scores.items()
    }
    base = means[weights_lib.UNIFORM]
    for name, mean in means.items():
      row = {"test questions": group, "weights": name}
      for title, values, of_base, factor, digits in (
        ("accuracy, %", mean.is_right, base.is_right, 100, 2),
        ("NLL, nats", mean.nll, base.nll, 1, 4),
      ):
        row[title] = tables_lib.mean_std(values, factor, digits)
        row[f"{title.split(',')[0]} − uniform"] = (
          ""
          if name == weights_lib.UNIFORM
          else _difference(values, of_base, factor, digits)
        )
      rows.append(row)
  return rows


def describe(comparison: Comparison) -> str:
  """Describes a comparison, for the note of its table."""
  num_seeds, num_train = comparison.weights[weights_lib.UNIFORM].shape
  num_models = len(comparison.train_accuracy)
  num_test = len(next(iter(comparison.groups.values())))
  right = tables_lib.mean_std(comparison.train_accuracy, 100, 1)
  text = (
    f"{tables_lib.quantity(num_seeds, 'run')} of fine-tuning with"
    f" {num_train:,} questions, from {tables_lib.quantity(num_models, 'model')}"
    f" that answer {right} % of these questions right before; {num_test:,} test"
    " questions. Mean ± standard deviation over runs; paired difference to"
    " uniform weights ± its standard error, with the p-value of a permutation"
    " test"
  )
  if num_seeds > num_models:
    text += (
      "; runs from the same model are not independent, so that p-values may be"
      " too small"
    )
  return f"{text}."


def to_json(comparison: Comparison) -> dict[str, Any]:
  """Returns the mean scores of every run, by group and variant."""
  return {
    group: {
      name: {
        field: x[:, where].mean(axis=1).tolist()
        for field, x in zip(("accuracy", "nll"), scores, strict=True)
      }
      for name, scores in comparison.scores.items()
    }
    for group, where in comparison.groups.items()
  }


def _score(log_probs, questions) -> Scores:
  """Scores answers `[S, N, K]`."""
  labels = np.asarray(questions.labels)
  right = log_probs[:, np.arange(len(labels)), labels]
  return Scores(np.argmax(log_probs, axis=-1) == labels, -right)


def _groups(questions: question_set.QuestionSet) -> dict[str, np.ndarray]:
  """Returns the groups of test questions that are not empty."""
  need_both = np.sum(questions.relevant, axis=1) > 1
  groups = {
    "all": np.ones(len(need_both), bool),
    "need two modalities": need_both,
  }
  return {name: where for name, where in groups.items() if where.any()}


def _difference(values, base, factor, digits):
  """Formats a paired difference with its p-value."""
  text = tables_lib.difference(values, base, factor, digits)
  if len(values) < 2:
    return text
  p_value = statistics.paired_p_value(values - base)
  return f"{text} ({tables_lib.p_text(p_value)})"
