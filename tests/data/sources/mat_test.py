import io
import zlib

import numpy as np
import pytest
from scipy import sparse
import scipy.io

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import limits
from btw_jax.data.sources import mat_headers
from support import dataset_files

N = 40


def _views(n=N, seed=0):
  """Returns two views, one of them sparse, and labels 1 to 4."""
  rng = np.random.default_rng(seed)
  dense = rng.normal(size=(n, 5))
  words = rng.poisson(0.3, (n, 7)).astype(float)
  return dense, words, np.arange(n) % 4 + 1


def _cells(*matrices, column=False):
  cells = np.empty((1, len(matrices)), object)
  for i, matrix in enumerate(matrices):
    cells[0, i] = matrix
  return cells.T if column else cells


def _write(path, packed=False, **variables):
  scipy.io.savemat(path, variables, do_compression=packed, format="5")
  return path


def _read(path, **options):
  return catalog.read("mat", catalog.Options(data_dir=str(path), **options))


def _all_rows(loaded):
  """Returns the examples of all splits of a file in its order."""
  splits = loaded.splits.values()
  order = np.argsort([int(i) for e in splits for i in e.ids])

  def join(arrays):
    return np.concatenate(list(arrays))[order]

  features = {
    m: join(e.features[m] for e in splits)
    for m in next(iter(splits)).modalities
  }
  return features, join(e.target for e in splits)


DENSE, WORDS, LABELS = _views()
FILES = {
  "row of cells": {"X": _cells(DENSE, WORDS), "Y": LABELS[:, None]},
  "column of cells": {"X": _cells(DENSE, WORDS, column=True), "y": LABELS},
  "examples in columns": {"X": _cells(DENSE.T, WORDS.T), "gt": LABELS},
  "one view in columns": {"X": _cells(DENSE, WORDS.T), "gnd": LABELS},
  "sparse": {"X": _cells(DENSE, sparse.csc_matrix(WORDS)), "labels": LABELS},
  "sparse columns": {"X1": DENSE.T, "X2": sparse.csc_matrix(WORDS.T),
                     "Y": LABELS},
  "variables": {"X2": WORDS, "X1": DENSE, "Y": LABELS.astype(np.uint8)},
  "two labels": {"X1": DENSE, "X2": WORDS, "Y": LABELS, "gt": LABELS[:, None]},
  "other variables": {"X": _cells(DENSE, WORDS), "Y": LABELS,
                      "s": {"a": 1}, "c": _cells({"a": 1}), "data": DENSE,
                      "names": _cells("a", "b", "c", "d")},
  "other names": {"X": _cells(DENSE, WORDS), "Y": LABELS,
                  "names": _cells({"a": 1}, "b")},
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_views_are_read_as_they_are_stored(tmp_path, name, packed):
  loaded = _read(_write(tmp_path / "a.mat", packed, **FILES[name]))
  features, target = _all_rows(loaded)
  assert list(features) == ["view1", "view2"]
  np.testing.assert_array_equal(features["view1"], DENSE)
  np.testing.assert_array_equal(features["view2"], WORDS)
  np.testing.assert_array_equal(target, LABELS)
  assert loaded.task == "multiclass"
  turned = [n for n in loaded.notes if "with a column per example" in n]
  assert len(turned) == 2 * ("columns" in name) - ("one view" in name)


def test_a_file_of_matlab_4_has_variables(tmp_path):
  views = {"X1": DENSE, "X2": sparse.csc_matrix(WORDS), "Y": LABELS * 1.0}
  scipy.io.savemat(tmp_path / "a.mat", views, format="4")
  features, target = _all_rows(_read(tmp_path / "a.mat"))
  np.testing.assert_array_equal(features["view1"], DENSE)
  np.testing.assert_array_equal(features["view2"], WORDS)
  np.testing.assert_array_equal(target, LABELS)


def test_names_of_views_are_used(tmp_path):
  views = {"X": _cells(DENSE, WORDS), "Y": LABELS}
  path = _write(tmp_path / "a.mat", names=_cells("face", "voice"), **views)
  assert _read(path).splits["train"].modalities == ("face", "voice")
  for wrong in ("face", " ", "a\nb"):
    _write(path, names=_cells("face", wrong), **views)
    with pytest.raises(errors.InputError, match=r"a.mat: 'names\{\d\}' is '"):
      _read(path)


def test_the_splits_of_one_file_are_drawn_by_the_seed(tmp_path):
  path = _write(tmp_path / "a.mat", X=_cells(DENSE, WORDS), Y=LABELS)
  splits = [dataset_files.load("mat", path, seed=s) for s in (0, 0, 1)]
  for dataset in splits:
    # A fifth of the 40 is for tests, a fifth of the others for validation.
    assert {s: len(e) for s, e in dataset.splits.items()} == (
      {"train": 26, "valid": 6, "test": 8}
    )
    assert dataset.drawn
    assert dataset.classes == (1, 2, 3, 4)
    ids = {i for e in dataset.splits.values() for i in e.ids}
    assert ids == set(map(str, range(N)))
    np.testing.assert_array_equal(
      np.bincount(dataset.splits["test"].target), [2] * 4
    )
  first, again, other = ([*d.splits["test"].ids] for d in splits)
  assert first == again != other
  assert (
    "test: 8 of 40 examples drawn at random (seed 1), because a.mat has no"
    " splits"
  ) in splits[2].notes
  assert any("held out at random" in note for note in splits[2].notes)


def test_a_folder_has_a_file_for_each_split(tmp_path):
  for seed, split in enumerate(("train", "valid", "test")):
    dense, words, labels = _views(12 + seed, seed)
    _write(tmp_path / f"{split}.mat", X=_cells(dense, words), Y=labels)
  dataset = dataset_files.load("mat", tmp_path)
  assert {s: len(e) for s, e in dataset.splits.items()} == (
    {"train": 12, "valid": 13, "test": 14}
  )
  assert not dataset.drawn
  np.testing.assert_array_equal(dataset.splits["test"].features["view1"], dense)
  (tmp_path / "train.mat").unlink()
  with pytest.raises(errors.InputError, match="has no 'train' split: add it"):
    dataset_files.load("mat", tmp_path)
  with pytest.raises(errors.InputError, match=r"none of train.mat, valid.mat"):
    _read(_folder(tmp_path / "empty"))


def _folder(path):
  path.mkdir()
  return path


def test_a_trained_model_reads_a_file_as_the_test_split(tmp_path):
  path = tmp_path / "new.mat"
  widths = {"view1": 5, "view2": 7}

  def read(*views, classes=(1, 2, 3, 4), **labels):
    _write(path, X=_cells(*views), **labels)
    options = catalog.Options(
      data_dir=str(path), widths=widths, task="multiclass",
      labelled=bool(labels),
    )  # fmt: skip
    return assembly.load_split("mat", options, "test", classes)

  assert len(read(DENSE, WORDS, Y=LABELS)) == N
  # Without labels, the numbers of features tell the examples.
  for views in ((DENSE, WORDS), (DENSE.T, WORDS), (DENSE.T, WORDS.T)):
    examples = read(*views)
    assert examples.target is None
    np.testing.assert_array_equal(examples.features["view1"], DENSE)
    np.testing.assert_array_equal(examples.features["view2"], WORDS)
  widths = {"view1": 5, "view2": 5}
  np.testing.assert_array_equal(
    read(DENSE, DENSE * 2).features["view2"], DENSE * 2
  )
  widths = {"view1": 6, "view2": 6}
  with pytest.raises(
    errors.InputError, match=r"shapes \(40, 5\), \(40, 5\), w"
  ):
    read(DENSE, DENSE * 2)


def test_a_square_view_stands_as_the_others_or_is_refused(tmp_path):
  square = np.random.default_rng(0).normal(size=(N, N))
  path = tmp_path / "a.mat"
  for other, expected in ((DENSE, square), (DENSE.T, square.T)):
    _write(path, X=_cells(square, other), Y=LABELS)
    features, _ = _all_rows(_read(path))
    np.testing.assert_array_equal(features["view1"], expected)
  _write(path, X=_cells(square, square + 1), Y=LABELS)
  with pytest.raises(errors.InputError, match="rows or its columns may be the"):
    _read(path)
  # Similarities of all examples are the same both ways.
  _write(path, X=_cells(square + square.T, square @ square.T), Y=LABELS)
  assert len(_all_rows(_read(path))[1]) == N


def test_labels_that_are_no_classes_are_left_to_their_values(tmp_path):
  for y, task in ((LABELS * 2, None), (LABELS % 2, "binary"),
                  (LABELS / 3, None), (LABELS - 1, "multiclass")):  # fmt: skip
    path = _write(tmp_path / "a.mat", X=_cells(DENSE, WORDS), Y=y)
    assert _read(path).task == task


def test_every_one_of_many_classes_is_trained_on(tmp_path):
  y = np.arange(60) % 30 + 1
  x = np.random.default_rng(0).normal(size=(60, 3))
  path = _write(tmp_path / "a.mat", X=_cells(x, x + 1), Y=y)
  for seed in range(5):
    dataset = dataset_files.load("mat", path, seed=seed)
    # Elsewhere, so many whole numbers with two rows each are quantities.
    assert dataset.task == "multiclass"
    assert dataset.classes == tuple(range(1, 31))


def _with(**changes):
  variables = {"X": _cells(DENSE, WORDS), "Y": LABELS} | changes
  return {name: x for name, x in variables.items() if x is not None}


_COMPLEX = WORDS * 1j
REFUSED = {
  "no views": (_with(X=None), "has neither a cell array 'X' of views nor 'X1'"),
  "a matrix": (_with(X=DENSE), "'X' is of class double: add one matrix"),
  "no cells": (_with(X=np.empty((0, 0), object)), "'X' has cells of shape"),
  "a square of cells": (
    _with(X=_cells(*[DENSE] * 4).reshape(2, 2)),
    r"'X' has cells of shape \(2, 2\): give \(1, V\) for V views",
  ),
  "no labels": (_with(Y=None), r"has no labels \(Y, y, gt, gnd, labels\): add"),
  "two labels": (_with(gt=LABELS[::-1]), "'Y' and 'gt' hold different labels"),
  "matrix of labels": (_with(Y=np.eye(N)), r"'Y' has shape \(40, 40\): give"),
  "words as labels": (_with(Y=_cells("a", "b")), "'Y' is of class cell: give"),
  "other rows": (_with(Y=LABELS[1:]), r"'view1' has shape \(40, 5\), but the"),
  "complex": (_with(X=_cells(DENSE, _COMPLEX)), r"'X\{2\}' is of class comp"),
  "complex sparse": (
    _with(X=None, X1=DENSE, X2=sparse.csc_matrix(_COMPLEX)),
    "'X2' is of class complex: give a matrix",
  ),
  "text": (_with(X=_cells(DENSE, "abc")), r"'X\{2\}' is of class char"),
  "nested": (_with(X=_cells(_cells(DENSE), WORDS)), r"'X\{1\}' is of class ce"),
  "struct": (_with(X=_cells({"a": 1}, DENSE)), r"'X\{1\}' is of class struct"),
  "three axes": (_with(X=_cells(DENSE[None])), r"shape \(1, 40, 5\): give a"),
  "two examples": (
    {"X1": DENSE[:2], "Y": [[1, 2]]}, "has 2 examples: give at least 3"
  ),
}  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_set_of_views_is_named(tmp_path, name, packed):
  variables, message = REFUSED[name]
  path = _write(tmp_path / "a.mat", packed, **variables)
  with pytest.raises(errors.InputError, match=f"a.mat: .*{message}") as error:
    _read(path)
  assert "\n" not in str(error.value)


def _bytes(packed=False, **variables):
  file = io.BytesIO()
  scipy.io.savemat(file, variables, do_compression=packed)
  return file.getvalue()


@pytest.mark.parametrize(
  ("code", "kind"),
  [(2, "struct"), (3, "object"), (16, "function"), (99, "unknown")],
)  # fmt: skip
def test_other_classes_are_refused_unread(tmp_path, code, kind):
  content = bytearray(_bytes(X1=DENSE, Y=LABELS))
  # The class of the first variable, behind the tags of it and of its flags.
  assert content[144] == mat_headers.NUMBERS.index("double") + 6
  content[144] = code
  path = tmp_path / "a.mat"
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=f"'X1' is of class {kind}: give"):
    _read(path)


def test_what_the_format_does_not_allow_is_refused(tmp_path):
  content = _bytes(X=_cells(DENSE, WORDS), Y=LABELS)
  # The tag of the first cell is that of the second matrix of the file.
  tag = (14).to_bytes(4, "little")
  size = content.index(tag, content.index(tag) + 4) + 4
  longer = bytearray(content)
  longer[size] += 8
  many = _cells(*[np.zeros((0, 0))] * 1001)
  path = tmp_path / "a.mat"
  for damaged, message in (
    (longer, "does not end where its size says"),
    (content + content[128:], "it has two variables 'X'"),
    (_bytes(X=many, Y=LABELS), "it has an array of 1001 cells"),
  ):
    path.write_bytes(damaged)
    with pytest.raises(errors.InputError, match=rf"MAT-file \(.*{message}\)"):
      _read(path)


def test_a_file_of_hdf5_is_named(tmp_path):
  path = tmp_path / "a.mat"
  header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM"
  for content in (
    header + bytes(384) + b"\x89HDF",
    b"\x89HDF\r\n" + bytes(600),
  ):
    path.write_bytes(content)
    message = r"a.mat: is a file of MATLAB 7.3 \(HDF5\): save it again with sa"
    with pytest.raises(errors.InputError, match=message):
      _read(path)


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files_are_one_line(tmp_path, packed):
  path = tmp_path / "a.mat"
  views = _cells(DENSE[:9], sparse.csc_matrix(WORDS[:9]))
  content = _bytes(packed, X=views, Y=LABELS[:9])
  rng = np.random.default_rng(0)
  changed = [content[:n] for n in range(0, len(content) - 8, 29)]
  for _ in range(300):
    mutant = bytearray(content)
    # Most places behind the start hold numbers, which may be any.
    for place in rng.integers(120, len(content), 3):
      mutant[place] = rng.choice([0, 1, 127, 255, rng.integers(256)])
    changed.append(bytes(mutant))
  refused = 0
  for mutant in changed:
    path.write_bytes(mutant)
    try:
      _read(path)
    except errors.InputError as error:
      assert "\n" not in str(error) and len(str(error)) < 500
      refused += 1
  assert refused > len(changed) / 3


def test_the_places_of_a_sparse_matrix_are_checked(tmp_path):
  matrix = sparse.csc_matrix(WORDS)
  matrix.indices[3] = 2**30
  path = _write(tmp_path / "a.mat", X=_cells(DENSE, matrix), Y=LABELS)
  message = r"a.mat: cannot be read as a MAT-file \(.*indices"
  with pytest.raises(errors.InputError, match=message):
    _read(path)


def test_what_scipy_warns_of_is_refused(tmp_path):
  file = io.BytesIO()
  scipy.io.savemat(file, {"X1": DENSE, "Y": LABELS * 1.0}, format="4")
  content = bytearray(file.getvalue())
  # The numbers of a VAX, which SciPy reads as if they were others.
  content[:4] = (2000).to_bytes(4, "little")
  path = tmp_path / "a.mat"
  path.write_bytes(content)
  with pytest.raises(errors.InputError, match=r"MAT-file \(We do not support"):
    _read(path)


def test_sizes_are_known_before_anything_is_built(tmp_path, monkeypatch):
  path = tmp_path / "a.mat"
  message = "a.mat: unpacks to more than 1,073,741,824 bytes: it is too large"
  # A sparse matrix of 2 GB when it is dense.
  empty = sparse.csc_matrix((N, 2**23))
  _write(path, True, X=_cells(DENSE, empty), Y=LABELS)
  with pytest.raises(errors.InputError, match=message):
    _read(path)
  # A matrix that says it has more numbers than it has.
  content = _bytes(X1=DENSE, Y=LABELS)
  shape = np.array(DENSE.shape, np.int32).tobytes()
  wide = np.array([N, 2**30], np.int32).tobytes()
  path.write_bytes(content.replace(shape, wide))
  with pytest.raises(errors.InputError, match="cannot be read as a MAT-file"):
    _read(path)
  # Numbers that are zeros take almost nothing when they are packed.
  monkeypatch.setattr(limits, "FREE_BYTES", 2**20)
  _write(path, True, X1=np.zeros((N, 4000)), Y=LABELS)
  message = "a.mat: unpacks to more than 1,048,576 bytes: it is too large"
  with pytest.raises(errors.InputError, match=message):
    _read(path)


def test_a_variable_is_not_unpacked_past_the_limit(tmp_path, monkeypatch):
  monkeypatch.setattr(limits, "FREE_BYTES", 2**20)
  content = _bytes(X1=DENSE, Y=LABELS)
  # The size of the numbers of X1, which its shape does not explain.
  start = content.index(DENSE.T.tobytes()) - 4
  size = (2**24).to_bytes(4, "little")
  end = start + 4 + DENSE.nbytes
  variable = content[128:start] + size + bytes(2**24) + content[end:]
  packed = zlib.compress(variable)
  tag = (15).to_bytes(4, "little") + len(packed).to_bytes(4, "little")
  path = tmp_path / "a.mat"
  path.write_bytes(content[:128] + tag + packed)
  with pytest.raises(errors.InputError, match=r"more than 1,\d{3},\d{3} bytes"):
    _read(path)
