import gzip
import os
import pathlib

import numpy as np
import pyarrow
from pyarrow import csv as arrow_csv
from pyarrow import parquet
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from support import dataset_files


def test_csv_reads_quoted_and_zipped_numbers(tmp_path):
  for split, n in (("train", 12), ("valid", 4), ("test", 6)):
    rng = np.random.default_rng(n)
    for modality in ("sound", "words"):
      rows = [
        ",".join(f'"{v:.17g}"' for v in (*rng.normal(size=3), i % 2))
        for i in range(n)
      ]
      with gzip.open(tmp_path / f"{modality}_{split}.csv.gz", "wt") as file:
        file.write("\n".join(rows) + "\n")
  options = catalog.Options(data_dir=str(tmp_path))
  dataset = assembly.load("csv", options)
  assert dataset.modalities == ("sound", "words")
  assert dataset.task == "binary"
  rng = np.random.default_rng(6)
  np.testing.assert_allclose(
    dataset.splits["test"].features["sound"][0], rng.normal(size=3), rtol=1e-6
  )
  np.testing.assert_array_equal(dataset.splits["test"].target, [0, 1] * 3)

  path = tmp_path / "words_test.csv.gz"
  with gzip.open(path, "rt") as file:
    lines = file.read().splitlines()

  def refuse(new, message):
    with gzip.open(path, "wt") as file:
      file.write("\n".join(new) + "\n")
    with pytest.raises(errors.InputError, match=message) as error:
      assembly.load("csv", options)
    assert "\n" not in str(error.value)

  refuse(lines[:-1], r"words_test.csv.gz: has 5 rows, but .*sound_test.*has 6")
  refuse(
    [*lines[:2], lines[2].replace('"0"', '"1"'), *lines[3:]],
    r"words_test.csv.gz: the label of row 2 is 1, but 0 in .*sound_test",
  )
  refuse(
    [*lines[:2], '"a"' + lines[2][lines[2].index(",") :], *lines[3:]],
    r"words_test.csv.gz: row 2, column 'f0' is 'a': give numbers",
  )
  refuse(
    [*lines[:2], lines[2] + ",1", *lines[3:]],
    r"words_test.csv.gz: cannot be read as a table",
  )
  refuse(
    [*lines[:2], lines[2][lines[2].index(",") :], *lines[3:]],
    r"words_test.csv.gz: modality 'words', row 2, column 0 is nan",
  )
  path.write_bytes(path.read_bytes()[:20])
  with pytest.raises(errors.InputError, match="words_test.csv.gz: cannot be"):
    assembly.load("csv", options)
  path.unlink()
  with pytest.raises(errors.InputError, match=r"words_test.csv: no such file"):
    assembly.load("csv", options)


def _tables(folder, write, *, own_label=False, ids=False, label=None):
  """Writes one table per modality and split by `write(path, columns)`."""
  content = {}
  for split, n in dataset_files.SIZES.items():
    rng = np.random.default_rng(n)
    y = np.arange(n) % 2 if label is None else label(rng, n)
    tables = {m: rng.normal(size=(n, 3)) for m in ("sound", "words")}
    content[split] = {**tables, "y": y}
    for name, x in tables.items():
      columns = {f"c{i}": x[:, i] for i in range(3)}
      if ids:
        columns = {"id": [f"clip {i}" for i in range(n)], **columns}
      if not own_label:
        columns["label"] = y
      write(pathlib.Path(folder, f"{name}_{split}"), columns)
    if own_label:
      y = y.reshape(n, -1)
      columns = {f"label{i}": y[:, i] for i in range(y.shape[1])}
      write(pathlib.Path(folder, f"label_{split}"), columns)
  return content


def _parquet(path, columns):
  parquet.write_table(pyarrow.table(columns), f"{path}.parquet")


def _csv(path, columns):
  arrow_csv.write_csv(pyarrow.table(columns), f"{path}.csv")


@pytest.mark.parametrize("own_label", [False, True])
@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize(
  ("name", "write"), [("parquet", _parquet), ("csv", _csv)]
)
def test_tables_with_names_are_read(tmp_path, name, write, own_label, ids):
  content = _tables(tmp_path, write, own_label=own_label, ids=ids)
  dataset = dataset_files.load(name, tmp_path)
  assert dataset.task == "binary"
  assert dataset.modalities == ("sound", "words")
  for split, examples in dataset.splits.items():
    np.testing.assert_array_equal(examples.target, content[split]["y"])
    for modality in dataset.modalities:
      np.testing.assert_allclose(
        examples.features[modality], content[split][modality], rtol=1e-6
      )
    assert examples.ids[1] == ("clip 1" if ids else "1")


def test_a_table_of_several_labels_is_multilabel(tmp_path):
  content = _tables(
    tmp_path, _parquet, own_label=True,
    label=lambda rng, n: (rng.random((n, 4)) < 0.5).astype(int),
  )  # fmt: skip
  dataset = dataset_files.load("parquet", tmp_path)
  assert (dataset.task, dataset.num_classes) == ("multilabel", 4)
  np.testing.assert_array_equal(
    dataset.splits["test"].target, content["test"]["y"]
  )


def test_bad_tables_are_named(tmp_path):
  def refuse(name, columns, message):
    _tables(tmp_path, _parquet, ids=True)
    if columns is None:
      (tmp_path / f"{name}.parquet").write_bytes(b"PAR1 no table PAR1")
    else:
      _parquet(tmp_path / name, columns)
    with pytest.raises(errors.InputError, match=message) as error:
      dataset_files.load("parquet", tmp_path)
    assert "\n" not in str(error.value)

  n = dataset_files.SIZES["test"]
  numbers = {"id": [f"clip {i}" for i in range(n)], "a": np.arange(n) * 1.0}
  label = {"label": np.arange(n) % 2}
  refuse("words_test", None, "words_test.parquet: cannot be read as a table")
  refuse(
    "words_test", {**numbers, "b": ["x"] * n, **label},
    "words_test.parquet: row 0, column 'b' is 'x': give numbers",
  )  # fmt: skip
  refuse(
    "words_test",
    {**numbers, "id": [f"clip {i}" for i in (0, 1, 3, 2, 4, 5)], **label},
    "words_test.parquet: the id of row 2 is clip 3, but clip 2 in .*sound_test",
  )
  refuse("words_test", {"id": numbers["id"]}, "has no column of numbers")
  refuse("words_test", numbers, "words_test.parquet: has 1 column: give feat")
  refuse("label_test", {"y": np.arange(n)}, "label_train.parquet: no such file")


def _named(folder, split, n, **columns):
  """Writes two tables whose columns stand in an unusual order."""
  rng = np.random.default_rng(n)
  x = {m: rng.normal(size=(n, 2)) for m in ("sound", "words")}
  shared = {"patient": [f"p{i}" for i in range(n)],
            "clinic": [f"c{i % 2}" for i in range(n)]}  # fmt: skip
  for modality, values in x.items():
    of_table = {"a": values[:, 0], **shared, **columns, "b": values[:, 1]}
    # The label need not be in every table.
    if modality == "words":
      of_table.pop("stage", None)
    _csv(folder / f"{modality}_{split}", of_table)
  return x


def test_columns_that_are_no_features_are_named(tmp_path):
  for split, n in dataset_files.SIZES.items():
    stages = [("early", "late")[i % 2] for i in range(n)]
    x = _named(tmp_path, split, n, stage=stages)
  names = {"label": "stage", "id": "patient", "subject": "clinic"}
  dataset = dataset_files.load("csv", tmp_path, **names)
  assert (dataset.task, dataset.classes) == ("binary", ("early", "late"))
  test = dataset.splits["test"]
  np.testing.assert_array_equal(test.ids, [f"p{i}" for i in range(6)])
  np.testing.assert_array_equal(test.subjects, ["c0", "c1"] * 3)
  np.testing.assert_array_equal(test.target, [0, 1] * 3)
  for modality, values in x.items():
    np.testing.assert_allclose(test.features[modality], values, rtol=1e-6)
  with pytest.raises(errors.InputError, match="--label=grade: .* has no such"):
    dataset_files.load("csv", tmp_path, **{**names, "label": "grade"})
  # Without its name, the label is the last column: the tables disagree.
  with pytest.raises(errors.InputError, match="the label of row 0 is"):
    dataset_files.load("csv", tmp_path, id="patient", subject="clinic")


def test_tables_without_labels_are_read_by_the_widths_of_the_model(tmp_path):
  def read(**options):
    options = catalog.Options(
      data_dir=str(tmp_path), labelled=False, task="binary",
      widths={"sound": 3, "words": 3}, **options,
    )  # fmt: skip
    return assembly.load_split("csv", options, "test", (0, 1))

  content = _tables(tmp_path, _csv)["test"]
  labelled = read()
  for modality in ("sound", "words"):
    path = tmp_path / f"{modality}_test.csv"
    table = arrow_csv.read_csv(path).drop_columns(["label"])
    arrow_csv.write_csv(table, path)
  unlabelled = read()
  for examples in (labelled, unlabelled):
    assert examples.target is None
    for modality in ("sound", "words"):
      np.testing.assert_allclose(
        examples.features[modality], content[modality], rtol=1e-6
      )
  with pytest.raises(errors.InputError, match="the label of row 0 is"):
    dataset_files.load("csv", tmp_path)


def test_a_label_column_that_is_not_the_last_must_be_named(tmp_path):
  for split, n in dataset_files.SIZES.items():
    columns = {"label": np.arange(n) % 2 == 1, "a": np.arange(n) * 1.0}
    _csv(tmp_path / f"sound_{split}", columns)
  message = "sound_train.csv: the column 'label' is not the last: set --label=l"
  with pytest.raises(errors.InputError, match=message):
    dataset_files.load("csv", tmp_path)
  dataset = dataset_files.load("csv", tmp_path, label="label")
  assert dataset.classes == (False, True)


def test_rows_without_values_lack_the_modality(tmp_path):
  content = _tables(tmp_path, _csv)["test"]
  path = tmp_path / "words_test.csv"
  lines = path.read_text().splitlines()
  lines[3] = ",,," + lines[3].rpartition(",")[2]
  path.write_text("\n".join(lines))
  dataset = dataset_files.load("csv", tmp_path)
  test = dataset.splits["test"]
  present = np.arange(6) != 2
  np.testing.assert_array_equal(test.present["words"], present)
  np.testing.assert_allclose(
    test.features["words"][present], content["words"][present], rtol=1e-6
  )
  (note,) = [note for note in dataset.notes if "lack the modality" in note]
  assert note.startswith("test: 1 of 6 rows of 'words' are NaN or empty")
  assert "label: the last column of every table, 'label'; see --label" in (
    dataset.notes
  )


def test_labels_are_words_or_numbers(tmp_path):
  _tables(tmp_path, _csv, label=lambda rng, n: np.array(["no", "yes"])[
    np.arange(n) % 2])  # fmt: skip
  dataset = dataset_files.load("csv", tmp_path)
  assert dataset.classes == ("no", "yes")
  path = tmp_path / "sound_test.csv"
  lines = path.read_text().splitlines()
  lines[3] = lines[3].rpartition(",")[0] + ","
  path.write_text("\n".join(lines))
  message = "sound_test.csv: the label of row 2 is empty: give every label"
  with pytest.raises(errors.InputError, match=message):
    dataset_files.load("csv", tmp_path)


def test_a_pipe_is_refused(tmp_path):
  os.mkfifo(tmp_path / "audio_train.csv")
  with pytest.raises(errors.InputError, match="train.csv: is a pipe or a dev"):
    dataset_files.load("csv", tmp_path)
