"""Evaluates a trained run on a split, also of data it has never seen.

  python -m experiments.evaluate --workdir=runs/digits
  python -m experiments.evaluate --workdir=runs/mine --data_dir=elsewhere

Weighs every example without its history, prints the table that training
prints, and leaves metrics and predictions beside the run.
"""

from collections.abc import Mapping
import dataclasses
import pathlib

from absl import flags

from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import build
from btw_jax.pipeline import evaluation
from btw_jax.pipeline import files
from btw_jax.pipeline import restore
from btw_jax.pipeline import results_table
from btw_jax.pipeline import workdir as workdir_lib
from btw_jax.training import model_checkpoints
from experiments import app
from experiments import cluster

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT = flags.DEFINE_enum(
  "split", "test", dataset_lib.SPLITS, "split to evaluate on"
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "folder of other files of the same format (npz, csv)"
)


def main() -> None:
  """Loads a run, evaluates it, reports."""
  cluster.join()
  written = workdir_lib.read(_WORKDIR.value)
  config = dataclasses.replace(written.config, workdir=_WORKDIR.value)
  written = dataclasses.replace(written, config=config)
  trainers, unimodal, multimodal = restore.load(written)
  examples = restore.read_examples(written, _SPLIT.value, _DATA_DIR.value)
  scores = evaluation.score(
    trainers,
    unimodal,
    multimodal,
    examples,
    config.seeds,
    reading=config.how_to_read(),
    sentiment=config.sentiment,
  )
  finish(written, trainers, multimodal, scores, len(examples[0]))


def finish(
  written: workdir_lib.SavedConfig,
  trainers: build.Trainers,
  multimodal: Mapping[str, model_checkpoints.Multimodal],
  scores: evaluation.Scores,
  num_examples: int,
) -> None:
  """Prints the table and writes metrics and predictions.

  Args:
    written: what the run's `config.json` holds.
    trainers: of both stages.
    multimodal: weighting -> stage 2.
    scores: of the split.
    num_examples: in it.
  """
  config, shape = written.config, written.shape
  variants = trainers.multimodal.rule.variants
  choices = {
    name: {
      "variant": variants[int(model.cell.variant)],
      "strength": float(model.cell.strength),
      "scale": float(model.cell.scale),
    }
    for name, model in multimodal.items()
  }
  split = _SPLIT.value
  results = {
    "dataset": config.dataset,
    "task": shape.task,
    "unit": trainers.task.unit,
    "modalities": list(shape.modalities),
    "sizes": {**written.sizes, split: num_examples},
    "split": split,
    "data_dir": _DATA_DIR.value or config.data_dir,
    "seeds": config.seeds,
    "mitigation": list(config.mitigation),
    "embedding_scale": next(iter(choices.values()))["scale"],
    "rows": [
      {**row, **({"choice": choices[row["name"]]} if "weights" in row else {})}
      for row in scores.rows
    ],
  }
  path = pathlib.Path(config.workdir)
  evaluation.write_predictions(
    path / f"evaluation_{split}_predictions.csv", scores, shape.modalities
  )
  files.write_json(path / f"evaluation_{split}.json", results)
  print(results_table.tables(results))
  print(f"\n{path / f'evaluation_{split}.json'}")


if __name__ == "__main__":
  groups = {"Evaluation": ["workdir", "split", "data_dir"]}
  app.run(main, groups | cluster.GROUP)
