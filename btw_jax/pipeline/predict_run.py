"""The predictions of a finished run for examples without labels."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

import numpy as np

from btw_jax import errors
from btw_jax.data import fingerprints
from btw_jax.evaluation import evaluate
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import prediction_table
from btw_jax.pipeline import restore
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.reports import tables


class Prediction(NamedTuple):
  """The predictions of the models of one weighting for N examples.

  Attributes:
    weighting: its name.
    seeds: of the models that predict, together if there are several.
    predicted: the predictions.
    weights: `[N, M]` weights, the mean over seeds.
  """

  weighting: str
  seeds: Sequence[int]
  predicted: evaluate.Predicted
  weights: np.ndarray


def choose_weighting(models: restore.Models, name: str = "") -> str:
  """Returns the weighting to predict with.

  It is the one that is named; else `auto` if it was trained; else the one with
  the lowest validation loss, mean over seeds.

  Raises:
    InputError: if the run has no models of that name.
  """
  names = list(models.multimodal)
  if name:
    errors.check_names("weighting", [name], names, "weighting")
    return name
  if "auto" in names or models.choices is None:
    return "auto" if "auto" in names else names[-1]
  chosen = models.choices.weightings
  return min(names, key=lambda n: np.mean(chosen[n]["valid_loss"]))


def predict(
  run: finished_run.FinishedRun, weighting: str = "", seed: int | None = None
) -> Prediction:
  """Predicts the examples of a run.

  Args:
    run: the run; its examples need no targets.
    weighting: as in `choose_weighting`.
    seed: the seed whose models predict; those of all seeds together if None.

  Raises:
    InputError: if the weighting or the seed is unknown, or each seed has
      examples of its own and none is given.
  """
  name = choose_weighting(run.models, weighting)
  if seed is not None and seed not in run.seeds:
    raise errors.InputError(
      f"--seed={seed}: the run has no such seed: use one of"
      f" {', '.join(map(str, run.seeds))}."
    )
  if seed is None and len(run.ids) > 1:
    raise errors.InputError(
      "each seed has examples of its own: give --seed, or other examples with"
      " --data_dir."
    )
  outputs, weights = run.predict(name, run.split)
  scalers = evaluation.per_seed(run.models.unimodal.scalers, run.seeds)
  outputs = np.asarray(outputs)
  chosen = list(range(len(run.seeds)))
  if seed is not None:
    chosen = [run.seeds.index(seed)]
  predicted = [
    evaluate.interpret(run.task, outputs[s], scalers[s]) for s in chosen
  ]
  return Prediction(
    name,
    [run.seeds[s] for s in chosen],
    predicted[0] if len(chosen) == 1 else evaluate.pool(run.task, predicted),
    np.mean(weights[chosen], axis=0),
  )


def write(
  workdir: str | os.PathLike,
  split: str,
  data_dir: str = "",
  *,
  weighting: str = "",
  seed: int | None = None,
  output: str = "",
) -> tuple[Prediction, pathlib.Path]:
  """Predicts examples, and writes `predictions.csv` and what they are of.

  Args:
    workdir: folder of the run.
    split: name of the split.
    data_dir: a folder or file of other data, or empty for the run's own.
    weighting: as in `choose_weighting`.
    seed: as in `predict`.
    output: as in `output_file`.

  Returns:
    The predictions, and the path of the table.

  Raises:
    InputError: if there is no such run, the data does not fit its models, or
      the file belongs to other data.
  """
  saved, models = finished_run.load_models(workdir)
  choose_weighting(models, weighting)
  examples = run_data.read_split(saved, split, data_dir, labelled=False)
  path = output_file(saved, data_dir, output, "predictions.csv")
  if not output and path.parent == pathlib.Path(workdir):
    # Training has left its own predictions there.
    path = path.with_name(f"predictions_{split}.csv")
  fingerprint = fingerprints.of_examples(examples)
  check_overwrites(path, path.with_suffix(".json"), fingerprint)
  run = finished_run.with_examples(saved, models, examples)
  prediction = predict(run, weighting, seed)
  of_seed = 0 if len(examples) == 1 else run.seeds.index(seed)
  text_seed = prediction.seeds[0]
  if len(prediction.seeds) > 1:
    text_seed = prediction_table.ALL_SEEDS
  table = prediction_table.rows(
    saved.shape,
    prediction.weighting,
    text_seed,
    examples[of_seed].ids,
    None,
    prediction.predicted,
    prediction.weights,
  )
  names = prediction_table.columns(saved.shape, has_target=False)
  prediction_table.write(path, names, list(table))
  about = {
    "workdir": str(workdir),
    "data_dir": data_dir or saved.config.data.data_dir,
    "split": split,
    "weighting": prediction.weighting,
    "seeds": list(prediction.seeds),
    "fingerprint": fingerprint,
  }
  files.write_json(path.with_suffix(".json"), about)
  return prediction, path


def describe(saved: saved_config.SavedConfig, prediction: Prediction) -> str:
  """Says in a line what was predicted, by which models."""
  decision = prediction.predicted.decision
  shape = saved.shape
  if shape.task == "regression":
    what = f"mean {decision.mean():.4g}, from {decision.min():.4g} to"
    what += f" {decision.max():.4g}"
  elif shape.task == "multilabel":
    counts = zip(shape.classes, decision.sum(axis=0), strict=True)
    what = ", ".join(f"label {name}: {count}" for name, count in counts)
  else:
    counts = np.bincount(decision, minlength=len(shape.classes))
    named = zip(shape.classes, counts, strict=True)
    what = ", ".join(f"{name}: {count}" for name, count in named if count)
  number = len(prediction.seeds)
  seeds = f"seed {prediction.seeds[0]}" if number == 1 else f"{number} seeds"
  count = tables.quantity(len(decision), "example")
  return f"{count}, predicted by {prediction.weighting}, {seeds}: {what}"


def output_file(
  saved: saved_config.SavedConfig, data_dir: str, output: str, name: str
) -> pathlib.Path:
  """Returns the file to write results for examples into.

  Args:
    saved: the run.
    data_dir: of the examples; empty for the run's own.
    output: a file with the ending of `name`, or a folder; if empty, it is the
      workdir for the run's own examples, and a folder in it for others.
    name: of the file in the folder.
  """
  if pathlib.Path(output).suffix == pathlib.Path(name).suffix:
    return pathlib.Path(output)
  if output:
    return pathlib.Path(output, name)
  workdir = pathlib.Path(saved.config.workdir)
  path, trained_on = (
    pathlib.Path(p).resolve() for p in (data_dir, saved.config.data.data_dir)
  )
  if data_dir and path != trained_on:
    return workdir / f"on_{path.stem}" / name
  return workdir / name


def check_overwrites(
  path: pathlib.Path, about: pathlib.Path, fingerprint: str
) -> None:
  """Refuses to replace a file that belongs to other data.

  The JSON file `about` holds the fingerprint of its data.

  Raises:
    InputError: if `path` exists and is not of the data of this fingerprint.
  """
  if not path.exists():
    return
  before = None
  if about.exists():
    before = files.read_json(about, "remove it").get("fingerprint")
  if before != fingerprint:
    raise errors.InputError(
      f"{path}: holds results for other data: set --output to another place, or"
      " remove that file."
    )
