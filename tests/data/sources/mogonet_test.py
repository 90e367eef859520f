import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from support import dataset_files

SIZES = {"tr": 30, "te": 12}
WIDTHS = {1: 5, 2: 4, 3: 3}


def _omics(end, number):
  rng = np.random.default_rng(SIZES[end] + number)
  x = rng.uniform(size=(SIZES[end], WIDTHS[number]))
  # A row number that goes up is a feature here.
  x[:, 0] = np.arange(len(x))
  return x


def _labels(end):
  return np.arange(SIZES[end]) % 2


def _write(folder, *, numbers=WIDTHS, names=True, label_format="%.18e"):
  """Writes the files as `numpy.savetxt` does for MOGONET."""
  for end in SIZES:
    for n in numbers:
      np.savetxt(
        folder / f"{n}_{end}.csv", _omics(end, n), delimiter=",",
        fmt=["%d", *["%.18e"] * (WIDTHS[n] - 1)],
      )  # fmt: skip
    np.savetxt(folder / f"labels_{end}.csv", _labels(end), fmt=label_format)
  for n in numbers if names else ():
    lines = [f"{n}{i}|cg00{i}, x" for i in range(WIDTHS[n])]
    (folder / f"{n}_featname.csv").write_text(
      "\n".join(f'"{x}"' for x in lines)
    )


@pytest.mark.parametrize("label_format", ["%.18e", "%d", "%.1f"])
@pytest.mark.parametrize("names", [True, False])
def test_omics_are_read_in_the_order_of_their_numbers(
  tmp_path, names, label_format
):
  _write(tmp_path, names=names, label_format=label_format)
  # Files beside them are no omics.
  (tmp_path / "7_tr.csv.bak").write_text("x")
  (tmp_path / "results_tr.csv").write_text("x")
  dataset = dataset_files.load("mogonet", tmp_path)
  assert dataset.modalities == ("omics1", "omics2", "omics3")
  assert (dataset.task, dataset.classes) == ("binary", (0, 1))
  # A fifth of the training rows is held out.
  assert {s: len(e) for s, e in dataset.splits.items()} == (
    {"train": 24, "valid": 6, "test": 12}
  )
  assert dataset.drawn
  test = dataset.splits["test"]
  np.testing.assert_array_equal(test.target, _labels("te"))
  for n, width in WIDTHS.items():
    np.testing.assert_allclose(
      test.features[f"omics{n}"], _omics("te", n), rtol=1e-12
    )
    expected = tuple(f"{n}{i}|cg00{i}, x" for i in range(width))
    assert test.columns.get(f"omics{n}", ()) == (expected if names else ())


def test_numbers_of_two_digits_come_last(tmp_path):
  _write(tmp_path, numbers=(1, 2), names=False)
  for end in SIZES:
    (tmp_path / f"1_{end}.csv").rename(tmp_path / f"10_{end}.csv")
  dataset = dataset_files.load("mogonet", tmp_path)
  assert dataset.modalities == ("omics2", "omics10")


def test_names_that_repeat_are_not_used(tmp_path):
  _write(tmp_path, names=False)
  (tmp_path / "3_featname.csv").write_text("TP53\nEGFR\nTP53\n")
  (tmp_path / "2_featname.csv").write_text("007\nNA\n12\n13\n")
  dataset = dataset_files.load("mogonet", tmp_path)
  assert dict(dataset.columns) == {"omics2": ("007", "NA", "12", "13")}
  assert "omics3: 3_featname.csv repeats a name: not used" in dataset.notes


def test_new_patients_need_no_labels(tmp_path):
  _write(tmp_path)
  for path in (*tmp_path.glob("*_tr.csv"), tmp_path / "labels_te.csv"):
    path.unlink()
  options = catalog.Options(
    data_dir=str(tmp_path), labelled=False, task="binary"
  )
  test = assembly.load_split("mogonet", options, "test", (0, 1))
  assert test.target is None
  assert len(test) == SIZES["te"]
  with pytest.raises(errors.InputError, match="labels_te.csv: no such file"):
    assembly.load("mogonet", catalog.Options(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
  ("file", "text", "message"),
  [
    ("2_te.csv", None, "2_te.csv: no such file, but the folder has others"),
    ("labels_tr.csv", None, "labels_tr.csv: no such file"),
    ("labels_tr.csv", "0,1\n" * 30, "labels_tr.csv: has 2 columns: give one"),
    ("labels_tr.csv", "0\n" * 29, r"1_tr.csv: modality 'omics1' has 30 rows"),
    ("labels_te.csv", "0\n2\n" * 6, "labels_te.csv: the label of row 1 is 2"),
    ("3_te.csv", "a,b,c\n" + "1,2,3\n" * 11, "row 0, column 'f0' is 'a': give"),
    ("3_te.csv", "1,2\n" * 12, "3_te.csv: modality 'omics3' has 2 features"),
    ("3_featname.csv", "a\nb\n", "3_featname.csv: has 2 names, but .*3_tr.csv"),
    ("3_featname.csv", "1\ta\n2\tb\n3\tc\n", "3_featname.csv: has 2 columns"),
    ("3_featname.csv", "", r"3_featname.csv: cannot be read as a table"),
    ("2_tr.csv", "1,2\n1,2,3\n", "2_tr.csv: cannot be read as a table"),
  ],
)
def test_folders_that_do_not_fit_are_named(tmp_path, file, text, message):
  _write(tmp_path, names=False)
  if text is None:
    (tmp_path / file).unlink()
  else:
    (tmp_path / file).write_text(text)
  with pytest.raises(errors.InputError, match=message) as error:
    dataset_files.load("mogonet", tmp_path)
  assert "\n" not in str(error.value)


def test_a_folder_without_omics_is_named(tmp_path):
  with pytest.raises(errors.InputError, match="holds no '1_tr.csv' or '1_te"):
    dataset_files.load("mogonet", tmp_path)
  _write(tmp_path)
  for path in tmp_path.glob("*_te.csv"):
    path.unlink()
  with pytest.raises(errors.InputError, match="has no 'test' split: add it"):
    dataset_files.load("mogonet", tmp_path)
