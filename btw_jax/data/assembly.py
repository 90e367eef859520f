"""The assembly of a checked data set from the splits that a loader yields."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import columns
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import describe
from btw_jax.data import labels
from btw_jax.data import names
from btw_jax.data import splitting

# The tasks whose models have an output for each class or label.
_SEVERAL_OUTPUTS = ("multiclass", "multilabel")


def load(name: str, options: catalog.Options) -> dataset_lib.Dataset:
  """Loads and checks a data set, with train, valid and test splits.

  Raises:
    InputError: if the name is unknown, or a file or its content is invalid.
  """
  return assemble(name, catalog.read(name, options), options)


def assemble(
  name: str, loaded: dataset_lib.LoadedSplits, options: catalog.Options
) -> dataset_lib.Dataset:
  """Checks loaded splits, infers the task and holds out a validation split.

  Raises:
    InputError: if the data is invalid.
  """
  loaded = arrange(loaded, options)
  splits = loaded.splits
  # Only `fit` may leave out the test split: a lost file must not go unnoticed.
  needed = ("train",) if name == catalog.ARRAYS else ("train", "test")
  for split in needed:
    if split not in splits:
      file = catalog.find(name).reads.replace("{split}", split)
      raise errors.InputError(
        f"{options.data_dir}: has no {split!r} split: add it ({file})."
      )
  is_inferred = not (options.task or loaded.task)
  task = (
    options.task or loaded.task or checks.infer_task(splits["train"].target)
  )
  notes = [*loaded.notes]
  doubt = checks.doubt_task(splits["train"].target) if is_inferred else ""
  splits = {s: labels.from_one_hot(e, task) for s, e in splits.items()}
  classes = labels.classes_of(task, splits["train"].target)
  names.check_texts(splits["train"].files["target"], "label", classes)
  notes.append(
    f"task: {task}" + (" (inferred, see --task)" if is_inferred else "")
  )
  notes += [doubt] if doubt else []
  if classes and task != "multilabel" and not _are_numbers(classes):
    notes.append(f"classes: {', '.join(labels.names(classes))}")
  drawn = not catalog.find(name).reads or "valid" not in splits
  drawn |= options.split_by == "subject"
  if "valid" not in splits:
    splits, note = _hold_out_valid(splits, task, options)
    notes.append(note)
  checks.check_training(splits["train"])
  splits = {s: labels.encode(e, task, classes) for s, e in splits.items()}
  return dataset_lib.Dataset(
    name=name,
    task=task,
    num_classes=len(classes) if task in _SEVERAL_OUTPUTS else 1,
    classes=classes,
    splits={s: splits[s] for s in dataset_lib.SPLITS if s in splits},
    drawn=drawn,
    notes=tuple(notes),
  )


def arrange(
  loaded: dataset_lib.LoadedSplits, options: catalog.Options
) -> dataset_lib.LoadedSplits:
  """Checks loaded splits, pads their sequences alike and applies the options.

  Raises:
    InputError: if the data is invalid.
  """
  splits = {
    split: _select_and_check(split, examples, options)
    for split, examples in loaded.splits.items()
  }
  if not options.stream:
    splits = _order_alike(splits)
    splits = dataset_lib.pad_to_longest(splits)
  notes = [*loaded.notes, *_note_replaced(splits)]
  if not options.stream:
    notes += _note_missing(loaded.splits, splits)
  if options.split_by == "subject":
    splits, note = _split_by_subject(splits, options)
    notes.append(note)
  else:
    notes += _note_shared_subjects(splits)
  # The notes of a prepared data set already hold some of these: drop repeats.
  return dataset_lib.LoadedSplits(
    splits, loaded.task, tuple(dict.fromkeys(notes))
  )


def summarise(
  loaded: dataset_lib.LoadedSplits, task: str | None = None
) -> Mapping[str, Any]:
  """Describes loaded splits by `describe.describe`, even invalid ones.

  A prepared data set brings its description. `task` overrides the task that the
  loader gives or the labels suggest.

  Raises:
    InputError: if rows or modalities do not line up.
  """
  if loaded.summary is not None:
    return loaded.summary
  for split, examples in loaded.splits.items():
    checks.check_rows(split, examples)
  checks.check_same_modalities(loaded.splits)
  target = next(iter(loaded.splits.values())).target
  return describe.describe(
    loaded.splits, task or loaded.task or checks.infer_task(target)
  )


def load_split(
  name: str,
  options: catalog.Options,
  split: str,
  classes: Sequence[labels.Class],
) -> dataset_lib.Examples:
  """Loads and checks one split alone, for a trained model.

  The options must set the task; `classes` are those of the model. The examples
  have no targets if the options do not ask for labels.

  Raises:
    InputError: if the name is unknown, or a file or its content is invalid.
  """
  splits = catalog.read(name, options).splits
  if split not in splits:
    raise errors.InputError(
      f"--split={split}: {options.data_dir or name} has no such split: use one"
      f" of {', '.join(splits)}."
    )
  examples = splits[split]
  if not options.labelled:
    examples = dataclasses.replace(examples, target=None)
  return check_split(split, examples, options, classes)


def check_split(
  split: str,
  examples: dataset_lib.Examples,
  options: catalog.Options,
  classes: Sequence[labels.Class],
) -> dataset_lib.Examples:
  """Checks one split for a trained model; see `load_split`."""
  examples = _select_and_check(split, examples, options)
  if not options.stream:
    examples = columns.align(examples, options.columns or {})
  if examples.target is None:
    return examples
  examples = labels.from_one_hot(examples, options.task)
  return labels.encode(examples, options.task, classes)


def _order_alike(splits):
  """Orders modalities and features of all splits as those of the first."""
  checks.check_same_modalities(splits)
  first, *_ = splits.values()
  return {
    split: columns.align(examples.select(first.modalities), first.columns)
    for split, examples in splits.items()
  }


def _select_and_check(split, examples, options):
  """Selects modalities, checks the split and averages steps, as options say."""
  for modality in options.modalities:
    if modality not in examples.modalities:
      has = ", ".join(examples.modalities)
      if options.widths is None:
        raise errors.InputError(
          f"--modalities: {modality!r} is unknown: use some of {has}."
        )
      raise errors.InputError(
        f"{examples.files['id']}: has no modality {modality!r}, which the model"
        f" has, only {has}: add it; single examples may lack it."
      )
  examples = examples.select(options.modalities or examples.modalities)
  for modality in examples.modalities:
    names.check_modality(examples.files[modality], modality)
  # A prepared data set was checked before it was written.
  if not options.stream:
    examples = _mark_missing(examples)
    checks.check_examples(split, examples)
  return examples.averaged() if options.average_steps else examples


def _mark_missing(examples):
  """Marks modalities as absent from rows of which every value is NaN."""
  present = dict(examples.present)
  for modality, x in examples.features.items():
    rows, is_nan = present[modality], np.isnan(x)
    # The checks, which come next, name what does not line up.
    if len(rows) != len(x) or not is_nan.any():
      continue
    if modality in examples.steps:
      # Padding is 0.
      is_nan |= ~examples.observed(modality)
    axes = tuple(range(1, x.ndim))
    present[modality] = rows & ~is_nan.all(axis=axes)
  return dataclasses.replace(examples, present=present)


def _note_missing(loaded, splits):
  """Yields a note for each modality that rows of NaN lack."""
  for split, examples in splits.items():
    for modality, present in examples.present.items():
      before = loaded[split].present[modality]
      count = np.count_nonzero(before) - np.count_nonzero(present)
      if count:
        yield (
          f"{split}: {count} of {len(present)} rows of {modality!r} are NaN or"
          " empty: these examples lack the modality"
        )


def _note_replaced(splits):
  """Yields a note if values that were not finite were replaced."""
  counts = {}
  for examples in splits.values():
    for modality, count in examples.replaced.items():
      counts[modality] = counts.get(modality, 0) + count
  replaced = [f"{c} of {m!r}" for m, c in counts.items() if c]
  if replaced:
    yield f"values that were not finite count as 0: {', '.join(replaced)}"


def _note_shared_subjects(splits):
  """Yields a note for each pair of splits that share subjects."""
  subjects = {split: e.subjects for split, e in splits.items()}
  for first, second, count in splitting.shared_subjects(subjects):
    yield (
      f"{count} subjects are in {first} and in {second}: a model that learns to"
      " recognise them scores too well; see --split_by=subject"
    )


def _split_by_subject(splits, options):
  """Draws new splits of all examples, so that no two splits share a subject."""
  if options.stream:
    raise errors.InputError(
      "--split_by=subject: the splits of a streamed data set are fixed: prepare"
      " it again with --split_by=subject."
    )
  examples = dataset_lib.concatenate(list(splits.values()))
  if examples.subjects is None:
    raise errors.InputError(
      "--split_by=subject: the data names no subjects: use --split_by=given."
    )
  if len(set(examples.ids)) < len(examples):
    # Ids need to be unique within a split only: row numbers repeat, for one.
    ids = [f"{split}/{i}" for split, e in splits.items() for i in e.ids]
    examples = dataclasses.replace(examples, ids=np.array(ids, str))
  shares = {split: len(e) / len(examples) for split, e in splits.items()}
  if "valid" not in shares:
    shares["valid"] = shares["train"] * options.valid_share
    shares["train"] -= shares["valid"]
  rows = splitting.by_subject(examples.subjects, shares, seed=options.seed)
  note = f"splits: drawn by subject (seed {options.seed}), not as given"
  return {split: examples.take(r) for split, r in rows.items()}, note


def _hold_out_valid(splits, task, options):
  """Holds out a random share of the training split for validation."""
  train = splits["train"]
  rows = splitting.hold_out(
    train.target, task, share=options.valid_share, seed=options.seed
  )
  note = (
    f"validation: {len(rows['valid'])} of {len(train)} training examples held"
    f" out at random (seed {options.seed}); if features were fitted on their"
    " labels, validation cannot show overfitting"
  )
  return {**splits, **{s: train.take(r) for s, r in rows.items()}}, note


def _are_numbers(classes):
  """Returns True for the classes 0, 1, ..., which need no explanation."""
  return classes == tuple(range(len(classes)))
