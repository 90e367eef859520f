"""From a name to a checked data set."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

import numpy as np

from btw_jax import errors
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import describe
from btw_jax.data import prepared
from btw_jax.data import splitting
from btw_jax.data.sources import breast_cancer
from btw_jax.data.sources import diabetes
from btw_jax.data.sources import digits
from btw_jax.data.sources import mimic
from btw_jax.data.sources import mmim
from btw_jax.data.sources import mmsa
from btw_jax.data.sources import multibench
from btw_jax.data.sources import npz
from btw_jax.data.sources import tables

SPLIT_BY = ("given", "subject")


@dataclasses.dataclass(frozen=True)
class Options:
  """What a source may need to know; each uses what applies to it.

  Attributes:
    data_dir: file or folder, for sources that read some.
    modalities: those to use, in order; all by default.
    task: overrides what the source or its labels suggest.
    num_train: training examples, for digits.
    noise_modalities: modalities of pure noise to add, for digits.
    valid_share: share of train held out where no validation split is given.
    average_steps: replace sequences by their mean step.
    split_by: a name of `SPLIT_BY`: as given, or drawn with no subject in two.
    stream: leave the features of a prepared data set on disk.
    seed: of splits and noise.
  """

  data_dir: str = ""
  modalities: Sequence[str] = ()
  task: str | None = None
  num_train: int = 400
  noise_modalities: int = 0
  valid_share: float = 0.2
  average_steps: bool = True
  split_by: str = "given"
  stream: bool = False
  seed: int = 0


class DatasetLoader(NamedTuple):
  """How a data set is read.

  Attributes:
    load: from options to what it yields.
    reads: what `data_dir` must be; empty if nothing is read.
  """

  load: Callable[[Options], dataset_lib.LoadedSplits]
  reads: str = ""


def _mmsa(options: Options) -> dataset_lib.LoadedSplits:
  return mmsa.load(path=options.data_dir)


def _multibench(options: Options) -> dataset_lib.LoadedSplits:
  return multibench.load(path=options.data_dir)


def _mmim(options: Options) -> dataset_lib.LoadedSplits:
  return mmim.load(path=options.data_dir)


def _mimic(task: str, missing: bool = False) -> DatasetLoader:
  return DatasetLoader(
    lambda o: mimic.load(path=o.data_dir, task=task, missing=missing),
    f"{{train,val,test}}_{mimic.TASKS[task].file}"
    f"{'-missingInd' * missing}_stays.pkl",
  )


SOURCES = {
  "digits": DatasetLoader(
    lambda o: digits.load(
      num_train=o.num_train, noise_modalities=o.noise_modalities, seed=o.seed
    )
  ),
  "diabetes": DatasetLoader(lambda o: diabetes.load(seed=o.seed)),
  "breast_cancer": DatasetLoader(lambda o: breast_cancer.load(seed=o.seed)),
  "npz": DatasetLoader(lambda o: npz.load(path=o.data_dir), "{split}.npz"),
  "csv": DatasetLoader(
    lambda o: tables.load(path=o.data_dir, suffixes=tables.CSV),
    "{modality}_{split}.csv[.gz]",
  ),
  "parquet": DatasetLoader(
    lambda o: tables.load(path=o.data_dir, suffixes=tables.PARQUET),
    "{modality}_{split}.parquet",
  ),
  "mmsa_mosi": DatasetLoader(_mmsa, "[un]aligned_50.pkl"),
  "mmsa_mosei": DatasetLoader(_mmsa, "[un]aligned_50.pkl"),
  "multibench_mosi": DatasetLoader(_multibench, "mosi_raw.pkl"),
  "multibench_mosei": DatasetLoader(_multibench, "mosei_senti_data.pkl"),
  "mmim_mosi": DatasetLoader(_mmim, "{train,dev,test}.pkl"),
  "mmim_mosei": DatasetLoader(_mmim, "{train,dev,test}.pkl"),
  **{f"mimic_{task}": _mimic(task) for task in mimic.TASKS},
  **{f"mimic_{task}_missing": _mimic(task, True) for task in mimic.TASKS},
}


def load(name: str, options: Options) -> dataset_lib.Dataset:
  """Reads, checks, splits and names the task of a data set.

  Args:
    name: a name of `SOURCES`, or that of a prepared data set.
    options: what the source needs.

  Returns:
    The data set, with train, valid and test splits.

  Raises:
    InputError: if anything is wrong with the names or the data.
  """
  return assemble(name, read(name, options), options)


def assemble(
  name: str, found: dataset_lib.LoadedSplits, options: Options
) -> dataset_lib.Dataset:
  """Checks, splits and names the task of what was read.

  Args:
    name: of the data set.
    found: what its source yielded.
    options: what the source needed.

  Returns:
    The data set, with train, valid and test splits.

  Raises:
    InputError: if anything is wrong with the data.
  """
  found = arrange(found, options)
  splits = found.splits
  for split in ("train", "test"):
    if split not in splits:
      raise errors.InputError(
        f"{options.data_dir}: has no {split!r} split: add its file."
      )
  inferred = not (options.task or found.task)
  task = options.task or found.task or checks.infer_task(splits["train"].target)
  notes = [*found.notes]
  notes.append(
    f"task: {task}" + (" (inferred, see --task)" if inferred else "")
  )
  drawn = not find(name).reads or "valid" not in splits
  drawn |= options.split_by == "subject"
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


def arrange(
  found: dataset_lib.LoadedSplits, options: Options
) -> dataset_lib.LoadedSplits:
  """What a source yielded, checked, in the splits asked for.

  Args:
    found: what it yielded.
    options: what it needed.

  Returns:
    Splits whose sequences have as many steps, and what to say of them.

  Raises:
    InputError: if anything is wrong with the data.
  """
  splits = {s: _checked(s, e, options) for s, e in found.splits.items()}
  if not options.stream:
    checks.check_alike(splits)
    splits = dataset_lib.same_steps(splits)
  notes = [*found.notes, *_replaced(splits)]
  if options.split_by == "subject":
    splits, note = _by_subject(splits, options)
    notes.append(note)
  else:
    notes += _shared(splits)
  # What was prepared brings some of them along.
  return dataset_lib.LoadedSplits(
    splits, found.task, tuple(dict.fromkeys(notes))
  )


def summarise(
  found: dataset_lib.LoadedSplits, task: str | None = None
) -> Mapping[str, Any]:
  """What a data set looks like, even one that training would refuse.

  Args:
    found: what its source yielded.
    task: overrides what the source or its labels suggest.

  Returns:
    Of `describe.describe`; of a prepared data set, what was written with it.

  Raises:
    InputError: if rows or modalities do not line up.
  """
  if found.summary is not None:
    return found.summary
  for split, examples in found.splits.items():
    checks.check_rows(split, examples)
  checks.check_alike(found.splits)
  target = next(iter(found.splits.values())).target
  return describe.describe(
    found.splits, task or found.task or checks.infer_task(target)
  )


def load_split(
  name: str, options: Options, split: str, num_classes: int
) -> dataset_lib.Examples:
  """Reads one split alone, for a model that is trained already.

  Args:
    name: a name of `SOURCES`, or that of a prepared data set.
    options: what the source needs; its task must be set.
    split: a split that the files give.
    num_classes: classes or labels that the model knows.

  Returns:
    The examples.

  Raises:
    InputError: if anything is wrong with the names or the data.
  """
  splits = read(name, options).splits
  if split not in splits:
    raise errors.InputError(
      f"--split={split}: {options.data_dir or name} has no such split: use one"
      " that it has."
    )
  examples = _checked(split, splits[split], options)
  examples = _typed(examples, options.task)
  checks.check_labels(options.task, num_classes, examples)
  return examples


def read(name: str, options: Options) -> dataset_lib.LoadedSplits:
  """What a source yields, unchecked.

  Args:
    name: a name of `SOURCES`, or that of a prepared data set.
    options: what the source needs.

  Returns:
    The splits as the source has them.

  Raises:
    InputError: if the name is unknown, or the files cannot be read.
  """
  source = find(name)
  if options.stream and not prepared.named(name):
    raise errors.InputError(
      f"--reading=stream: {name} is read as a whole: convert it with"
      f" experiments.prepare_data and set --dataset=tfds:{name}."
    )
  if source.reads and not options.data_dir:
    raise errors.InputError(
      f"--dataset={name} reads files ({source.reads}): set --data_dir."
    )
  return source.load(options)


def find(name: str) -> DatasetLoader:
  """How a data set is read.

  Args:
    name: a name of `SOURCES`, or "tfds:" and that of a prepared data set.

  Returns:
    Its source.

  Raises:
    InputError: if the name is unknown.
  """
  rest = prepared.named(name)
  if rest:

    def load_prepared(options):
      read = prepared.stream if options.stream else prepared.load
      return read(path=options.data_dir, name=rest)

    return DatasetLoader(load_prepared, "what experiments.prepare_data wrote")
  if name not in SOURCES:
    raise errors.InputError(
      f"--dataset={name}: unknown: use one of {', '.join(SOURCES)}, or"
      " tfds:NAME for one that was prepared."
    )
  return SOURCES[name]


def _checked(split, examples, options):
  """The modalities asked for, averaged over their steps if asked for."""
  for modality in options.modalities:
    if modality not in examples.modalities:
      raise errors.InputError(
        f"--modalities: {modality!r} is unknown: use some of"
        f" {', '.join(examples.modalities)}."
      )
  examples = examples.select(options.modalities or examples.modalities)
  # What was prepared was checked before it was written.
  if not options.stream:
    checks.check_examples(split, examples)
  return examples.averaged() if options.average_steps else examples


def _replaced(splits):
  counts = {}
  for examples in splits.values():
    for modality, count in examples.replaced.items():
      counts[modality] = counts.get(modality, 0) + count
  listed = [f"{c} of {m!r}" for m, c in counts.items() if c]
  if listed:
    yield f"values that were not finite count as 0: {', '.join(listed)}"


def _shared(splits):
  subjects = {split: e.subjects for split, e in splits.items()}
  for first, second, count in splitting.shared_subjects(subjects):
    yield (
      f"{count} subjects are in {first} and in {second}: what is learned of a"
      " subject helps to test it; see --split_by=subject"
    )


def _by_subject(splits, options):
  """Splits of the same examples, no subject in two of them."""
  if options.stream:
    raise errors.InputError(
      "--split_by=subject: what is streamed has its splits: prepare it with"
      " --split_by=subject."
    )
  every = dataset_lib.concatenate(list(splits.values()))
  if every.subjects is None:
    raise errors.InputError(
      "--split_by=subject: the source names no subjects: use --split_by=given."
    )
  if len(set(every.ids)) < len(every):
    # Ids were unique within a split only, row numbers for one.
    ids = [f"{split}/{i}" for split, e in splits.items() for i in e.ids]
    every = dataclasses.replace(every, ids=np.array(ids, str))
  shares = {split: len(e) / len(every) for split, e in splits.items()}
  if "valid" not in shares:
    shares["valid"] = shares["train"] * options.valid_share
    shares["train"] -= shares["valid"]
  rows = splitting.by_subject(every.subjects, shares, seed=options.seed)
  note = f"splits: drawn by subject (seed {options.seed}), not as given"
  return {split: every.take(r) for split, r in rows.items()}, note


def _hold_out(splits, task, options):
  """Holds a seeded share of train out for validation."""
  train = splits["train"]
  rows = splitting.hold_out(
    train.target, task, share=options.valid_share, seed=options.seed
  )
  note = (
    f"validation: {len(rows['valid'])} of {len(train)} training examples held"
    f" out at random (seed {options.seed}); features fitted on their labels"
    " make it blind"
  )
  return {**splits, **{s: train.take(r) for s, r in rows.items()}}, note


def _typed(examples, task):
  """Targets in the dtype of the task; labels are checked before casting."""
  whole = task != "regression" and np.all(
    examples.target == np.round(examples.target)
  )
  target = examples.target.astype(np.int32 if whole else np.float32)
  if (task == "multilabel") != (target.ndim == 2):
    raise errors.InputError(
      f"{examples.files['target']}: the target has shape {target.shape}, which"
      f" does not fit --task={task}: give [N], or [N, labels] for multilabel."
    )
  return dataclasses.replace(examples, target=target)


def _num_classes(task, target):
  if task == "multilabel":
    return target.shape[1]
  return int(target.max()) + 1 if task == "multiclass" else 1
