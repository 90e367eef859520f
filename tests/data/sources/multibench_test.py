import numpy as np
import pytest

from btw_jax import errors
from support import dataset_files


@pytest.mark.parametrize("mosei", [True, False])
def test_multibench_pickles_lose_their_padding_on_the_left(tmp_path, mosei):
  path, content = dataset_files.multibench(tmp_path, mosei=mosei)
  dataset = dataset_files.load(
    "multibench_mosei" if mosei else "multibench_mosi", path
  )
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "text": 300, "audio": 74, "vision": 35,
  }  # fmt: skip
  for split, examples in dataset.splits.items():
    fields = content[split]
    np.testing.assert_array_equal(
      examples.target, fields["labels"].reshape(dataset_files.SIZES[split])
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


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0)])
def test_sets_without_ids_have_no_subjects_and_two_classes(tmp_path, values):
  path, content = dataset_files.multibench(tmp_path)
  for fields in content.values():
    del fields["id"]
    labels = np.arange(len(fields["labels"])) % 2
    fields["labels"] = np.array(values)[labels].reshape(-1, 1, 1)
  dataset_files.dump(path, content)
  dataset = dataset_files.load("multibench_mosi", path)
  assert (dataset.task, dataset.classes) == ("binary", values)
  assert not any("subjects" in note for note in dataset.notes)
  for examples in dataset.splits.values():
    assert examples.subjects is None
    n = len(examples)
    np.testing.assert_array_equal(examples.ids, np.arange(n).astype(str))
    np.testing.assert_array_equal(examples.target, np.arange(n) % 2)
  with pytest.raises(errors.InputError, match="the data names no subjects"):
    dataset_files.load("multibench_mosi", path, split_by="subject")
