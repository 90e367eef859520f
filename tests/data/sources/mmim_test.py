import numpy as np
import pytest

from btw_jax import errors
from support import dataset_files


@pytest.mark.parametrize("num_labels", [1, 7])
def test_mmim_pickles_with_repeated_ids_are_read(tmp_path, num_labels):
  content = dataset_files.mmim(tmp_path, num_labels=num_labels)
  dataset = dataset_files.load("mmim_mosei", tmp_path)
  assert dataset.widths == (512, 74, 35)
  assert dataset.num_steps[0] == 0
  notes = " ".join(dataset.notes)
  for split, examples in dataset.splits.items():
    rows = content[split]
    np.testing.assert_allclose(examples.target, [r[1][0, 0] for r in rows])
    repeats = len(rows) - len({r[2] for r in rows})
    assert repeats > 0
    assert f"{split}: {repeats} ids repeat those of earlier rows" in notes
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
    # Texts with the same words in any order count as equal.
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
  rows = dataset_files.mmim(tmp_path)["train"]
  dataset_files.dump(tmp_path / "train.pkl", [*rows[:2], row, *rows[2:]])
  with pytest.raises(errors.InputError, match=message):
    dataset_files.load("mmim_mosi", tmp_path)
