"""From a name to a checked data set."""

from collections.abc import Sequence
import dataclasses

import numpy as np
from sklearn import model_selection

from btw_jax import types
from btw_jax.data import checks
from btw_jax.data import csv
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import diabetes
from btw_jax.data import digits
from btw_jax.data import npz


@dataclasses.dataclass(frozen=True)
class Options:
  """What a source may need to know; each uses what applies to it.

  Attributes:
    data_dir: folder of the files, for sources that read some.
    modalities: those to use, in order; all by default.
    task: overrides what the source or its labels suggest.
    num_train: training examples, for digits.
    noise_modalities: modalities of pure noise to add, for digits.
    valid_share: share of train held out where no validation split is given.
    average_steps: replace sequences by their mean step.
    seed: of splits and noise.
  """

  data_dir: str = ""
  modalities: Sequence[str] = ()
  task: str | None = None
  num_train: int = 400
  noise_modalities: int = 0
  valid_share: float = 0.2
  average_steps: bool = True
  seed: int = 0


SOURCES = {
  "digits": lambda o: digits.load(
    num_train=o.num_train, noise_modalities=o.noise_modalities, seed=o.seed
  ),
  "diabetes": lambda o: diabetes.load(seed=o.seed),
  "npz": lambda o: npz.load(data_dir=o.data_dir),
  "csv": lambda o: csv.load(data_dir=o.data_dir),
}

# Sources that read files, hence need a folder.
FROM_FILES = ("npz", "csv")


def load(name: str, options: Options) -> dataset_lib.Dataset:
  """Reads, checks, splits and names the task of a data set.

  Args:
    name: a name of `SOURCES`.
    options: what the source needs.

  Returns:
    The data set, with train, valid and test splits.

  Raises:
    InputError: if anything is wrong with the names or the data.
  """
  splits, task = _read(name, options)
  for split in ("train", "test"):
    if split not in splits:
      raise types.InputError(
        f"{options.data_dir}: has no {split!r} split: add its file."
      )
  inferred = not (options.task or task)
  task = options.task or task or checks.infer_task(splits["train"].target)
  notes = [f"task: {task}" + (" (inferred, see --task)" if inferred else "")]
  drawn = name not in FROM_FILES or "valid" not in splits
  if "valid" not in splits:
    splits, note = _hold_out(splits, task, options)
    notes.append(note)
  splits = {s: _typed(examples, task) for s, examples in splits.items()}
  dataset = dataset_lib.Dataset(
    name=name,
    task=task,
    num_classes=_num_classes(task, splits["train"].target),
    splits={s: splits[s] for s in dataset_lib.SPLITS},
    drawn=drawn,
    notes=tuple(notes),
  )
  checks.check_dataset(dataset)
  return dataset


def load_split(
  name: str, options: Options, split: str, num_classes: int
) -> dataset_lib.Examples:
  """Reads one split alone, for a model that is trained already.

  Args:
    name: a name of `SOURCES`.
    options: what the source needs; its task must be set.
    split: a split that the files give.
    num_classes: classes or labels that the model knows.

  Returns:
    The examples.

  Raises:
    InputError: if anything is wrong with the names or the data.
  """
  splits, _ = _read(name, options, only=split)
  if split not in splits:
    raise types.InputError(
      f"--split={split}: {options.data_dir or name} has no such split: use one"
      " that it has."
    )
  examples = _typed(splits[split], options.task)
  checks.check_labels(options.task, num_classes, examples)
  return examples


def _read(name, options, only=None):
  """What a source yields, each split checked on its own."""
  if name not in SOURCES:
    raise types.InputError(
      f"--dataset={name}: unknown: use one of {', '.join(SOURCES)}."
    )
  if name in FROM_FILES and not options.data_dir:
    raise types.InputError(f"--dataset={name} reads files: set --data_dir.")
  splits, task = SOURCES[name](options)
  splits = {
    s: _select(e, options.modalities)
    for s, e in splits.items()
    if only in (None, s)
  }
  for split, examples in splits.items():
    checks.check_examples(split, examples)
  if options.average_steps:
    splits = {split: e.averaged() for split, e in splits.items()}
  return splits, task


def _select(examples, modalities):
  for modality in modalities:
    if modality not in examples.features:
      raise types.InputError(
        f"--modalities: {modality!r} is unknown: use some of"
        f" {', '.join(examples.features)}."
      )
  chosen = modalities or tuple(examples.features)
  return dataclasses.replace(
    examples,
    features={m: examples.features[m] for m in chosen},
    present={m: examples.present[m] for m in chosen},
    steps={m: s for m, s in examples.steps.items() if m in chosen},
  )


def _hold_out(splits, task, options):
  """Holds a seeded share of train out for validation."""
  train = splits["train"]
  size = max(1, round(len(train) * options.valid_share))
  if size >= len(train):
    raise types.InputError(
      f"--valid_share={options.valid_share}: leaves nothing to train on of"
      f" {len(train)} examples: give a smaller share or a valid split."
    )
  counts = np.unique(train.target, axis=0, return_counts=True)[1]
  classes = task in ("binary", "multiclass") and counts.min() > 1
  classes = classes and len(counts) <= min(size, len(train) - size)
  kept, held = model_selection.train_test_split(
    np.arange(len(train)),
    test_size=size,
    stratify=train.target if classes else None,
    random_state=options.seed,
  )
  note = (
    f"validation: {size} of {len(train)} training examples held out at random"
    f" (seed {options.seed}); features fitted on their labels make it blind"
  )
  rows = {"train": np.sort(kept), "valid": np.sort(held)}
  return {**splits, **{s: train.take(r) for s, r in rows.items()}}, note


def _typed(examples, task):
  """Targets in the dtype of the task; labels are checked before casting."""
  whole = task != "regression" and np.all(
    examples.target == np.round(examples.target)
  )
  target = examples.target.astype(np.int32 if whole else np.float32)
  if (task == "multilabel") != (target.ndim == 2):
    raise types.InputError(
      f"{examples.files['target']}: the target has shape {target.shape}, which"
      f" does not fit --task={task}: give [N], or [N, labels] for multilabel."
    )
  return dataclasses.replace(examples, target=target)


def _num_classes(task, target):
  if task == "multilabel":
    return target.shape[1]
  return int(target.max()) + 1 if task == "multiclass" else 1
