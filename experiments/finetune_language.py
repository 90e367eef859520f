"""Fine-tunes language models with weighted questions, and compares weights.

  python -m experiments.finetune_language --workdir=runs/questions

Profiles training questions by masking (both sources, each alone), and raises
the weight of those that could gain most from fusing modalities (GapScore). The
last fifth of the decoder's layers is fine-tuned with LoRA. Controls: uniform
weights, the same weights at random, by accuracy, by ablation. Prints a table
with test accuracy and likelihood, and leaves finetune.json in the workdir.
"""

import pathlib

from absl import flags

from . import app

_WORKDIR = flags.DEFINE_string(
  "workdir",
  "runs/questions",
  "folder of a run of the language model; one that makes errors has most to"
  " gain",
)
_NUM_SEEDS = flags.DEFINE_integer(
  "num_seeds",
  10,
  "number of runs of each variant; they start from the models of the run in"
  " turn",
  1,
)
_NUM_TRAIN = flags.DEFINE_integer(
  "num_train", 4000, "number of training questions; 0 for all of the run", 0
)
_NUM_EPOCHS = flags.DEFINE_integer("num_epochs", 5, "number of epochs", 1)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 128, "questions of a step, over all devices", 1
)
_LEARNING_RATE = flags.DEFINE_float(
  "learning_rate", 3e-3, "largest learning rate of AdamW", 0.0
)
_RANK = flags.DEFINE_integer("rank", 8, "rank of the change of a kernel", 1)
_TOP_SHARE = flags.DEFINE_float(
  "top_share",
  0.1,
  "share of the questions that count 3, and of the shortcuts that count 0.5",
  0.0,
  0.5,
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "seed of masks, batches and random weights", 0
)
_OUTPUT = flags.DEFINE_string(
  "output", "", "JSON file to write; finetune.json in the workdir if empty"
)


def main() -> None:
  """Compares weights, prints and writes."""
  from btw_jax.pipeline import files
  from btw_jax.pipeline.language import finetune
  from btw_jax.pipeline.language import finetune_training
  from btw_jax.pipeline.language import finetune_weights
  from btw_jax.pipeline.language import run as run_lib
  from btw_jax.reports import tables as tables_lib

  options = finetune.Options(
    finetune_training.Options(
      _NUM_SEEDS.value,
      _NUM_EPOCHS.value,
      _BATCH_SIZE.value,
      _LEARNING_RATE.value,
      _RANK.value,
    ),
    _NUM_TRAIN.value,
    _TOP_SHARE.value,
    _SEED.value,
  )
  comparison = finetune.compare(run_lib.load(_WORKDIR.value), options)
  content = {
    "note": finetune.describe(comparison),
    "rows": finetune.table(comparison),
  }
  shares = finetune_weights.shares(comparison.weights)
  output = pathlib.Path(
    _OUTPUT.value or pathlib.Path(_WORKDIR.value, "finetune.json")
  )
  files.write_json(
    output, content | {"weights": shares, "runs": finetune.to_json(comparison)}
  )
  print(tables_lib.with_note(content))
  print(f"\n{tables_lib.markdown(shares)}\n\n{output}")


def start() -> None:
  """Defines flags, and runs the program."""
  profile = ["workdir", "num_train", "top_share", "seed", "output"]
  training = ["num_seeds", "num_epochs", "batch_size", "learning_rate", "rank"]
  app.run(main, {"Questions": profile, "Fine-tuning": training})


if __name__ == "__main__":
  start()
