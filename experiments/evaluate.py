"""Evaluates a trained run on a split, also of data it has never seen.

  python -m experiments.evaluate --workdir=runs/digits
  python -m experiments.evaluate --workdir=runs/mine --data_dir=elsewhere

Weighs every example without its history, prints the table that training
prints, and leaves metrics and predictions beside the run.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from absl import flags

from btw_jax import types
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.training import checkpoints
from btw_jax.training import inputs as inputs_lib
from btw_jax.training import metrics_writer
from btw_jax.training import selection
from experiments import cli
from experiments import cluster
from experiments import config as config_lib
from experiments import report
from experiments import scoring
from experiments import train
from experiments import trainers as trainers_lib
from experiments import workdir as workdir_lib

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
  trainers, unimodal, multimodal = load(written)
  examples = read_examples(written, _SPLIT.value, _DATA_DIR.value)
  scores = scoring.score(
    trainers,
    unimodal,
    multimodal,
    examples,
    config.seeds,
    reading=config.how_to_read(),
    sentiment=config.sentiment,
  )
  finish(written, trainers, multimodal, scores, len(examples[0]))


def load(
  written: workdir_lib.Written,
) -> tuple[
  trainers_lib.Trainers,
  checkpoints.Unimodal,
  dict[str, checkpoints.Multimodal],
]:
  """Restores the models of both stages.

  Args:
    written: what the run's `config.json` holds.

  Returns:
    Trainers, stage 1, and weighting -> stage 2.
  """
  config, shape = written.config, written.shape
  # Whatever devices there were in training.
  config = dataclasses.replace(config, expert_parallelism=1)
  plan = _plan(config)
  trainers = trainers_lib.build(
    config, shape, plan.variants, written.sizes["train"]
  )
  like = trainers_lib.like(trainers, shape, config.num_seeds)
  unimodal = checkpoints.load(config.workdir, "unimodal", like[0])
  multimodal = {
    name: checkpoints.load(config.workdir, name, like[1])
    for name in plan.candidates
  }
  return trainers, unimodal, multimodal


def read_examples(
  written: workdir_lib.Written, split: str, data_dir: str
) -> Sequence[dataset_lib.Examples]:
  """The examples to evaluate on.

  Args:
    written: what the run's `config.json` holds.
    split: its name.
    data_dir: a folder of other data, or empty for the run's own.

  Returns:
    One per seed, or one for all.

  Raises:
    InputError: if the data does not fit the model.
  """
  config, shape = written.config, written.shape
  if not data_dir:
    return [dataset.splits[split] for dataset in config.read_datasets()]
  if not catalog.find(config.dataset).reads:
    raise types.InputError(
      f"--data_dir={data_dir}: {config.dataset} reads no files: leave it out."
    )
  options = dataclasses.replace(
    config.source_options(),
    data_dir=data_dir,
    task=shape.task,
    modalities=shape.modalities,
  )
  stream = inputs_lib.streams(
    config.dataset, options, config.seeds, config.how_to_read()
  )
  examples = catalog.load_split(
    config.dataset,
    dataclasses.replace(options, stream=stream),
    split,
    shape.num_classes,
  )
  # The longest of these may be shorter than the longest trained on.
  examples = examples.padded(
    dict(zip(shape.modalities, shape.num_steps, strict=True))
  )
  for m, modality in enumerate(shape.modalities):
    found = (examples.num_steps[m], examples.widths[m])
    trained = (shape.num_steps[m], shape.widths[m])
    if found != trained:
      raise types.InputError(
        f"{examples.files[modality]}: modality {modality!r} has"
        f" {checks.in_words(found)}, but the model was trained on"
        f" {checks.in_words(trained)}: give the same."
      )
  return [examples]


def finish(
  written: workdir_lib.Written,
  trainers: trainers_lib.Trainers,
  multimodal: Mapping[str, checkpoints.Multimodal],
  scores: scoring.Scores,
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
    "embedding_scale": next(iter(choices.values()))["scale"],
    "rows": [
      {**row, **({"choice": choices[row["name"]]} if "weights" in row else {})}
      for row in scores.rows
    ],
  }
  path = pathlib.Path(config.workdir)
  train.write_predictions(
    path / f"evaluation_{split}_predictions.csv", scores, shape.modalities
  )
  metrics_writer.write_json(path / f"evaluation_{split}.json", results)
  print(report.tables(results))
  print(f"\n{path / f'evaluation_{split}.json'}")


def _plan(config):
  """The runs that stage 2 was made of; their scale does not matter here."""
  strength = config_lib.number_or_auto(config.strength)
  return selection.plan(config.weighting, strength, 1.0)


if __name__ == "__main__":
  groups = {"Evaluation": ["workdir", "split", "data_dir"]}
  cli.run(main, groups | cluster.GROUP)
