"""A finished run evaluated on a split, or on other files."""

import os
import pathlib
from typing import Any

from btw_jax.data import fingerprints
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import predict_run
from btw_jax.pipeline import prediction_table
from btw_jax.pipeline import restore
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config


def evaluate(
  workdir: str | os.PathLike, split: str, data_dir: str = "", output: str = ""
) -> tuple[dict[str, Any], pathlib.Path]:
  """Evaluates a run, and writes metrics and predictions.

  Args:
    workdir: folder of the run.
    split: name of the split.
    data_dir: a folder of other data, or empty for the run's own.
    output: a JSON file or a folder, as in `predict_run.output_file`.

  Returns:
    The results, as `train_run.train` returns them, and the file they are in.

  Raises:
    InputError: if there is no such run, the data does not fit its models, or
      the file belongs to other data.
  """
  saved = saved_config.read(workdir)
  config, shape = saved.config, saved.shape
  models = restore.load_models(saved)
  examples = run_data.read_split(saved, split, data_dir)
  path = predict_run.output_file(
    saved, data_dir, output, f"evaluation_{split}.json"
  )
  fingerprint = fingerprints.of_examples(examples)
  predict_run.check_overwrites(path, path, fingerprint)
  scores = evaluation.score(
    models,
    shape,
    examples,
    config.seeds,
    reading=run_data.reading(config),
    sentiment=config.data.sentiment,
  )
  if models.choices is not None:
    chosen = models.choices.weightings
  else:
    variants = models.trainers.multimodal.rule.variants
    chosen = {
      name: {"choice": _choice(variants, model.run_params)}
      for name, model in models.multimodal.items()
    }
  results = {
    "dataset": config.data.dataset,
    "task": shape.task,
    "unit": models.trainers.task.unit,
    "modalities": list(shape.modalities),
    "sizes": {**saved.sizes, split: len(examples[0])},
    "split": split,
    "data_dir": data_dir or config.data.data_dir,
    "fingerprint": fingerprint,
    "seeds": config.seeds,
    "refit": config.refit,
    "mitigation": list(config.mitigation.methods),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
  }
  prediction_table.write(
    path.with_name(f"{path.stem}_predictions.csv"),
    prediction_table.columns(shape),
    scores.predictions,
  )
  files.write_json(path, results)
  return results, path


def _choice(variants, run_params):
  return {
    "variant": variants[int(run_params.variant)],
    "strength": float(run_params.strength),
    "scale": float(run_params.scale),
  }
