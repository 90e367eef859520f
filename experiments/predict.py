"""Predicts examples with a finished run; they need no labels.

  python -m experiments.predict --workdir=runs/mine --data_dir=new

Reads the split `test` of the same format as the training data, or one npz file.
Leaves predictions.csv: for each example the class or value, the probability of
each class or the mean and standard deviation, and the weight of each modality.
"""

from absl import flags

from . import app
from . import cluster
from . import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_SPLIT, _DATA_DIR = flags_lib.define_split("split to predict")
_WEIGHTING = flags.DEFINE_string(
  "weighting",
  "",
  "weighting of the run to predict with; if empty, auto if the run has it, else"
  " the one with the lowest validation loss",
)
_SEED = flags.DEFINE_integer(
  "seed", None, "seed whose models to use; those of all seeds together if unset"
)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "CSV file or folder to write; if empty, a folder in the workdir that is named"
  " after --data_dir",
)


def main() -> None:
  """Loads a run, predicts, and prints where the predictions are."""
  from btw_jax.pipeline import predict_run
  from btw_jax.pipeline import saved_config

  cluster.join()
  prediction, path = predict_run.write(
    _WORKDIR.value,
    _SPLIT.value,
    _DATA_DIR.value,
    weighting=_WEIGHTING.value,
    seed=_SEED.value,
    output=_OUTPUT.value,
  )
  print(predict_run.describe(saved_config.read(_WORKDIR.value), prediction))
  print(f"\n{path}")


def start() -> None:
  """Defines flags, and runs the program."""
  groups = {
    "Examples": ["workdir", "split", "data_dir"],
    "Prediction": ["weighting", "seed", "output"],
  }
  app.run(main, groups | cluster.GROUP)


if __name__ == "__main__":
  start()
