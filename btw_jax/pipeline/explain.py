"""The reasons of one decision: what each modality predicts, weighs, changes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax import predictions
from btw_jax import shapley
from btw_jax.analysis import contribution
from btw_jax.pipeline import finished_run
from btw_jax.reports import tables as tables_lib

_HEADINGS = (
  "its own model",
  "divergence, nats",
  "weight",
  "without it",
  "it alone, fused",
  "contribution, nats",
)


class _Example(NamedTuple):
  """The explained example.

  Attributes:
    place: position of its seed.
    target: its target.
    constant_likelihood: log-likelihood of the best constant prediction.
  """

  place: int
  target: np.ndarray
  constant_likelihood: jax.Array


def explain(
  run: finished_run.FinishedRun,
  example_id: str,
  split: str,
  seed: int | None,
  weightings: Sequence[str],
) -> dict[str, Any]:
  """Explains the decision for one example.

  `seed` tells whose models to use; the first that has the example by default.
  Returns id, seed, target, and for each weighting the prediction and what each
  modality contributes, as JSON holds it. "contribution" is the Shapley value of
  the modality for the log-likelihood of the target, taken away as absent;
  without any modality the prediction is the constant that suits the split best.

  Raises:
    InputError: if the split or the seed does not have the example.
  """
  place, rows = _find(run, example_id, split, seed)
  plan = shapley.plan(len(run.modalities))
  variations = _variations(run, rows, plan)
  targets, row = np.asarray(run.batch.target), rows[place % len(rows)]
  if run.batch.present.ndim == 3:
    targets = targets[place]
  constant = contribution.constant_quality(run.task, targets)
  example = _Example(place, targets[row], constant.likelihood[row])
  return {
    "id": example_id,
    "seed": run.seeds[place],
    "target": _target(run, example.target, place),
    "weightings": {
      name: _explain_weighting(run, name, variations, example, plan)
      for name in weightings
    },
  }


def _find(run, example_id, split, seed):
  """Finds the position of a seed, and the example's row for every seed."""
  matches = [np.flatnonzero(ids == example_id) for ids in run.ids]
  places = [
    place
    for place in range(len(run.seeds))
    if len(matches[place % len(matches)]) and seed in (None, run.seeds[place])
  ]
  if seed is not None and seed not in run.seeds:
    raise errors.InputError(
      f"--seed={seed}: not of the run: use one of"
      f" {', '.join(map(str, run.seeds))}."
    )
  if not places:
    of_seed = "" if seed is None else f" of seed {seed}"
    some = ", ".join(map(str, run.ids[0][:3]))
    raise errors.InputError(
      f"--id={example_id}: not in the {split} split{of_seed}, whose ids are"
      f" {some} and others: give one of these, or another --split."
    )
  # A seed without the example gets row 0, whose result is not read.
  return places[0], [int(m[0]) if len(m) else 0 for m in matches]


def _variations(run, rows, plan):
  """Repeats the example with some of its modalities: one repetition for each.

  They are all, all but each, each alone, and the sets of the plan.
  """
  num_modalities = run.batch.present.shape[-1]
  single = np.eye(num_modalities, dtype=bool)
  full = np.ones((1, num_modalities), bool)
  keep = np.concatenate([full, ~single, single, plan.kept])
  shared = run.batch.present.ndim == 2

  def repeat(x):
    if shared:
      return jnp.stack([x[rows[0]]] * len(keep))
    return jnp.stack([x[jnp.arange(len(rows)), jnp.array(rows)]] * len(keep), 1)

  batch = jax.tree.map(repeat, run.batch)
  return run.with_unimodal(batch._replace(present=batch.present & keep))


def _explain_weighting(run, name, split, example, plan):
  """Explains the example and its variations under one weighting."""
  task, names, place = run.task, run.modalities, example.place
  outputs, weights = run.predict(name, split)
  outputs = np.asarray(outputs)[place]
  unimodal = np.asarray(split.unimodal)[place, :, 0]
  present = np.asarray(split.batch.present)
  present = present[0] if present.ndim == 2 else present[place, 0]
  divergence = predictions.divergence(
    task.predict(jnp.asarray(unimodal)),
    jax.tree.map(lambda x: x[None], task.predict(jnp.asarray(outputs[0]))),
    kind=run.saved.config.weighting.divergence,
  )

  shares = _contributions(
    run, name, outputs[-len(plan.kept) :], example, plan, present
  )

  def to_values(output):
    return _prediction(run, output, place)

  modalities = {}
  for m, modality in enumerate(names):
    if not present[m]:
      modalities[modality] = None
      continue
    has_others = present.sum() > 1
    modalities[modality] = {
      "alone": to_values(unimodal[m]),
      "divergence": float(divergence[m]),
      "weight": float(weights[place, 0, m]),
      "without": to_values(outputs[1 + m]) if has_others else None,
      "only": to_values(outputs[1 + len(names) + m]),
      "contribution": float(shares[m]),
    }
  return {"prediction": to_values(outputs[0]), "modalities": modalities}


def _contributions(run, name, outputs, example, plan, present):
  """Returns the `[M]` Shapley values from the outputs `[C, K]` of a plan."""
  is_open = run.models.multimodal[name].run_params.is_open
  if is_open is not None:
    present = present & np.asarray(is_open)
  target = jnp.broadcast_to(
    example.target, (len(outputs), *jnp.shape(example.target))
  )
  likelihood = contribution.quality(run.task, outputs, target).likelihood
  has_any = np.any(plan.kept & present, axis=1)
  values = jnp.where(has_any, likelihood, example.constant_likelihood)
  return shapley.values(plan, values)


def _prediction(run, output, place):
  """Returns probabilities, or mean and scale in the target's unit."""
  prediction = run.task.predict(jnp.asarray(output))
  if isinstance(prediction, predictions.Categorical):
    return np.asarray(jax.nn.softmax(prediction.logits)).tolist()
  if isinstance(prediction, predictions.Bernoulli):
    return np.asarray(jax.nn.sigmoid(prediction.logits)).tolist()
  scaler = _scaler(run, place)
  mean, scale = (float(x) for x in prediction)
  return [
    mean * float(scaler.target_std) + float(scaler.target_mean),
    scale * float(scaler.target_std),
  ]


def _target(run, target, place):
  """Returns the target in its own unit."""
  if run.task.name == "regression":
    scaler = _scaler(run, place)
    return float(target * scaler.target_std + scaler.target_mean)
  return np.asarray(target).tolist()


def _scaler(run, place):
  scalers = run.models.unimodal.scalers
  return scalers[place % len(scalers)]


def table(
  explanation: Mapping[str, Any], task: str, classes: Sequence[str] = ()
) -> str:
  """Writes the explanation of `explain` as a table per weighting.

  `classes` are the names of the classes.
  """
  parts = [
    f"{explanation['id']}: target"
    f" {_number(explanation['target'], task, classes)};"
    f" models of seed {explanation['seed']}"
  ]
  for name, reasons in explanation["weightings"].items():
    lines = []
    for modality, values in reasons["modalities"].items():
      cells = [""] * len(_HEADINGS)
      if values is not None:
        cells = [
          _decision(values["alone"], task, classes),
          f"{values['divergence']:.3f}",
          f"{values['weight']:.3f}",
          _decision(values["without"], task, classes),
          _decision(values["only"], task, classes),
          f"{round(values['contribution'], 3) + 0.0:+.3f}",
        ]
      named_cells = dict(zip(_HEADINGS, cells, strict=True))
      lines.append({"modality": modality, **named_cells})
    decision = _decision(reasons["prediction"], task, classes)
    parts += [f"{name}: {decision}", tables_lib.markdown(lines)]
  return "\n\n".join(parts)


def _decision(values, task, classes):
  """Writes a decision with its probability, or a mean with its scale."""
  if values is None:
    return "nothing left"
  if task == "regression":
    return f"{values[0]:.4g} ± {values[1]:.2g}"
  if task == "multiclass":
    best = int(np.argmax(values))
    return f"{_name(best, task, classes)} ({100 * values[best]:.0f} %)"
  return ", ".join(
    f"{_name(int(p > 0.5), task, classes)} ({100 * max(p, 1 - p):.0f} %)"
    for p in values
  )


def _number(target, task, classes):
  """Writes a target: a value, a class, or several labels."""
  if task == "regression":
    return f"{target:.4g}"
  return ", ".join(_name(t, task, classes) for t in np.atleast_1d(target))


def _name(number, task, classes):
  """Returns the name of a class; several labels are 0 or 1."""
  if task == "multilabel" or not classes:
    return f"{number:g}"
  return classes[int(number)]
