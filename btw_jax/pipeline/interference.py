"""Interference in the models of finished runs, and its tables."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from btw_jax import errors
from btw_jax.analysis import interference
from btw_jax.pipeline import finished_run
from btw_jax.reports import tables as tables_lib

_MISLEADING = "mismatch"
_EFFECT = jax.jit(interference.effect, static_argnames=("task", "kind"))


@dataclasses.dataclass(frozen=True)
class Options:
  """How interference is measured.

  Attributes:
    modalities: those that are intervened on.
    kinds: names of `interventions.KINDS`.
    divergence: a name of `predictions.DIVERGENCES`.
    num_resamples: of the bootstrap.
    seed: of all that is drawn.
    competence: whether to intervene on all modalities but one, too.
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
    name: what tells it from the others.
    subject: the run.
    weighting: of the run.
  """

  name: str
  subject: finished_run.FinishedRun
  weighting: str


def models(subjects: Sequence[finished_run.FinishedRun]) -> list[Model]:
  """All weightings of several runs, named by what they differ in.

  Args:
    subjects: the runs.

  Returns:
    Their models, in order.

  Raises:
    InputError: if runs are of other data, seeds or modalities than the first.
  """
  first = subjects[0].written
  found = []
  for subject in subjects:
    own = subject.written
    for what, same in (
      ("data", first.config.dataset == own.config.dataset),
      ("modalities", first.shape.modalities == own.shape.modalities),
      ("seeds", first.config.seeds == own.config.seeds),
      (
        "examples",
        subject.batch.present.shape == subjects[0].batch.present.shape,
      ),
    ):
      if not same:
        raise errors.InputError(
          f"--workdir={own.config.workdir}: has other {what} than"
          f" {first.config.workdir}: compare runs on the same."
        )
    for weighting in subject.multimodal:
      name = " + ".join([weighting, *own.config.mitigation])
      found.append(Model(name, subject, weighting))
  names = [model.name for model in found]
  return [
    model
    if names.count(model.name) == 1
    else model._replace(
      name=f"{model.name} ({model.subject.written.config.workdir})"
    )
    for model in found
  ]


def measure(
  models: Sequence[Model], options: Options
) -> dict[str, list[dict[str, Any]]]:
  """Effects of every intervention on every modality.

  Args:
    models: as `models` gives them.
    options: how it is measured.

  Returns:
    "effects" and "competence": rows for JSON, of each model, modality and kind.
  """
  effects, competence = [], []
  for subject in {id(m.subject): m.subject for m in models}.values():
    own = [model for model in models if model.subject is subject]
    names = subject.written.shape.modalities
    asked = _Asked(subject, own, options)
    for modality in options.modalities:
      m = names.index(modality)
      others = [n for n in range(len(names)) if n != m]
      effects += asked.effects(m)
      if others and options.competence:
        competence += asked.competence(m, others)
  return {"effects": effects, "competence": competence}


class _Asked:
  """The models of one run, and what they say to examples as they are."""

  def __init__(self, subject, models, options):
    self._subject, self._models, self._options = subject, models, options
    self._task = subject.trainers.task
    self._target = np.asarray(subject.batch.target)
    self._present = np.asarray(subject.batch.present)
    self._before = {
      model.name: subject.answer(model.weighting, subject.split)
      for model in models
    }

  def effects(self, m):
    """A row per intervention on a modality and model."""
    for row, effect, weights in self._intervene(m, [m]):
      values = jax.tree.map(lambda x: self._there(x, m), effect)
      intervals = interference.interval(
        [np.nanmean(x, axis=0) for x in values],
        num_resamples=self._options.num_resamples,
        seed=self._options.seed,
      )
      yield {
        **row,
        **{
          field: {"seeds": _means(x), "interval": interval.tolist()}
          for field, x, interval in zip(
            effect._fields, values, intervals, strict=True
          )
        },
        "weight": [_means(self._there(w[..., m], m)) for w in weights],
      }

  def competence(self, m, others):
    """A row per intervention on all modalities but one and model."""
    outputs = np.asarray(self._subject.split.unimodal)[:, m]
    alone = self._in_own_unit(self._task.score(outputs, self._target))
    for row, effect, _ in self._intervene(m, others):
      scores = {"before": effect.before, "after": effect.after, "alone": alone}
      yield {
        **row,
        **{name: _means(self._there(x, m)) for name, x in scores.items()},
      }

  def _intervene(self, m, modalities):
    """What rows begin with, effects, and weights before and after."""
    modality = self._subject.written.shape.modalities[m]
    key = jax.random.fold_in(jax.random.key(self._options.seed), m)
    for kind in self._options.kinds:
      split = self._subject.intervene(kind, modalities, key)
      for model in self._models:
        after, weights = self._subject.answer(model.weighting, split)
        before, weights_before = self._before[model.name]
        effect = _EFFECT(
          self._task,
          before,
          after,
          self._target,
          kind=self._options.divergence,
        )
        effect = effect._replace(
          before=self._in_own_unit(effect.before),
          after=self._in_own_unit(effect.after),
        )
        row = {"model": model.name, "modality": modality, "kind": kind}
        yield row, effect, (weights_before, weights)

  def _there(self, values, m):
    """`[S, N]`, NaN where an example lacks the modality; without those."""
    where = np.broadcast_to(self._present[..., m], values.shape)
    values = np.where(where, np.asarray(values, np.float64), np.nan)
    return values[:, where.any(axis=0)]

  def _in_own_unit(self, scores):
    """Errors are of standardised targets."""
    if self._task.unit != "mae":
      return scores
    scale = [s.target_std for s in self._subject.unimodal.scalers]
    return scores * np.array(scale)[:, None]


def _means(values):
  """Of each seed, over the examples that it has."""
  return np.nanmean(values, axis=1).tolist()


def tables(
  found: Mapping[str, Sequence[Mapping[str, Any]]], unit: str
) -> dict[str, list[dict[str, str]]]:
  """Rows of tables: means over seeds.

  Args:
    found: as `measure` gives it.
    unit: "accuracy" or "mae".

  Returns:
    summary, a row per model, with the share of what mismatches cost the first
    model that it has not lost; effects, a row per model, modality and
    intervention; competence, a row per model and modality.
  """
  return {
    "summary": _summary(found["effects"], unit),
    "effects": [_effect_row(row, unit) for row in found["effects"]],
    "competence": _competence(found["competence"], unit),
  }


def _summary(rows, unit):
  """Means over modalities, and paired differences to the first model."""
  column = tables_lib.COLUMNS[unit]
  by_model, lines = {}, []
  for row in rows:
    own = by_model.setdefault(row["model"], {"clean": []})
    own["clean"].append(row["before"]["seeds"])
    own.setdefault(row["kind"], []).append(row["after"]["seeds"])
  by_model = {
    name: {kind: np.mean(each, axis=0) for kind, each in own.items()}
    for name, own in by_model.items()
  }
  first = next(iter(by_model.values()))
  for name, scores in by_model.items():
    line = {"model": name}
    for kind, values in scores.items():
      text = column.mean_std(values)
      if lines:
        change = column.difference(values, first[kind])
        text += f" ({change})"
      line[f"{column.heading}, clean" if kind == "clean" else kind] = text
    if _MISLEADING in scores:
      line["gap closed %"] = _closed(scores, first) if lines else ""
    lines.append(line)
  return lines


def _closed(scores, first):
  """Of what a misleading modality costs the first model."""
  gap = np.mean(first["clean"] - first[_MISLEADING])
  gained = np.mean(scores[_MISLEADING] - first[_MISLEADING])
  return f"{100 * gained / gap:.0f}" if gap else ""


def _effect_row(row, unit):
  heading, factor, digits, _ = tables_lib.COLUMNS[unit]
  weights = [f"{np.mean(w):.3f}" for w in row["weight"]]
  return {
    "model": row["model"],
    "modality": row["modality"],
    "instead": row["kind"],
    f"{heading} before": _with_interval(row["before"], factor, digits),
    "after": _with_interval(row["after"], factor, digits),
    "flipped %": _with_interval(row["flipped"], 100.0, 1),
    "divergence, nats": _with_interval(row["divergence"], 1.0, 3),
    "weight": " → ".join(weights),
  }


def _with_interval(figure, factor, digits):
  low, high = (factor * end for end in figure["interval"])
  mean = factor * np.mean(figure["seeds"])
  return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _competence(rows, unit):
  column = tables_lib.COLUMNS[unit]
  lines = {}
  for row in rows:
    cells = {
      name: column.mean_std(row[name]) for name in ("before", "after", "alone")
    }
    line = lines.setdefault(
      (row["model"], row["modality"]),
      {
        "model": row["model"],
        "modality": row["modality"],
        f"{column.heading}, all": cells["before"],
        "its own model": cells["alone"],
      },
    )
    line[f"others: {row['kind']}"] = cells["after"]
  return list(lines.values())
