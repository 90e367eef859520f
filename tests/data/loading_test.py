"""The files of other programs are read as they were written."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import pathlib

import numpy as np
import pytest

from btw_jax import errors
from btw_jax import tasks
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import loading
from btw_jax.evaluation import evaluate
from support import written_files


@dataclasses.dataclass(frozen=True)
class Case:
  """Files, and how they are to be read.

  Attributes:
    dataset: the name of the format.
    write: writes the files to a folder.
    widths: modality -> number of features.
    task: of the data.
    classes: of the data.
    names: names of the features of the first modality, if they have names.
    notes: what the log must say.
    options: of the loader.
  """

  dataset: str
  write: Callable[[pathlib.Path], None]
  widths: Mapping[str, int] = dataclasses.field(
    default_factory=lambda: written_files.WIDTHS
  )
  task: str = "binary"
  classes: Sequence = (0, 1)
  names: Sequence[str] = ()
  notes: Sequence[str] = ()
  options: Mapping = dataclasses.field(default_factory=dict)


_NAMES = ("a0", "a1", "a2", "a3", "a4")


def _csv(write, names=_NAMES, notes=(), widths=None):
  write = functools.partial(written_files.tables, write=write)
  widths = widths or written_files.WIDTHS
  return Case("csv", write, widths, names=names, notes=notes)


def _parquet(write, names=_NAMES, notes=()):
  write = functools.partial(
    written_files.tables, write=write, suffix=".parquet"
  )
  return Case("parquet", write, names=names, notes=notes)


TABLES = {
  "numeric_header": _csv(
    written_files.numbered, "01234", ["audio: the first row, 0, 1, ..., 5, is"]
  ),
  "csv_index": _csv(
    written_files.csv(index=True),
    notes=["audio: the first column, without name, is an index and is left"],
  ),
  "parquet_index": _parquet(
    written_files.shuffled,
    notes=["audio: the column '__index_level_0__' is an index and is left"],
  ),
  "parquet_named_index": _parquet(
    written_files.named_index,
    notes=["audio: the column 'patient' names the rows: it is read as the id"],
  ),
  "byte_order_mark": _csv(
    written_files.csv(
      header=False, encoding="utf-8-sig", lineterminator="\r\n"
    ),
    (),
  ),
  "same_names": _csv(
    written_files.repeated_names, ("TP53", "BRCA1", "TP53.1", "EGFR", "MYC"),
    ["audio: 2 columns are called 'TP53': they are told apart by their order"],
  ),
  "semicolon": _csv(
    written_files.csv(sep=";"), notes=["video: the separator is ; (see"]
  ),
  "semicolon_decimal_comma": _csv(
    written_files.csv(sep=";", decimal=","),
    notes=["video: the separator is ;", "audio: numbers have a decimal comma"],
  ),
  "tabs": _csv(
    written_files.csv(sep="\t"), notes=["video: the separator is tab (see"]
  ),
  "trailing_comma": _csv(
    written_files.trailing_commas, notes=["video: the last column is empty and"]
  ),
  "nanoseconds": _csv(
    written_files.nanoseconds, ("recorded_ns", *_NAMES),
    ["audio: the column 'recorded_ns' is read as a feature, but its whole"],
    {"audio": 6, "video": 5},
  ),
  "empty_rows": _csv(
    written_files.empty_rows, notes=["valid: 3 of 8 rows of 'video' are NaN or"]
  ),
  "list_column": _parquet(
    written_files.lists, [f"embedding[{i}]" for i in range(5)]
  ),
}  # fmt: skip


def _npz(make):
  return Case("npz", functools.partial(written_files.arrays, make=make))


SHAPES = {
  "present_column": {"present_audio": lambda y: np.ones((len(y), 1), int)},
  "target_n11": {"y": lambda y: y.reshape(-1, 1, 1)},
  "id_bytes": {
    "id": lambda y: np.array([f"clip{i}é".encode() for i in range(len(y))])
  },
  "id_column": {
    "id": lambda y: np.array([[f"clip{i}é"] for i in range(len(y))])
  },
}


@pytest.mark.parametrize("name", SHAPES)
def test_axes_of_one_and_bytes_are_what_they_stand_for(tmp_path, name):
  make = functools.partial(written_files.changed, **SHAPES[name])
  dataset = _load(_npz(make), tmp_path).dataset
  assert (dataset.task, dataset.classes) == ("binary", (0, 1))
  for split, examples in dataset.splits.items():
    _, y = written_files.views(split)
    np.testing.assert_array_equal(examples.target, y)
    assert examples.present["audio"].all()
    last = len(y) - 1
    assert examples.ids.tolist()[-1] == (
      f"clip{last}é" if "id" in name else f"{last}"
    )


# Labels -> their task and classes, and the flag that the log must name.
LABELS = {
  "codes": ([4280, 41401, 5849], "multiclass", (4280, 5849, 41401), ""),
  "from_one": ([1, 2, 3], "multiclass", (1, 2, 3), ""),
  "plus_minus": ([-1, 1], "binary", (-1, 1), ""),
  "grey_levels": ([0, 255], "binary", (0, 255), ""),
  "class_names": (
    ["sad", "happy", "angry"], "multiclass", ("angry", "happy", "sad"), ""
  ),
  "one_hot": (np.eye(3, dtype=int), "multilabel", (0, 1, 2), "multiclass"),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
def test_the_classes_are_the_values_of_the_training_rows(tmp_path, name):
  values, task, classes, other = LABELS[name]
  make = functools.partial(written_files.labelled, values=values)
  dataset = _load(_npz(make), tmp_path).dataset
  assert (dataset.task, dataset.classes) == (task, classes)
  assert f"task: {task} (inferred, see --task)" in dataset.notes
  shown = ", ".join(map(str, classes))
  # The numbers 0, 1, ... need no explanation.
  assert (f"classes: {shown}" in dataset.notes) == (name != "one_hot")
  assert any(f"--task={other}" in n for n in dataset.notes) == bool(other)
  for split, examples in dataset.splits.items():
    _, y = written_files.views(split, num_classes=len(values))
    expected = np.asarray(values)[y]
    if task != "multilabel":
      expected = [classes.index(value) for value in expected.tolist()]
    np.testing.assert_array_equal(examples.target, expected)


def test_one_hot_rows_are_classes_if_the_task_says_so(tmp_path):
  make = functools.partial(written_files.labelled, values=np.eye(3))
  case = dataclasses.replace(_npz(make), options={"task": "multiclass"})
  dataset = _load(case, tmp_path).dataset
  assert (dataset.task, dataset.classes) == ("multiclass", (0, 1, 2))
  _, y = written_files.views("test", num_classes=3)
  np.testing.assert_array_equal(dataset.splits["test"].target, y)
  # A model that was trained on them reads them too.
  options = catalog.Options(data_dir=str(tmp_path), task="multiclass")
  test = assembly.load_split("npz", options, "test", (0, 1, 2))
  np.testing.assert_array_equal(test.target, y)


def _write_numbers(folder, num_rows):
  """Writes 24 whole numbers as labels, each in the same share of the rows."""
  y = np.arange(num_rows) % 24 + 1
  fields = {"x_a": np.random.default_rng(0).normal(size=(num_rows, 2)), "y": y}
  for split in written_files.SIZES:
    np.savez(folder / f"{split}.npz", **fields)


@pytest.mark.parametrize(
  ("num_rows", "task", "other"),
  [(240, "multiclass", "regression"), (48, "regression", "multiclass")],
)
def test_whole_numbers_that_repeat_are_classes_however_many(
  tmp_path, num_rows, task, other
):
  case = Case("npz", functools.partial(_write_numbers, num_rows=num_rows))
  dataset = _load(case, tmp_path).dataset
  assert dataset.task == task
  assert len(dataset.classes) == (24 if task == "multiclass" else 0)
  (note,) = [n for n in dataset.notes if n.startswith("labels: 24 different")]
  assert note.endswith(f"set --task={other}")


def _write_rare(folder):
  """Writes no validation split, and a class that a single row has."""
  for split, y in (("train", [*np.arange(30) % 2, 2]), ("test", [0, 1, 2] * 2)):
    x = np.random.default_rng(0).normal(size=(len(y), 2))
    np.savez(folder / f"{split}.npz", x_a=x, y=y)


def test_classes_are_counted_before_examples_are_held_out(tmp_path):
  for seed in range(8):
    case = Case("npz", _write_rare, options={"seed": seed})
    dataset = _load(case, tmp_path).dataset
    assert dataset.classes == (0, 1, 2)
    np.testing.assert_array_equal(dataset.splits["test"].target, [0, 1, 2] * 2)
    assert {s: len(e) for s, e in dataset.splits.items()} == (
      {"train": 25, "valid": 6, "test": 6}
    )


def _clock(split, *, extra):
  """Returns the arrays of a clock in seconds, over a minute in 2023."""
  fields = written_files.labelled(split, (0, 1))
  seconds = 1.7e9 + 30 * fields["x_audio"][:, :1]
  others = fields["x_audio"][:, 1:] if extra else np.zeros((len(seconds), 0))
  clock = np.concatenate([seconds, others], axis=1)
  return {"x_clock": clock, "x_video": fields["x_video"], "y": fields["y"]}


def _clock_steps(split):
  """Returns the arrays of a clock as a sequence of two steps."""
  fields = _clock(split, extra=True)
  return fields | {"x_clock": np.stack([fields["x_clock"]] * 2, axis=1)}


@pytest.mark.parametrize("average_steps", [True, False])
@pytest.mark.parametrize(
  "make",
  [
    functools.partial(_clock, extra=False),
    functools.partial(_clock, extra=True),
    _clock_steps,
  ],
)
def test_large_features_are_centred_before_they_are_float32(
  tmp_path, make, average_steps
):
  options = {"average_steps": average_steps}
  case = dataclasses.replace(_npz(make), options=options)
  inputs = _load(case, tmp_path)
  clock = make("train")["x_clock"].astype(np.longdouble)
  axes = tuple(range(clock.ndim - 1))
  expected = (clock - clock.mean(axes)) / clock.std(axes)
  batch = inputs.splits["train"]
  assert batch.features.dtype == np.float32
  is_sequence = clock.ndim == 3 and not average_steps
  found = batch.sequences[0].values[:, 0] if is_sequence else (
    batch.features[:, 0, : clock.shape[-1]]
  )  # fmt: skip
  assert found.dtype == np.float32
  if found.ndim < expected.ndim:
    expected = expected[:, 0]
  np.testing.assert_allclose(found, expected.astype(float), atol=2e-6)


def test_whole_nanoseconds_are_centred_before_they_are_float32(tmp_path):
  inputs = _load(TABLES["nanoseconds"], tmp_path)
  rows = np.arange(written_files.SIZES["train"], dtype=float)
  expected = (rows - rows.mean()) / rows.std()
  # Float64 rounds these times, and their mean, by up to 128 ns of the 8.6 ms
  # that are their spread.
  found = inputs.splits["train"].features[:, 0, 0]
  np.testing.assert_allclose(found, expected, atol=256 / 8.6e6)


def _large_target(split):
  fields = written_files.labelled(split, (0, 1))
  return fields | {"y": 1.7e9 + 10 * fields["x_audio"][:, 0]}


def test_large_targets_are_centred_before_they_are_float32(tmp_path):
  inputs = _load(_npz(_large_target), tmp_path)
  assert inputs.dataset.task == "regression"
  y = _large_target("train")["y"].astype(np.longdouble)
  expected = ((y - y.mean()) / y.std()).astype(float)
  target = inputs.splits["train"].target
  assert target.dtype == np.float32
  np.testing.assert_allclose(target, expected, atol=2e-6)
  (scaler,) = inputs.scalers
  # Predictions are turned back into the unit of the target.
  outputs = np.stack([target, np.zeros_like(target)], axis=1)
  task = tasks.make("regression", 1)
  predicted = evaluate.interpret(task, outputs, scaler)
  raw = inputs.dataset.splits["train"].target
  np.testing.assert_array_equal(raw, y.astype(float))
  np.testing.assert_allclose(predicted.decision - 1.7e9, raw - 1.7e9, atol=1e-4)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"x_audio": lambda y: np.ones((len(y), 2)) + 1j * y[:, None]},
      "train.npz: 'x_audio' holds complex128 values: give numbers, and",
    ),
    (
      {"y": lambda y: y + 1j},
      "train.npz: the target holds complex128 values: give numbers or names",
    ),
    (
      {"y": lambda y: np.stack([y, y], 1)[:, None]},
      r"train.npz: the target has shape \(30, 1, 2\): give \[N\], or",
    ),
    (
      {"present_audio": lambda y: np.ones((len(y), 2))},
      r"modality 'audio' has presence values of shape \(30, 2\): give \[N\]",
    ),
    (
      {"id": lambda y: np.array([b"\xff"] * len(y))},
      "train.npz: 'id' holds bytes that are not UTF-8: give strings",
    ),
  ],
)  # fmt: skip
def test_arrays_that_cannot_be_met_are_named(tmp_path, changes, message):
  make = functools.partial(written_files.changed, **changes)
  with pytest.raises(errors.InputError, match=message) as error:
    _load(_npz(make), tmp_path)
  assert "\n" not in str(error.value)


def _load(case, folder):
  case.write(folder)
  options = catalog.Options(data_dir=str(folder), **case.options)
  datasets = loading.read_datasets(
    case.dataset,
    options,
    [options.seed],
    split_per_seed=False,
    reading=loading.Reading(),
  )
  return loading.prepare(datasets, loading.Reading())


@pytest.mark.parametrize("name", TABLES)
def test_files_are_read_as_they_were_written(tmp_path, name):
  case = TABLES[name]
  inputs = _load(case, tmp_path)
  dataset = inputs.dataset
  assert {s: len(e) for s, e in dataset.splits.items()} == written_files.SIZES
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == (
    case.widths
  )
  assert (dataset.task, dataset.classes) == (case.task, case.classes)
  first = dataset.modalities[0]
  assert tuple(dataset.columns.get(first, ())) == tuple(case.names)
  for expected in case.notes:
    assert any(note.startswith(expected) for note in dataset.notes), (
      dataset.notes
    )
  for split, examples in dataset.splits.items():
    _check_content(name, split, examples)


def _check_content(name, split, examples):
  """Checks that the features and labels are those that were written."""
  arrays, y = written_files.views(split)
  order = np.arange(len(y))
  if name == "parquet_index":
    shuffled = written_files.frame("audio", split)
    order = shuffled.sample(frac=1, random_state=5).index.to_numpy()
  np.testing.assert_array_equal(examples.target, y[order])
  for modality, x in arrays.items():
    present = examples.present[modality]
    is_absent = (name, modality) == ("empty_rows", "video")
    np.testing.assert_array_equal(
      np.flatnonzero(~present), [3, 4, 5] if is_absent else []
    )
    # Further features, if there are any, stand before these.
    features = examples.features[modality][:, -x.shape[1] :]
    np.testing.assert_allclose(features[present], x[order][present], rtol=1e-6)


@pytest.mark.parametrize("only", ["", "audio"])
def test_a_missing_number_in_the_first_row_is_named(tmp_path, only):
  write = functools.partial(written_files.first_missing, only=only)
  message = "audio_train.csv: modality 'audio', row 0, column 1 is nan: replace"
  with pytest.raises(errors.InputError, match=message):
    _load(_csv(write), tmp_path)


def test_the_index_that_has_a_name_is_the_id(tmp_path):
  inputs = _load(TABLES["parquet_named_index"], tmp_path)
  assert list(inputs.dataset.splits["test"].ids[:3]) == ["7", "10", "13"]


def test_tables_whose_indices_differ_are_refused(tmp_path):
  case = TABLES["csv_index"]
  case.write(tmp_path)
  table = written_files.frame("audio", "test")
  table.iloc[::-1].to_csv(tmp_path / "audio_test.csv")
  options = catalog.Options(data_dir=str(tmp_path))
  message = "video_test.csv: the index of row 0 is 0, but 11 in .*audio_test"
  with pytest.raises(errors.InputError, match=message):
    loading.read_datasets(
      "csv", options, [0], split_per_seed=False, reading=loading.Reading()
    )
