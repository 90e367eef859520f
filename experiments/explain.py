"""Shows why an example of a finished run was decided as it was.

  python -m experiments.explain --workdir=runs/digits --id=17

What each modality's own model predicts, how far that is from the multimodal
prediction, what the modality weighs, and what is predicted without it and from
it alone.
"""

import pathlib

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax import predictions
from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.reports import tables as tables_lib
from experiments import app

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_ID = flags.DEFINE_string("id", None, "of the example", required=True)
_SPLIT = flags.DEFINE_enum(
  "split", "test", dataset_lib.SPLITS, "split that it is in"
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "folder of other files of the same format (npz, csv)"
)
_WEIGHTINGS = flags.DEFINE_list(
  "weighting", [], "weightings of the run to ask; all if empty"
)
_SEED = flags.DEFINE_integer(
  "seed", None, "whose models to ask; the first that has the example by default"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")

# Of the table.
_HEADS = (
  "its own model",
  "divergence, nats",
  "weight",
  "without it",
  "it alone, fused",
)


def main() -> None:
  """Asks, prints, writes."""
  subject = finished_run.load(_WORKDIR.value, _SPLIT.value, _DATA_DIR.value)
  asked = config_lib.some_of(
    "weighting", _WEIGHTINGS.value, list(subject.multimodal), "weighting"
  )
  place, row = _find(subject)
  split = _variations(subject, row)
  target = np.asarray(subject.batch.target)[
    (place, row[place]) if subject.batch.present.ndim == 3 else row[0]
  ]
  found = {
    "id": _ID.value,
    "seed": subject.written.config.seeds[place],
    "target": _target(subject, target, place),
    "weightings": {
      name: _explain(subject, name, split, place) for name in asked
    },
  }
  print(_text(found, subject.written.shape.task))
  if _OUTPUT.value:
    files.write_json(pathlib.Path(_OUTPUT.value), found)


def _find(subject):
  """The position of a seed that has the example, and its row for each seed."""
  seeds = subject.written.config.seeds
  rows = [np.flatnonzero(ids == _ID.value) for ids in subject.ids]
  there = [
    place
    for place in range(len(seeds))
    if len(rows[place % len(rows)]) and _SEED.value in (None, seeds[place])
  ]
  if _SEED.value is not None and _SEED.value not in seeds:
    raise errors.InputError(
      f"--seed={_SEED.value}: not of the run: use one of"
      f" {', '.join(map(str, seeds))}."
    )
  if not there:
    of = "" if _SEED.value is None else f" of seed {_SEED.value}"
    some = ", ".join(map(str, subject.ids[0][:3]))
    raise errors.InputError(
      f"--id={_ID.value}: not in the {_SPLIT.value} split{of}, whose ids are"
      f" {some} and others: give one of these, or another --split."
    )
  return there[0], [int(own[0]) if len(own) else 0 for own in rows]


def _variations(subject, row):
  """The example as it is, without each modality, and with each alone."""
  num_modalities = subject.batch.present.shape[-1]
  one = np.eye(num_modalities, dtype=bool)
  keep = np.concatenate([np.ones((1, num_modalities), bool), ~one, one])
  shared = subject.batch.present.ndim == 2
  batch = jax.tree.map(
    lambda x: (
      jnp.stack([x[row[0]]] * len(keep))
      if shared
      else jnp.stack([x[jnp.arange(len(row)), jnp.array(row)]] * len(keep), 1)
    ),
    subject.batch,
  )
  return subject.complete(batch._replace(present=batch.present & keep))


def _explain(subject, name, split, place):
  """What a weighting says of the example, and of what is left of it."""
  task, names = subject.trainers.task, subject.written.shape.modalities
  outputs, weights = subject.answer(name, split)
  outputs = np.asarray(outputs)[place]
  alone = np.asarray(split.unimodal)[place, :, 0]
  present = np.asarray(split.batch.present)
  present = present[0] if present.ndim == 2 else present[place, 0]
  divergence = predictions.divergence(
    task.predict(jnp.asarray(alone)),
    jax.tree.map(lambda x: x[None], task.predict(jnp.asarray(outputs[0]))),
    kind=subject.written.config.divergence,
  )

  def say(output):
    return _prediction(subject, output, place)

  modalities = {}
  for m, modality in enumerate(names):
    if not present[m]:
      modalities[modality] = None
      continue
    others = present.sum() > 1
    modalities[modality] = {
      "alone": say(alone[m]),
      "divergence": float(divergence[m]),
      "weight": float(weights[place, 0, m]),
      "without": say(outputs[1 + m]) if others else None,
      "only": say(outputs[1 + len(names) + m]),
    }
  return {"prediction": say(outputs[0]), "modalities": modalities}


def _prediction(subject, output, place):
  """Probabilities by class or label, or mean and scale in the target's unit."""
  prediction = subject.trainers.task.predict(jnp.asarray(output))
  if isinstance(prediction, predictions.Categorical):
    return np.asarray(jax.nn.softmax(prediction.logits)).tolist()
  if isinstance(prediction, predictions.Bernoulli):
    return np.asarray(jax.nn.sigmoid(prediction.logits)).tolist()
  scaler = _scaler(subject, place)
  mean, scale = (float(x) for x in prediction)
  return [
    mean * float(scaler.target_std) + float(scaler.target_mean),
    scale * float(scaler.target_std),
  ]


def _target(subject, target, place):
  """The target in its own unit."""
  if subject.written.shape.task == "regression":
    scaler = _scaler(subject, place)
    return float(target * scaler.target_std + scaler.target_mean)
  return np.asarray(target).tolist()


def _scaler(subject, place):
  scalers = subject.unimodal.scalers
  return scalers[place % len(scalers)]


def _text(found, task):
  """The table of every weighting."""
  parts = [
    f"{found['id']}: target {_number(found['target'], task)}; models of seed"
    f" {found['seed']}"
  ]
  for name, own in found["weightings"].items():
    lines = []
    for modality, told in own["modalities"].items():
      cells = [""] * 5
      if told is not None:
        cells = [
          _words(told["alone"], task),
          f"{told['divergence']:.3f}",
          f"{told['weight']:.3f}",
          _words(told["without"], task),
          _words(told["only"], task),
        ]
      own_cells = dict(zip(_HEADS, cells, strict=True))
      lines.append({"modality": modality, **own_cells})
    said = _words(own["prediction"], task)
    parts += [f"{name}: {said}", tables_lib.markdown(lines)]
  return "\n\n".join(parts)


def _words(values, task):
  """A decision with its probability, or a mean with its scale."""
  if values is None:
    return "nothing left"
  if task == "regression":
    return f"{values[0]:.4g} ± {values[1]:.2g}"
  if task == "multiclass":
    best = int(np.argmax(values))
    return f"{best} ({100 * values[best]:.0f} %)"
  return ", ".join(
    f"{int(p > 0.5)} ({100 * max(p, 1 - p):.0f} %)" for p in values
  )


def _number(target, task):
  if task == "regression":
    return f"{target:.4g}"
  return ", ".join(f"{t:g}" for t in np.atleast_1d(target))


if __name__ == "__main__":
  what = ["workdir", "id", "split", "data_dir", "weighting", "seed", "output"]
  app.run(main, {"Example": what})
