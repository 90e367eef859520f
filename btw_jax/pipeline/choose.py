"""The choice of settings and modalities by the validation split of a run."""

from collections.abc import Sequence
from typing import Any

from absl import logging
import numpy as np

from btw_jax import paired
from btw_jax import types
from btw_jax.data import batching
from btw_jax.methods.balance import catalog
from btw_jax.pipeline import stages
from btw_jax.training import crossfit
from btw_jax.training import selection
from btw_jax.training import state as state_lib


def settings(
  run: stages.Run,
  plan: selection.Plan,
  trained: Sequence[stages.Trained],
  validation: selection.Validation,
) -> tuple[dict[str, stages.Trained], dict[str, Any]]:
  """Chooses the setting of every weighting by validation loss.

  Returns weighting -> its setting, trained, and weighting -> the description
  of the choice that `choices.Choices` holds. The first candidate and those of
  `differences`, which compare with it, are all candidates.
  """
  gate = plan.specs.index(plan.gate) if plan.gate else None
  confirmed = gate is not None and _confirms(run, plan, validation, gate)

  def compare(positions, base):
    return [
      {
        **_describe(run, trained[i].spec),
        **selection.compare(validation, i, base)._asdict(),
      }
      for i in positions
    ]

  kept, descriptions = {}, {}
  for name, candidates in plan.candidates.items():
    eligible = candidates
    if gate in candidates:
      others = [i for i in candidates if i not in (0, gate)]
      eligible = [gate if confirmed else 0, *others]
    if plan.is_tuned(name):
      index = selection.select_own(validation, eligible)
    else:
      index = selection.select(validation, eligible)
    kept[name] = trained[index]
    spec, best, _ = trained[index]
    descriptions[name] = {
      "choice": _describe(run, spec),
      "candidates": len(candidates),
      "first": _describe(run, trained[candidates[0]].spec),
      "differences": compare(candidates[1:], candidates[0]),
      # A method that chooses its own setting has no uniform candidate.
      "to_uniform": compare(candidates, 0) if plan.is_tuned(name) else [],
      "epoch": np.asarray(best.epoch)[:, 0].tolist(),
      "valid_loss": np.asarray(best.loss)[:, 0].tolist(),
    }
  return kept, descriptions


def _confirms(run, plan, validation, gate):
  """Returns whether validation confirms the gate, and logs it."""
  difference = selection.compare(validation, gate, 0)
  confirmed = selection.confirms_gate(difference)
  logging.info(
    "gate: without %s, the validation loss changes by %+.4f ± %.4f and the %s"
    " by %+.4f ± %.4f: %s",
    ", ".join(_describe(run, plan.gate)["closed"]),
    difference.loss,
    difference.error,
    run.trainers.task.unit,
    validation.score_sign * difference.gain,
    difference.gain_error,
    "so the gate closes what it leaves out"
    if confirmed
    else "this may do harm, so all modalities stay open",
  )
  return confirmed


def _describe(run, spec):
  """Returns a setting as JSON holds it, with the names of closed modalities."""
  choice = {
    "variant": spec.variant,
    "strength": spec.strength,
    "scale": spec.scale,
  }
  if spec.is_open is not None:
    pairs = zip(run.shape.modalities, spec.is_open, strict=True)
    choice["closed"] = [m for m, opened in pairs if not opened]
  if spec.balance:
    setting = catalog.load(spec.balance).setting
    choice |= {
      "balance": spec.balance,
      "setting": setting.name,
      "value": spec.value,
    }
  if spec.rate is not None:
    choice["learning_rate"] = spec.rate * run.config.learning_rate
  return choice


def validation(
  run: stages.Run, trained: Sequence[stages.Trained], valid: types.Split
) -> selection.Validation:
  """Returns the validation of trained settings, to select one.

  `valid` is the validation split, in memory or on disk.
  """
  outputs = np.stack([t.best.crossfit.outputs[:, 0] for t in trained])
  task, (rows, compared) = run.trainers.task, _compared(valid)
  ids = [d.splits["valid"].ids[rows] for d in run.inputs.datasets]
  examples = paired.number_examples(ids, len(run.config.seeds))
  where = compared.present.any(axis=-1)
  return selection.Validation(
    loss=np.asarray(task.loss(outputs, compared.target)),
    score=np.asarray(task.score(outputs, compared.target)),
    examples=examples,
    where=np.broadcast_to(where, examples.shape),
    score_sign=_score_sign(task),
  )


def order_modalities(
  run: stages.Run, best: state_lib.Best, valid: types.Split
) -> list[str]:
  """Orders modalities by the validation score of their own models, best first.

  `best` holds the best epochs of these models, `[S, U, ...]`; `valid` is the
  validation split. The score is that of `state.CrossFit`.
  """
  task, names = run.trainers.task, run.shape.modalities
  _, compared = _compared(valid)
  means = []
  for m in range(len(names)):
    outputs = best.crossfit.outputs[:, m]
    score = np.asarray(task.score(outputs, compared.target))
    where = np.broadcast_to(compared.present[..., m], score.shape)
    means.append(np.mean(score, where=where) if where.any() else -np.inf)
  order = np.argsort(-_score_sign(task) * np.array(means), kind="stable")
  return [names[m] for m in order]


def _compared(valid):
  """Returns the rows of a split that runs are compared on, and their batch.

  The batch has presence and targets only, in memory.
  """
  rows = crossfit.rows(valid.batch.present.shape[-2])
  batch = types.Batch(None, valid.batch.present, valid.batch.target)
  return rows, batching.take(batch, rows)


def _score_sign(task):
  """Returns 1 if a high score is good, −1 if a low one is."""
  return 1 if task.unit == "accuracy" else -1
