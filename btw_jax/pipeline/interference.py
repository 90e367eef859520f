"""Modality interference in the models of finished runs."""

from collections.abc import Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from btw_jax import errors
from btw_jax.analysis import interference
from btw_jax.pipeline import finished_run

_EFFECT = jax.jit(interference.effect, static_argnames=("task", "kind"))


@dataclasses.dataclass(frozen=True)
class Options:
  """The way interference is measured.

  Attributes:
    modalities: names of the modalities to intervene on.
    kinds: names of `interventions.KINDS`.
    divergence: a name of `predictions.DIVERGENCES`.
    num_resamples: of the bootstrap.
    seed: of all random numbers.
    competence: whether to also intervene on all modalities but one.
  """

  modalities: Sequence[str]
  kinds: Sequence[str]
  divergence: str
  num_resamples: int
  seed: int
  competence: bool = True


class Model(NamedTuple):
  """The models of one weighting of a run.

  Attributes:
    name: unique among the compared models.
    run: the run.
    weighting: of the run.
  """

  name: str
  run: finished_run.FinishedRun
  weighting: str


def list_models(runs: Sequence[finished_run.FinishedRun]) -> list[Model]:
  """Lists all weightings of several runs, named by what distinguishes them.

  Raises:
    InputError: if a run has other data, seeds or modalities than the first.
  """
  models = []
  for run in runs:
    _check_comparable(runs[0], run)
    for weighting in run.weightings:
      methods = run.saved.config.mitigation.methods
      name = " + ".join([weighting, *methods])
      models.append(Model(name, run, weighting))
  names = [model.name for model in models]
  return [
    model
    if names.count(model.name) == 1
    else model._replace(name=f"{model.name} ({model.run.saved.config.workdir})")
    for model in models
  ]


def _check_comparable(first, run):
  one, other = first.saved, run.saved
  for noun, equal in (
    ("data", one.config.data.dataset == other.config.data.dataset),
    ("modalities", one.shape.modalities == other.shape.modalities),
    ("seeds", one.config.seeds == other.config.seeds),
    ("examples", first.batch.present.shape == run.batch.present.shape),
  ):
    if not equal:
      raise errors.InputError(
        f"--workdir={other.config.workdir}: has other {noun} than"
        f" {one.config.workdir}: compare runs on the same."
      )


def measure(
  models: Sequence[Model], options: Options
) -> dict[str, list[dict[str, Any]]]:
  """Measures the effect of every intervention on every modality.

  Returns "effects" and "competence": rows for JSON per model, modality and
  kind.
  """
  effects, competence = [], []
  for run in {id(m.run): m.run for m in models}.values():
    comparison = _Comparison(run, [m for m in models if m.run is run], options)
    for modality in options.modalities:
      m = run.modalities.index(modality)
      others = [n for n in range(len(run.modalities)) if n != m]
      effects += comparison.effects(m)
      if others and options.competence:
        competence += comparison.competence(m, others)
  return {"effects": effects, "competence": competence}


class _Comparison:
  """The models of one run, compared before and after interventions."""

  def __init__(self, run, models, options):
    self._run, self._models, self._options = run, models, options
    self._target = np.asarray(run.batch.target)
    self._present = np.asarray(run.batch.present)
    self._before = {
      model.name: run.predict(model.weighting, run.split) for model in models
    }

  def effects(self, m):
    """Yields a row per intervention on modality m and model."""
    for row, effect, weights in self._intervene(m, [m]):
      values = jax.tree.map(lambda x: self._mask_absent(x, m), effect)
      intervals = interference.interval(
        [np.nanmean(x, axis=0) for x in values],
        num_resamples=self._options.num_resamples,
        seed=self._options.seed,
      )
      yield {
        **row,
        **{
          field: {"seeds": _seed_means(x), "interval": interval.tolist()}
          for field, x, interval in zip(
            effect._fields, values, intervals, strict=True
          )
        },
        "weight": [
          _seed_means(self._mask_absent(w[..., m], m)) for w in weights
        ],
      }

  def competence(self, m, others):
    """Yields a row per intervention on all modalities but m and model."""
    outputs = np.asarray(self._run.split.unimodal)[:, m]
    alone = self._run.to_target_unit(
      self._run.task.score(outputs, self._target)
    )
    for row, effect, _ in self._intervene(m, others):
      scores = {"before": effect.before, "after": effect.after, "alone": alone}
      yield {
        **row,
        **{
          name: _seed_means(self._mask_absent(x, m))
          for name, x in scores.items()
        },
      }

  def _intervene(self, m, modalities):
    """Yields the start of a row, the effect, and weights before and after."""
    run, options = self._run, self._options
    key = jax.random.fold_in(jax.random.key(options.seed), m)
    for kind in options.kinds:
      split = run.intervene(kind, modalities, key)
      for model in self._models:
        after, weights_after = run.predict(model.weighting, split)
        before, weights_before = self._before[model.name]
        effect = _EFFECT(
          run.task, before, after, self._target, kind=options.divergence
        )
        effect = effect._replace(
          before=self._run.to_target_unit(effect.before),
          after=self._run.to_target_unit(effect.after),
        )
        row = {
          "model": model.name,
          "modality": run.modalities[m],
          "kind": kind,
        }
        yield row, effect, (weights_before, weights_after)

  def _mask_absent(self, values, m):
    """Sets `[S, N]` to NaN where the modality is absent.

    Drops examples that lack the modality for all seeds.
    """
    where = np.broadcast_to(self._present[..., m], values.shape)
    values = np.where(where, np.asarray(values, np.float64), np.nan)
    return values[:, where.any(axis=0)]


def _seed_means(values):
  """Returns the mean of each seed over its present examples."""
  return np.nanmean(values, axis=1).tolist()
