import pathlib

import files
import numpy as np
import pyarrow
from pyarrow import csv as arrow_csv
from pyarrow import parquet
import pytest

from btw_jax import errors
from btw_jax.data import batching
from btw_jax.data import catalog
from btw_jax.data import padding
from btw_jax.data import scaling


def _load(name, folder, **options):
  options = {"average_steps": False, **options}
  return catalog.load(name, catalog.Options(data_dir=str(folder), **options))


def _inside(x, length):
  return np.where((np.arange(x.shape[1]) < length[:, None])[..., None], x, 0)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_mmsa_pickles_are_read_as_they_are(tmp_path, aligned, zipped):
  _, content = files.mmsa(tmp_path, aligned=aligned, zipped=zipped)
  dataset = _load("mmsa_mosei", tmp_path)
  assert dataset.task == "regression"
  assert dataset.widths == (768, 74, 35)
  # Unaligned, the number of steps is the data's own.
  longest = (50, 50, 50) if aligned else (50, 9, 7)
  assert dataset.num_steps == longest
  for split, examples in dataset.splits.items():
    fields = content[split]
    np.testing.assert_array_equal(examples.target, fields["regression_labels"])
    assert list(examples.ids) == fields["id"]
    assert examples.subjects[3] == f"{split}1"
    length = fields["text_bert"][:, 1].sum(axis=1).astype(int)
    np.testing.assert_array_equal(examples.steps["text"].length, length)
    np.testing.assert_array_equal(
      examples.features["text"], _inside(fields["text"], length)
    )
    audio = np.where(np.isfinite(fields["audio"]), fields["audio"], 0)
    np.testing.assert_array_equal(examples.features["audio"], audio)
    for modality in ("audio", "vision"):
      found = examples.steps[modality].length
      expected = np.count_nonzero(fields[modality].any(axis=2), axis=1)
      np.testing.assert_array_equal(found, expected)
    assert examples.replaced == {"text": 0, "audio": 1, "vision": 0}
  assert "not finite count as 0: 3 of 'audio'" in " ".join(dataset.notes)


def test_mmsa_lengths_beyond_the_array_or_zero_are_met(tmp_path):
  lengths = list(files.mmsa_split("train", aligned=False)["audio_lengths"])
  lengths[:2] = 0, 375
  changes = {"train": {"audio_lengths": lengths, "text_bert": None}}
  files.mmsa(tmp_path, aligned=False, changes=changes)
  train = _load("mmsa_mosei", tmp_path).splits["train"]
  assert train.steps["audio"].length[1] == 9
  np.testing.assert_array_equal(train.present["audio"][:3], [False, True, True])
  # No mask of tokens: every step that is not zero is there.
  np.testing.assert_array_equal(train.steps["text"].length, 50)


BAD_MMSA = {
  "field": ({"audio": None}, r"'train': has no field 'audio', as an MMSA pick"),
  "rows": (
    {"text": np.ones((11, 50, 768), np.float32), "text_bert": None},
    r"'train': modality 'text' has 11 rows but there are 12 targets",
  ),
  "rank": (
    {"vision": np.ones((12, 35))},
    r"'train': field 'vision' has shape \(12, 35\) of float64: give numbers",
  ),
  "text": (
    {"regression_labels": np.array(["good"] * 12)},
    r"field 'regression_labels' has shape \(12,\) of <U4: give numbers with 1",
  ),
  "ragged": (
    {"audio": [[[1.0]], [[1.0], [2.0]]]},
    r"field 'audio' cannot be read as numbers",
  ),
  "label": (
    {"regression_labels": np.array([0.0] * 7 + [np.nan] * 5)},
    r"'train': the target of row 7 is nan",
  ),
  "empty": (
    {
      "text": np.ones((0, 50, 8)), "audio": np.ones((0, 50, 8)), "id": [],
      "vision": np.ones((0, 50, 8)), "regression_labels": np.ones(0),
      "text_bert": None,
    },
    r"'train': split 'train' has no examples",
  ),
  "all silent": (
    {"audio": np.zeros((12, 50, 74))},
    r"modality 'audio' is absent from every example of split 'train'",
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_MMSA)
def test_bad_mmsa_pickles_are_named(tmp_path, case):
  changes, message = BAD_MMSA[case]
  files.mmsa(tmp_path, changes={"train": changes})
  with pytest.raises(errors.InputError, match=message) as error:
    _load("mmsa_mosi", tmp_path)
  assert str(tmp_path / "aligned_50.pkl") in str(error.value)
  assert "\n" not in str(error.value)


def test_another_files_pickle_is_named(tmp_path):
  path = files.dump(tmp_path / "aligned_50.pkl", [1, 2])
  for name in ("mmsa_mosi", "multibench_mosi"):
    with pytest.raises(
      errors.InputError, match="holds a list, not named fields"
    ):
      _load(name, path)
  files.dump(tmp_path / "aligned_50.pkl", {"train": {}, "test": {}})
  with pytest.raises(
    errors.InputError, match="has no field 'regression_labels'"
  ):
    _load("mmsa_mosi", path)
  with pytest.raises(errors.InputError, match="has no field 'labels'.*nothing"):
    _load("multibench_mosi", path)
  files.dump(tmp_path / "train.pkl", {"a": 1})
  with pytest.raises(
    errors.InputError, match="holds a dict, not a list of exam"
  ):
    _load("mmim_mosi", tmp_path)
  with pytest.raises(
    errors.InputError, match=r"train_ihm.*_stays.pkl: no such f"
  ):
    _load("mimic_ihm", tmp_path)


@pytest.mark.parametrize("mosei", [True, False])
def test_multibench_pickles_lose_their_padding_on_the_left(tmp_path, mosei):
  path, content = files.multibench(tmp_path, mosei=mosei)
  dataset = _load("multibench_mosei" if mosei else "multibench_mosi", path)
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "text": 300, "audio": 74, "vision": 35,
  }  # fmt: skip
  for split, examples in dataset.splits.items():
    fields = content[split]
    np.testing.assert_array_equal(
      examples.target, fields["labels"].reshape(files.SIZES[split])
    )
    assert examples.subjects[3] == f"{split}1"
    assert len(set(examples.ids)) == len(examples)
    # A row of zeros is a missing modality, not dropped.
    assert not examples.present["text"][3]
    assert examples.present["text"].sum() == len(examples) - 1
    for modality in ("text", "audio", "vision"):
      for row in range(len(examples)):
        x = fields[modality][row]
        x = np.where(np.isfinite(x), x, 0)
        x = x[np.any(x, axis=1)]
        assert examples.steps[modality].length[row] == len(x)
        np.testing.assert_array_equal(
          examples.features[modality][row, : len(x)], x
        )
        assert not examples.features[modality][row, len(x) :].any()


@pytest.mark.parametrize("num_labels", [1, 7])
def test_mmim_pickles_with_repeated_ids_are_read(tmp_path, num_labels):
  content = files.mmim(tmp_path, num_labels=num_labels)
  dataset = _load("mmim_mosei", tmp_path)
  assert dataset.widths == (512, 74, 35)
  assert dataset.num_steps[0] == 0
  notes = " ".join(dataset.notes)
  for split, examples in dataset.splits.items():
    rows = content[split]
    np.testing.assert_allclose(examples.target, [r[1][0, 0] for r in rows])
    repeats = len(rows) - len({r[2] for r in rows})
    assert repeats > 0
    assert f"{split}: {repeats} ids are those of earlier rows" in notes
    assert len(set(examples.ids)) == len(rows)
    first = [f"{split}0[0]", f"{split}0[0]#1", f"{split}1[0]"]
    assert list(examples.ids)[:3] == first
    assert list(examples.subjects) == [r[2].partition("[")[0] for r in rows]
    for i, ((_, visual, acoustic, _, tv, ta), _, _) in enumerate(rows):
      assert examples.steps["vision"].length[i] == tv
      np.testing.assert_array_equal(
        examples.features["vision"][i, :tv], np.nan_to_num(visual)
      )
      np.testing.assert_array_equal(
        examples.features["audio"][i, :ta], acoustic
      )
    # The same words in any order are the same text.
    words = [sorted(r[0][3]) for r in rows]
    x = examples.features["text"]
    for i in range(len(rows)):
      for j in range(len(rows)):
        if words[i] == words[j]:
          np.testing.assert_allclose(x[i], x[j], rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)
    assert examples.replaced["vision"] == 1


@pytest.mark.parametrize(
  ("row", "message"),
  [
    (((1, 2), 3, "a"), r"train.pkl: row 2 is not \(\(words, visual"),
    ((([], np.ones(3), np.ones((2, 74)), [], 1, 2), [1.0], "a"),
     r"train.pkl: vision of row 2 has shape \(1,\)"),
    ((([], np.ones((1, 4)), np.ones((2, 74)), [], 1, 2), [1.0], "a"),
     r"vision of row 2 has shape \(1, 4\), row 0 \(\d, 35\): give \[T, D\]"),
  ],
)  # fmt: skip
def test_bad_mmim_rows_are_named(tmp_path, row, message):
  rows = files.mmim(tmp_path)["train"]
  files.dump(tmp_path / "train.pkl", [*rows[:2], row, *rows[2:]])
  with pytest.raises(errors.InputError, match=message):
    _load("mmim_mosi", tmp_path)


def _hourly(stay):
  """The 48 x 60 table of a stay, cell by cell."""
  table = np.zeros((48, 60))
  for column in range(30):
    latest = 0.0
    for hour in range(48):
      for time, values, mask in zip(
        stay["ts_tt"], stay["irg_ts"], stay["irg_ts_mask"], strict=True
      ):
        if int(time) == hour and mask[column]:
          latest, table[hour, 30 + column] = values[column], 1
      table[hour, column] = latest
  return table


TASKS = {
  "mimic_ihm": ("binary", 1, ()),
  "mimic_los": ("multiclass", 4, ()),
  "mimic_los_binary": ("binary", 1, ()),
  "mimic_pheno": ("multilabel", 25, (25,)),
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_stays_are_read_for_every_task(tmp_path, name, missing):
  task, num_classes, label = TASKS[name]
  content = files.mimic(tmp_path, name.removeprefix("mimic_"), missing=missing)
  dataset = _load(name + "_missing" * missing, tmp_path)
  assert (dataset.task, dataset.num_classes) == (task, num_classes)
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "vitals": 30, "hourly": 60, "notes": 768, "cxr": 1024, "ecg": 256,
  }  # fmt: skip
  assert dataset.splits["train"].target.shape[1:] == label
  for split, examples in dataset.splits.items():
    stays = content[split]
    assert list(examples.ids) == [str(int(s["stay_id"])) for s in stays]
    assert list(examples.subjects) == [s["name"] for s in stays]
    np.testing.assert_array_equal(examples.target, [s["label"] for s in stays])
    for i, stay in enumerate(stays):
      steps, n = examples.steps["vitals"], len(stay["ts_tt"])
      hours = stay["ts_tt"].astype(float)
      np.testing.assert_allclose(steps.times[i, :n], hours / 48, rtol=1e-6)
      np.testing.assert_array_equal(steps.observed[i, :n], stay["irg_ts_mask"])
      np.testing.assert_allclose(
        examples.features["vitals"][i, :n],
        stay["irg_ts"] * stay["irg_ts_mask"],
        rtol=1e-6,
      )
      np.testing.assert_allclose(
        examples.features["hourly"][i], _hourly(stay), rtol=1e-6
      )
      gone = bool(stay.get("text_missing", 0))
      assert examples.present["notes"][i] != gone
      notes = np.reshape(stay["text_embeddings"][-5:], (-1, 768))
      assert examples.steps["notes"].length[i] == len(notes)
      np.testing.assert_array_equal(
        examples.features["notes"][i, : len(notes)], notes
      )
      times = np.array(stay["text_time_to_end"][-5:], float)
      np.testing.assert_allclose(
        examples.steps["notes"].times[i, : len(notes)], times / 48, rtol=1e-6
      )
      assert examples.present["cxr"][i] == bool(len(stay.get("cxr_feats", [])))
      ecg = np.reshape(stay["ecg_feats"], (-1, 256))
      np.testing.assert_array_equal(
        examples.features["ecg"][i, : len(ecg)],
        np.nan_to_num(ecg, posinf=0, neginf=0),
      )
    assert examples.present["cxr"].all() != missing
  # 48 hours are one: training does not stretch them.
  np.testing.assert_array_equal(scaling.fit(dataset).last_time, 1)
  batch = batching.stack(dataset.splits["train"], scaling.fit(dataset))
  assert len(batch.sequences) == 5
  assert all(np.isfinite(s.values).all() for s in batch.sequences)


def test_bad_stays_are_named(tmp_path):
  def refuse(changes, message, name="mimic_ihm"):
    stays = files.mimic(tmp_path)["train"]
    stays[4] = {k: v for k, v in (stays[4] | changes).items() if v is not None}
    files.dump(tmp_path / "train_ihm-48-cxr-notes-ecg_stays.pkl", stays)
    with pytest.raises(errors.InputError, match=message) as error:
      _load(name, tmp_path)
    assert "train_ihm-48-cxr-notes-ecg_stays.pkl" in str(error.value)
    assert "\n" not in str(error.value)

  refuse({"irg_ts": None}, "stays.pkl, row 4: has no field 'irg_ts', as a stay")
  refuse({"irg_ts": np.ones((2, 29))}, r"row 4: 'irg_ts' has shape \(2, 29\)")
  refuse({"label": 3}, "row 4: the label is 3: give 0 to 1, or choose")
  refuse({"label": np.ones(25)}, "row 4: the label has 25 values: give 1")
  refuse(
    {"cxr_feats": [np.ones(1024)], "cxr_time": [1, 2]},
    r"row 4: 'cxr_feats' has shape \(1, 1024\): give \(2, 1024\)",
  )
  refuse(
    {"ecg_time": np.array([np.nan] * 3), "ecg_feats": [np.ones(256)] * 3},
    r"modality 'ecg', row 4, step 0 was taken at nan: give finite times",
  )


def test_held_out_examples_are_of_other_subjects_too(tmp_path):
  rng = np.random.default_rng(0)
  for split in ("train", "test"):
    subject = np.arange(40) // 4 if split == "train" else np.arange(40) // 8
    np.savez(
      tmp_path / f"{split}.npz", x_a=rng.normal(size=(40, 2)),
      y=np.arange(40) % 2, subject=subject,
      id=[f"{split}{i}" for i in range(40)],
    )  # fmt: skip
  dataset = _load("npz", tmp_path, split_by="subject", valid_share=0.3)
  sizes = {s: len(set(e.subjects)) for s, e in dataset.splits.items()}
  # Of ten subjects 3.5 to train on, 5 to test on, 1.5 to validate on, rounded.
  assert sizes == {"train": 4, "valid": 2, "test": 4}
  subjects = [s for e in dataset.splits.values() for s in set(e.subjects)]
  assert len(subjects) == len(set(subjects))
  np.savez(tmp_path / "test.npz", x_a=np.ones((3, 2)), y=[0, 1, 0], subject=[1])
  with pytest.raises(
    errors.InputError, match=r"'subject' has shape \(1,\): giv"
  ):
    _load("npz", tmp_path)


def test_subjects_on_both_sides_are_told_and_can_be_parted(tmp_path):
  files.mimic(tmp_path, overlap=True)
  dataset = _load("mimic_ihm", tmp_path)
  notes = " ".join(dataset.notes)
  assert "1 subjects are in train and in valid" in notes
  assert "see --split_by=subject" in notes
  every = {s: set(e.subjects) for s, e in dataset.splits.items()}
  assert every["train"] & every["valid"]

  parted = [
    _load("mimic_ihm", tmp_path, split_by="subject", seed=s) for s in (0, 0, 1)
  ]
  ids = [{s: list(e.ids) for s, e in d.splits.items()} for d in parted]
  assert ids[0] == ids[1] != ids[2]
  for dataset in parted:
    subjects = [set(e.subjects) for e in dataset.splits.values()]
    assert not subjects[0] & subjects[1]
    assert not subjects[0] & subjects[2]
    assert not subjects[1] & subjects[2]
    assert sum(len(e) for e in dataset.splits.values()) == sum(
      files.SIZES.values()
    )
    assert "drawn by subject" in " ".join(dataset.notes)
    assert not any("subjects are in" in note for note in dataset.notes)
  assert not any("held out" in note for note in dataset.notes)
  # Clips of one video are of one subject too, and held-out ones as well.
  files.mmim(tmp_path)
  parted = _load("mmim_mosi", tmp_path, split_by="subject")
  subjects = [set(e.subjects) for e in parted.splits.values()]
  assert not subjects[0] & subjects[2]
  with pytest.raises(
    errors.InputError, match="--split_by=subject: the source na"
  ):
    catalog.load("digits", catalog.Options(split_by="subject"))


def _tables(folder, write, *, own_label=False, ids=False, label=None):
  """One table per modality and split through `write(path, columns)`."""
  content = {}
  for split, n in files.SIZES.items():
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
  dataset = _load(name, tmp_path)
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
  dataset = _load("parquet", tmp_path)
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
      _load("parquet", tmp_path)
    assert "\n" not in str(error.value)

  n = files.SIZES["test"]
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


def test_padding_and_taking_it_away_are_inverse():
  rng = np.random.default_rng(0)
  arrays = [rng.uniform(1, 2, (t, 3)) for t in (2, 0, 5, 1)]
  x, length = padding.pad(arrays, 3)
  assert x.shape == (4, 5, 3)
  np.testing.assert_array_equal(length, [2, 0, 5, 1])
  late = np.zeros_like(x)
  for row, part in enumerate(arrays):
    late[row, 5 - len(part) :] = part
  before = late.copy()
  moved, found = padding.move_to_front(late)
  np.testing.assert_array_equal(moved, x)
  np.testing.assert_array_equal(found, length)
  np.testing.assert_array_equal(late, before)
  # Zeros inside a sequence stay.
  gap = np.zeros((1, 6, 1))
  gap[0, [1, 4]] = 1
  moved, found = padding.move_to_front(gap)
  np.testing.assert_array_equal(moved[0, :, 0], [1, 0, 0, 1, 0, 0])
  assert found == [4]


def test_what_is_not_finite_is_replaced_and_counted():
  x = np.ones((3000, 2), np.float32)
  x[[1, 2000, 2999], 1] = np.nan, np.inf, -np.inf
  before = x.copy()
  found, count = padding.finite(x)
  assert count == 3
  np.testing.assert_array_equal(found, np.nan_to_num(x, posinf=0, neginf=0))
  np.testing.assert_array_equal(x, before)
