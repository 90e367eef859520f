import numpy as np
import pytest

from btw_jax import errors
from support import dataset_files


def _inside(x, length):
  return np.where((np.arange(x.shape[1]) < length[:, None])[..., None], x, 0)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_mmsa_pickles_are_read_as_they_are(tmp_path, aligned, zipped):
  _, content = dataset_files.mmsa(tmp_path, aligned=aligned, zipped=zipped)
  dataset = dataset_files.load("mmsa_mosei", tmp_path)
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
      lengths = examples.steps[modality].length
      expected = np.count_nonzero(fields[modality].any(axis=2), axis=1)
      np.testing.assert_array_equal(lengths, expected)
    assert examples.replaced == {"text": 0, "audio": 1, "vision": 0}
  assert "not finite count as 0: 3 of 'audio'" in " ".join(dataset.notes)


def test_mmsa_lengths_beyond_the_array_or_zero_are_met(tmp_path):
  lengths = list(
    dataset_files.mmsa_split("train", aligned=False)["audio_lengths"]
  )
  lengths[:2] = 0, 375
  changes = {"train": {"audio_lengths": lengths, "text_bert": None}}
  dataset_files.mmsa(tmp_path, aligned=False, changes=changes)
  train = dataset_files.load("mmsa_mosei", tmp_path).splits["train"]
  assert train.steps["audio"].length[1] == 9
  np.testing.assert_array_equal(train.present["audio"][:3], [False, True, True])
  # Without a token mask every step that is not zero is valid.
  np.testing.assert_array_equal(train.steps["text"].length, 50)


BAD_MMSA = {
  "field": ({"audio": None}, r"'train': has no field 'audio', which an MMSA p"),
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
  "complex": (
    {"audio": np.ones((12, 50, 74), complex)},
    r"'train': field 'audio' has shape .* of complex128: give numbers with 3",
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
  dataset_files.mmsa(tmp_path, changes={"train": changes})
  with pytest.raises(errors.InputError, match=message) as error:
    dataset_files.load("mmsa_mosi", tmp_path)
  assert str(tmp_path / "aligned_50.pkl") in str(error.value)
  assert "\n" not in str(error.value)


def _front_padded(split):
  """Returns the fields of a split with the padding before the sequences."""
  fields = dataset_files.mmsa_split(split, aligned=False)
  for name in ("audio", "vision"):
    for x, length in zip(fields[name], fields[f"{name}_lengths"], strict=True):
      x[:] = np.roll(x, -length, axis=0)
  tokens = fields["text_bert"][:, 1].sum(axis=1).astype(int)
  for row, length in enumerate(tokens):
    for x in (fields["text"][row], fields["text_bert"][row].T):
      x[:] = np.roll(x, -length, axis=0)
  return fields


def test_padding_in_front_is_read_as_padding_at_the_end(tmp_path):
  loaded = []
  for name, changes in (
    ("end", None),
    ("front", {s: _front_padded(s) for s in dataset_files.SIZES}),
  ):
    folder = tmp_path / name
    folder.mkdir()
    dataset_files.mmsa(folder, aligned=False, changes=changes)
    loaded.append(dataset_files.load("mmsa_mosi", folder).splits)
  end, front = loaded
  for split, examples in end.items():
    for modality in examples.modalities:
      np.testing.assert_array_equal(
        front[split].features[modality], examples.features[modality]
      )
      np.testing.assert_array_equal(
        front[split].steps[modality].length, examples.steps[modality].length
      )


@pytest.mark.parametrize("name", ["mmsa_mosi", "multibench_mosi"])
def test_a_modality_that_the_file_lacks_can_be_left_out(tmp_path, name):
  is_mmsa = name == "mmsa_mosi"
  write = dataset_files.mmsa if is_mmsa else dataset_files.multibench
  path, content = write(tmp_path)
  for fields in content.values():
    del fields["vision"]
  dataset_files.dump(path, content)
  options = {"modalities": ("text", "audio")}
  dataset = dataset_files.load(name, path, **options)
  assert dataset.modalities == ("text", "audio")
  message = "has no field 'vision', which .*: add it, or leave the modality out"
  for options in ({}, {"modalities": ("text", "vision")}):
    with pytest.raises(errors.InputError, match=message):
      dataset_files.load(name, path, **options)


@pytest.mark.parametrize(
  ("lengths", "message"),
  [
    ([3.0] * 4 + [np.nan] + [3.0] * 7, "'audio_lengths' of row 4 is nan: give"),
    ([2.5] + [3] * 11, "'audio_lengths' of row 0 is 2.5: give the number"),
    ([3] * 11, "'audio_lengths' has 11 rows, 'audio' has 12: give one for"),
  ],
)
def test_lengths_that_are_none_are_named(tmp_path, lengths, message):
  changes = {"train": {"audio_lengths": np.array(lengths)}}
  dataset_files.mmsa(tmp_path, aligned=False, changes=changes)
  with pytest.raises(errors.InputError, match=message):
    dataset_files.load("mmsa_mosi", tmp_path)
