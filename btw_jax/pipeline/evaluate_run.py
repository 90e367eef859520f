"""A finished run evaluated on a split, or on other files."""

import os
import pathlib
from typing import Any

from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import restore
from btw_jax.pipeline import run_data
from btw_jax.pipeline import workdir as workdir_lib


def evaluate(
  workdir: str | os.PathLike, split: str, data_dir: str = ""
) -> tuple[dict[str, Any], pathlib.Path]:
  """Evaluates a run, and writes metrics and predictions into its workdir.

  Args:
    workdir: folder of the run.
    split: name of the split.
    data_dir: a folder of other data, or empty for the run's own.

  Returns:
    The results, as `train_run.train` returns them, and the file they are in.

  Raises:
    InputError: if there is no such run, or the data does not fit its models.
  """
  saved = workdir_lib.read(workdir)
  config, shape = saved.config, saved.shape
  models = restore.load_models(saved)
  examples = run_data.read_split(saved, split, data_dir)
  scores = evaluation.score(
    models,
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
    "seeds": config.seeds,
    "refit": config.refit,
    "mitigation": list(config.mitigation.methods),
    "embedding_scale": next(iter(chosen.values()))["choice"]["scale"],
    "rows": [{**row, **chosen.get(row["name"], {})} for row in scores.rows],
  }
  folder = pathlib.Path(workdir)
  evaluation.write_predictions(
    folder / f"evaluation_{split}_predictions.csv", scores, shape.modalities
  )
  path = folder / f"evaluation_{split}.json"
  files.write_json(path, results)
  return results, path


def _choice(variants, run_params):
  return {
    "variant": variants[int(run_params.variant)],
    "strength": float(run_params.strength),
    "scale": float(run_params.scale),
  }
