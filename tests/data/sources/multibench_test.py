import numpy as np
import pytest

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
