import dataclasses
import gzip
import os
import pathlib
import pickle

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import batching
from btw_jax.data import catalog
from btw_jax.data import scaling


def _arrays(n=20, seed=0):
  rng = np.random.default_rng(seed)
  return {
    "x_text": rng.normal(size=(n, 3)).astype("f"),
    "x_audio": rng.normal(size=(n, 2)).astype("f"),
    "y": np.arange(n) % 2,
    "id": np.array([f"clip{i}" for i in range(n)]),
  }


@pytest.fixture
def write(tmp_path):
  """Writes train, valid and test, some of their fields replaced or dropped."""

  def write(split="train", **changes):
    for name in ("train", "valid", "test"):
      arrays = _arrays(seed=len(name))
      if name == split:
        arrays |= changes
      arrays = {k: v for k, v in arrays.items() if v is not None}
      np.savez(tmp_path / f"{name}.npz", **arrays)
    return catalog.Options(data_dir=str(tmp_path))

  return write


def _with(array, row, value):
  array = np.array(array)
  array[row] = value
  return array


BAD = {
  "not finite": (
    {"x_text": _with(_arrays()["x_text"], (7, 1), np.nan)},
    r"train.npz: modality 'text', row 7, column 1 is nan: replace it",
  ),
  "infinite": (
    {"x_audio": _with(_arrays()["x_audio"], (3, 0), -np.inf)},
    r"train.npz: modality 'audio', row 3, column 0 is -inf",
  ),
  "lengths": (
    {"x_text": np.zeros((19, 3))},
    r"modality 'text' has 19 rows but there are 20 targets in .*train.npz",
  ),
  "presence length": (
    {"present_text": np.ones(3)},
    r"modality 'text' has 3 presence values but there are 20 targets",
  ),
  "duplicate id": (
    {"id": _with(_arrays()["id"], 9, "clip4")},
    r"train.npz: id 'clip4' of row 9 is that of row 4 too",
  ),
  "id count": (
    {"id": np.arange(5)},
    r"train.npz: 5 ids for 20 examples of split 'train'",
  ),
  "target not finite": (
    {"y": _with(np.linspace(0, 1, 20), 6, np.inf)},
    r"train.npz: the target of row 6 is inf",
  ),
  "target is text": (
    {"y": np.array(["pos", "neg"] * 10)},
    r"train.npz: the target holds <U3 values: give numbers",
  ),
  "constant target": (
    {"y": np.ones(20)},
    r"train.npz: every training target is 1",
  ),
  "constant modality": (
    {"x_text": np.full((20, 3), 2.0)},
    r"train.npz: modality 'text' is constant over the training split",
  ),
  "absent everywhere": (
    {"present_audio": np.zeros(20)},
    r"modality 'audio' is absent from every example of split 'train'",
  ),
  "empty": (
    {
      "x_text": np.zeros((0, 3)),
      "x_audio": np.zeros((0, 2)),
      "y": np.zeros(0),
      "id": None,
    },
    r"train.npz: split 'train' has no examples",
  ),
  "no target": ({"y": None}, r"train.npz: has no field 'y'"),
  "no modality": (
    {"x_text": None, "x_audio": None},
    r"train.npz: has no field 'x_<modality>'",
  ),
  "objects": (
    {"y": np.array([None] * 20, object)},
    r"train.npz: cannot be read as npz .*without object arrays",
  ),
  "length out of range": (
    {"x_text": np.ones((20, 4, 3)), "length_text": np.full(20, 5)},
    r"train.npz: 'length_text' of row 0 is 5: give 1 to 4",
  ),
  "text features": (
    {"x_text": np.full((20, 3), "a")},
    r"train.npz: 'x_text' holds <U1 values: give numbers",
  ),
  "shape": (
    {"x_text": np.zeros(20)},
    r"train.npz: 'x_text' has shape \(20,\): give \[N, D\] or \[N, T, D\]",
  ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named(write, case):
  changes, message = BAD[case]
  with pytest.raises(errors.InputError, match=message) as error:
    catalog.load("npz", write(**changes))
  assert "\n" not in str(error.value)


def test_labels_out_of_range_are_named(write):
  options = write("test", y=_with(np.arange(20) % 2, 5, 3))
  with pytest.raises(
    errors.InputError, match=r"test.npz: the label of row 5 is 3, but binary"
  ):
    catalog.load("npz", options)


def _summarised(name, options):
  catalog.summarise(catalog.read(name, options))


def _by_subject(name, options):
  catalog.load(name, dataclasses.replace(options, split_by="subject"))


@pytest.mark.parametrize("use", [catalog.load, _summarised, _by_subject])
def test_splits_must_be_alike(write, use):
  options = write("valid", x_audio=np.random.default_rng(0).random((20, 4)))
  with pytest.raises(
    errors.InputError,
    match=r"valid.npz: modality 'audio' has 4 features, but 2",
  ):
    use("npz", options)
  options = write("valid", x_audio=None)
  with pytest.raises(
    errors.InputError,
    match=r"valid.npz: split 'valid' has no modality 'audio', but 'train' has",
  ):
    use("npz", options)
  options = write("valid", x_smell=np.ones((20, 4)))
  with pytest.raises(
    errors.InputError, match="'train' has no modality 'smell', but 'valid' has"
  ):
    use("npz", options)


def test_unknown_names_are_listed(write):
  options = write()
  with pytest.raises(errors.InputError, match="--dataset=mosi: .*digits, diab"):
    catalog.load("mosi", options)
  wrong = catalog.Options(data_dir=options.data_dir, modalities=("video",))
  with pytest.raises(
    errors.InputError, match="'video' is unknown: use some of"
  ):
    catalog.load("npz", wrong)
  with pytest.raises(errors.InputError, match="set --data_dir"):
    catalog.load("npz", catalog.Options())
  with pytest.raises(errors.InputError, match=r"holds none of train.npz"):
    catalog.load("npz", catalog.Options(data_dir="/nowhere"))


def test_a_missing_split_is_named(write, tmp_path):
  options = write()
  (tmp_path / "test.npz").unlink()
  with pytest.raises(errors.InputError, match="has no 'test' split"):
    catalog.load("npz", options)


def test_a_pickle_in_an_archive_is_never_run(write, tmp_path):
  marker = tmp_path / "ran"

  class Attack:
    def __reduce__(self):
      return os.system, (f"touch {marker}",)

  attack = np.empty(20, object)
  attack[:] = Attack()
  options = write(y=attack)
  with pytest.raises(errors.InputError, match="cannot be read as npz"):
    catalog.load("npz", options)
  assert not marker.exists()
  # A bare pickle under the right name is refused too.
  (tmp_path / "train.npz").write_bytes(pickle.dumps(Attack()))
  with pytest.raises(errors.InputError, match="cannot be read as npz"):
    catalog.load("npz", options)
  assert not marker.exists()


def test_truncated_archives_are_named(write, tmp_path):
  options = write()
  content = (tmp_path / "train.npz").read_bytes()
  (tmp_path / "train.npz").write_bytes(content[: len(content) // 2])
  with pytest.raises(errors.InputError, match="train.npz: cannot be read"):
    catalog.load("npz", options)


def test_tasks_are_inferred_and_can_be_set(write):
  rng = np.random.default_rng(0)
  for y, task, classes in (
    (np.arange(20) % 2, "binary", 1),
    (np.arange(20) % 3, "multiclass", 3),
    (rng.normal(size=20), "regression", 1),
    (np.arange(60).reshape(20, 3) % 2, "multilabel", 3),
  ):
    options = write(y=y)
    # The same labels in every split.
    for split in ("valid", "test"):
      path = pathlib.Path(options.data_dir, f"{split}.npz")
      np.savez(path, **{**_arrays(seed=1), "y": y})
    dataset = catalog.load("npz", options)
    assert (dataset.task, dataset.num_classes) == (task, classes)
  counts = catalog.Options(data_dir=options.data_dir, task="regression")
  with pytest.raises(errors.InputError, match="does not fit --task=regression"):
    catalog.load("npz", counts)


def test_sequences_become_the_mean_of_their_steps(write):
  x = np.random.default_rng(0).normal(size=(20, 4, 3))
  length = np.arange(20) % 4 + 1
  dataset = catalog.load("npz", write(x_text=x, length_text=length))
  found = dataset.splits["train"].features["text"]
  for i in range(20):
    np.testing.assert_allclose(found[i], x[i, : length[i]].mean(0), rtol=1e-5)


def test_held_out_validation_is_seeded_disjoint_and_said(write, tmp_path):
  options = write()
  (tmp_path / "valid.npz").unlink()
  first, again = (catalog.load("npz", options) for _ in range(2))
  other = catalog.load("npz", catalog.Options(options.data_dir, seed=1))
  ids = [set(d.splits["valid"].ids) for d in (first, again, other)]
  assert ids[0] == ids[1] != ids[2]
  assert len(ids[0]) == 4
  assert not ids[0] & set(first.splits["train"].ids)
  assert "4 of 20 training examples held out" in " ".join(first.notes)
  assert first.drawn
  assert not catalog.load("npz", write()).drawn


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
  dataset = catalog.load("csv", options)
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
      catalog.load("csv", options)
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
    catalog.load("csv", options)
  path.unlink()
  with pytest.raises(errors.InputError, match=r"words_test.csv: no such file"):
    catalog.load("csv", options)


def test_embedded_sets_have_the_stated_views():
  dataset = catalog.load("digits", catalog.Options(noise_modalities=2))
  widths = dict(zip(dataset.modalities, dataset.widths, strict=True))
  assert widths == {
    "pixels": 64, "fourier": 40, "profiles": 16, "gradients": 12,
    "noise0": 64, "noise1": 64,
  }  # fmt: skip
  sizes = [len(e) for e in dataset.splits.values()]
  assert sizes == [320, 80, 1397]
  ids = [i for e in dataset.splits.values() for i in e.ids]
  assert len(set(ids)) == 1797
  pixels = dataset.splits["test"].features["pixels"].reshape(-1, 8, 8)
  profiles = dataset.splits["test"].features["profiles"]
  np.testing.assert_allclose(profiles[:, :8], pixels.sum(1))
  np.testing.assert_allclose(
    dataset.splits["test"].features["fourier"].reshape(-1, 8, 5)[:, 0, 0],
    pixels.sum((1, 2)),
    rtol=1e-5,
  )
  diabetes = catalog.load("diabetes", catalog.Options())
  assert diabetes.widths == (3, 1, 6)
  assert diabetes.task == "regression"
  with pytest.raises(errors.InputError, match="--num_train=1797: give 20 to"):
    catalog.load("digits", catalog.Options(num_train=1797))


def test_measures_of_nuclei_come_as_three_views():
  dataset = catalog.load("breast_cancer", catalog.Options())
  assert (dataset.task, dataset.num_classes) == ("binary", 1)
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "mean": 10, "error": 10, "worst": 10,
  }  # fmt: skip
  assert [len(e) for e in dataset.splits.values()] == [341, 114, 114]
  ids = [i for e in dataset.splits.values() for i in e.ids]
  assert len(set(ids)) == 569
  for examples in dataset.splits.values():
    assert examples.target.mean() == pytest.approx(357 / 569, abs=0.01)
    # The worst of an image is the mean of its three largest nuclei.
    worst, mean = (examples.features[m] for m in ("worst", "mean"))
    assert np.all(worst >= mean)


def test_scaling_knows_only_the_training_split(write):
  train = _arrays()
  train["x_text"][:, 2] = 5.0
  present = np.arange(20) % 4 > 0
  options = write(
    x_text=train["x_text"], x_audio=train["x_audio"], present_text=present
  )
  dataset = catalog.load("npz", options)
  scaler = scaling.fit(dataset)
  batch = batching.stack(dataset.splits["train"], scaler)
  text = batch.features[:, 0]
  np.testing.assert_allclose(text[present].mean(0), 0, atol=1e-6)
  np.testing.assert_allclose(text[present].std(0), [1, 1, 0], atol=1e-5)
  np.testing.assert_array_equal(text[~present], 0)
  np.testing.assert_array_equal(batch.features[:, 1, 2], 0)
  np.testing.assert_array_equal(batch.present[:, 0], present)
  # A column that is constant in train stays 0 elsewhere.
  test = batching.stack(dataset.splits["test"], scaler)
  np.testing.assert_array_equal(test.features[:, 0, 2], 0)
  expected = dataset.splits["test"].features["text"][:, 0]
  x = train["x_text"][present, 0].astype(np.float64)
  np.testing.assert_allclose(
    test.features[:, 0, 0], (expected - x.mean()) / x.std(), rtol=1e-4
  )


def test_real_mosi_reads_in_both_forms(mosi):
  npz = catalog.load("npz", catalog.Options(data_dir=str(mosi / "npz")))
  assert [len(e) for e in npz.splits.values()] == [1447, 244, 508]
  assert dict(zip(npz.modalities, npz.widths, strict=True)) == {
    "text": 100, "audio": 73, "video": 100,
  }  # fmt: skip
  csv = catalog.load("csv", catalog.Options(data_dir=str(mosi)))
  assert len(csv.splits["test"]) == 752
  assert len(csv.splits["train"]) + len(csv.splits["valid"]) == 1447
  constant = scaling.fit(csv).inverse_std[csv.modalities.index("video"), :100]
  assert np.sum(constant == 0) >= 32


def _sequence(n=20, seed=0, *, irregular=True):
  """A modality of 4 steps and 3 features, with all that can be said of it."""
  rng = np.random.default_rng(seed)
  length = np.arange(n) % 4 + 1
  fields = {"x_text": rng.normal(size=(n, 4, 3)) + 5, "length_text": length}
  if irregular:
    fields["time_text"] = np.cumsum(rng.random((n, 4)), axis=1)
    fields["observed_text"] = rng.random((n, 4, 3)) < 0.8
  return fields


def _steps_batches(write, tmp_path, *, irregular):
  options = write(**_sequence(irregular=irregular))
  for seed, split in enumerate(("valid", "test"), 1):
    np.savez(
      tmp_path / f"{split}.npz",
      **{**_arrays(seed=seed), **_sequence(seed=seed, irregular=irregular)},
    )
  options = dataclasses.replace(options, average_steps=False)
  dataset = catalog.load("npz", options)
  scaler = scaling.fit(dataset)
  return dataset, [
    batching.stack(dataset.splits[s], scaler) for s in ("train", "test")
  ]


@pytest.mark.parametrize("irregular", [True, False])
def test_sequences_keep_their_steps_when_asked_to(write, tmp_path, irregular):
  dataset, (train, test) = _steps_batches(write, tmp_path, irregular=irregular)
  assert dataset.num_steps == (4, 0)
  assert batching.groups(dataset.num_steps, dataset.widths) == ((0,),)
  (steps,) = train.sequences
  fields = _sequence(irregular=irregular)
  np.testing.assert_array_equal(steps.length[:, 0], fields["length_text"])
  there = np.arange(4) < fields["length_text"][:, None]
  there = np.broadcast_to(there[..., None], (20, 4, 3))
  if irregular:
    there = there & fields["observed_text"]
    np.testing.assert_array_equal(steps.observed[:, 0], there)
    inside = np.arange(4) < fields["length_text"][:, None]
    last = fields["time_text"][inside].max()
    np.testing.assert_allclose(
      steps.times[:, 0], fields["time_text"] / last, rtol=1e-5
    )
  else:
    assert steps.times is None
    assert steps.observed is None
  # Standardised by the training steps that are there; zero elsewhere.
  for d in range(3):
    own = fields["x_text"][..., d][there[..., d]]
    expected = (fields["x_text"][..., d] - own.mean()) / own.std()
    np.testing.assert_allclose(
      steps.values[:, 0, :, d], np.where(there[..., d], expected, 0), atol=1e-5
    )
    other = _sequence(seed=2, irregular=irregular)["x_text"][0, 0, d]
    if there[0, 0, d] and not irregular:
      np.testing.assert_allclose(
        test.sequences[0].values[0, 0, 0, d],
        (other - own.mean()) / own.std(),
        atol=1e-5,
      )
  # The vectors beside them are as without.
  np.testing.assert_array_equal(train.features[:, 0], 0)
  np.testing.assert_allclose(train.features[:, 1, :2].mean(0), 0, atol=1e-6)


def test_averages_are_of_what_was_observed(write):
  fields = _sequence()
  found = catalog.load("npz", write(**fields)).splits["train"].features["text"]
  for i in range(20):
    for d in range(3):
      seen = [
        fields["x_text"][i, t, d]
        for t in range(fields["length_text"][i])
        if fields["observed_text"][i, t, d]
      ]
      np.testing.assert_allclose(
        found[i, d], np.mean(seen) if seen else 0, rtol=1e-5
      )


def test_modalities_of_one_shape_share_a_group():
  found = batching.groups((4, 0, 4, 6, 4), (3, 3, 3, 3, 2))
  assert found == ((0, 2), (3,), (4,))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"length_text": np.arange(19)},
      r"train.npz: 'length_text' has shape \(19,\): give \(20,\), as in",
    ),
    (
      {"observed_text": np.ones((20, 4), bool)},
      r"'observed_text' has shape \(20, 4\): give \(20, 4, 3\)",
    ),
    (
      {"time_text": np.tile([0.0, 1.0, 0.5, 2.0], (20, 1))},
      r"modality 'text', row 2, step 2 was taken at 0.5: give finite times",
    ),
    (
      {"time_text": np.tile([-1.0, 1.0, 2.0, 3.0], (20, 1))},
      r"'text', row 0, step 0 was taken at -1.0: give finite times from 0 on",
    ),
  ],
)
def test_wrong_steps_are_named(write, changes, message):
  with pytest.raises(errors.InputError, match=message) as error:
    catalog.load("npz", write(**{**_sequence(), **changes}))
  assert "\n" not in str(error.value)


def test_a_step_that_is_not_finite_is_named(write):
  fields = _sequence(irregular=False)
  fields["x_text"][6, 1, 2] = np.nan
  message = r"modality 'text', row 6, step 1, column 2 is nan: replace it"
  with pytest.raises(errors.InputError, match=message):
    catalog.load("npz", write(**fields))
  # Past the end, or not observed, anything may stand.
  fields["x_text"][6, 1, 2] = 0.0
  fields["x_text"][0, 3, 2] = np.nan
  catalog.load("npz", write(**fields))


def test_splits_must_agree_in_steps(write):
  options = dataclasses.replace(
    write(**_sequence(irregular=False)), average_steps=False
  )
  message = r"valid.npz: modality 'text' has 3 features, but 4 steps of 3 feat"
  with pytest.raises(errors.InputError, match=message):
    catalog.load("npz", options)
