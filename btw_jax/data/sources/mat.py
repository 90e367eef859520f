"""The MAT-files of multi-view learning: several views of the same examples.

A file holds the views as a cell array `X` of matrices, or as `X1`, `X2`, ...,
and the labels as `Y`, `y`, `gt`, `gnd` or `labels`: `[N, 1]` or `[1, N]`, 1 to
C. A view is `[N, D]` or `[D, N]`, and may be sparse. A folder has one file per
split; a single file has no splits, and they are drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import math
import pathlib
import re
from typing import Any, NamedTuple
import warnings

import numpy as np
from scipy import io
from scipy import sparse

from btw_jax import errors
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import limits
from btw_jax.data import splitting
from btw_jax.data.sources import mat_headers

_VIEWS = "X"
_VIEW = re.compile(r"X(\d+)")
_LABELS = ("Y", "y", "gt", "gnd", "labels")
_NAMES = ("names", "view_names", "viewnames", "modalities")
# The share of the examples of a single file that models are tested on.
_TEST_SHARE = 0.2
_FLOAT_BYTES = 8
_HDF5 = b"\x89HDF"
# The most characters of a message that may come from the file.
_MAX_REASON = 160


def load(
  *,
  path: str,
  labelled: bool = True,
  widths: Mapping[str, int] | None = None,
  seed: int = 0,
) -> dataset_lib.LoadedSplits:
  """Reads a file for each split of a folder, or one file; may give the task.

  Args:
    path: the folder, or one file. A file is the test split of a trained model,
      and otherwise its examples are divided into training and test at random.
    labelled: require labels.
    widths: modality -> its number of features, of a trained model.
    seed: draws the test split of a single file.

  Raises:
    InputError: if there is no file, or a file is unreadable or lacks a field.
  """
  folder, notes = pathlib.Path(path), []

  def read(file):
    return _read_file(file, labelled, widths or {}, notes)

  if folder.is_file():
    examples = read(folder)
    if widths is not None or examples.target is None:
      splits = {"test": examples}
    else:
      splits = _draw(folder, examples, seed, notes)
  else:
    paths = {s: folder / f"{s}.mat" for s in dataset_lib.SPLITS}
    splits = {s: read(file) for s, file in paths.items() if file.exists()}
  if not splits:
    raise errors.InputError(
      f"{folder}: holds none of {', '.join(p.name for p in paths.values())}:"
      " name the folder that holds them, or one file."
    )
  targets = [e.target for e in splits.values() if e.target is not None]
  task = _task(np.concatenate(targets)) if targets else None
  return dataset_lib.LoadedSplits(splits, task, tuple(dict.fromkeys(notes)))


def _draw(path, examples, seed, notes):
  """Divides the examples of a file into training and test at random."""
  if len(examples) < 3:
    raise errors.InputError(
      f"{path}: has {len(examples)} examples: give at least 3, to train,"
      " validate and test."
    )
  target = examples.target
  task = _task(target) or checks.infer_task(target)
  rows = splitting.hold_out(target, task, share=_TEST_SHARE, seed=seed)
  test = rows["valid"]
  if task != "regression":
    # The draw is not by class if there are many: one row of each must train.
    _, first = np.unique(target[test], return_index=True)
    lost = ~np.isin(target[test[first]], target[rows["train"]])
    test = np.delete(test, first[lost])
  notes.append(
    f"test: {len(test)} of {len(examples)} examples drawn at random (seed"
    f" {seed}), because {path.name} has no splits"
  )
  train = np.setdiff1d(np.arange(len(examples)), test)
  return {"train": examples.take(train), "test": examples.take(test)}


def _task(target):
  """Returns the task that labels 1 to C or 0 to C − 1 have, or None."""
  values = np.unique(target)
  count = len(values)
  if count < 2 or np.any(values != (values[0] > 0) + np.arange(count)):
    return None
  return "binary" if count == 2 else "multiclass"


class _Fields(NamedTuple):
  """The names of the variables that are read.

  Attributes:
    views: the cell array of views, or one variable for each view.
    labels: those of labels.
    names: those that may hold the names of views.
  """

  views: Sequence[str]
  labels: Sequence[str]
  names: Sequence[str]


def _read_file(path, labelled, widths, notes):
  """Returns the examples of a file; `widths` may be empty."""
  limits.check_regular(path)
  with _named_errors(path):
    with open(path, "rb") as file:
      if file.read(len(_HDF5)) == _HDF5:
        raise NotImplementedError("HDF5")
    kinds = {name: kind for name, _, kind in io.whosmat(str(path))}
    fields = _find_fields(kinds)
    wanted = [name for group in fields for name in group]
    headers = mat_headers.read(path, wanted)
  _check_headers(path, kinds, fields, headers, labelled)
  names = [n for n in fields.names if _are_texts(headers[n])][:1]
  wanted = [*fields.views, *fields.labels, *names]
  with _named_errors(path):
    content = io.loadmat(str(path), variable_names=wanted)
    content = {name: content[name] for name in wanted}
  views = _views(path, content, names)
  target = _labels(path, content, fields)
  num_rows = _num_rows(path, views, target, widths)
  features = {}
  for name, x in views.items():
    features[name], is_turned = _with_rows(path, name, x, num_rows, views)
    if is_turned:
      notes.append(f"{name}: stored as [D, N], with a column per example")
  return dataset_lib.complete(features, target, name=str(path))


@contextlib.contextmanager
def _named_errors(path) -> Iterator[None]:
  """Turns what a malformed file raises, of any type, into one line."""
  try:
    with warnings.catch_warnings():
      # SciPy goes on with values that it says may be wrong.
      warnings.simplefilter("error", UserWarning)
      warnings.simplefilter("error", RuntimeWarning)
      yield
  except errors.InputError:
    raise
  except Exception as error:
    if isinstance(error, NotImplementedError):
      raise errors.InputError(
        f"{path}: is a file of MATLAB 7.3 (HDF5): save it again with"
        " save(..., '-v7')."
      ) from error
    reason = " ".join(str(error).split()).rstrip(".")[:_MAX_REASON]
    raise errors.InputError(
      f"{path}: cannot be read as a MAT-file ({reason}): save it again with"
      " save(..., '-v7') or scipy.io.savemat."
    ) from error


def _find_fields(kinds) -> _Fields:
  """Returns the variables to read; `kinds` maps all to their classes."""
  single = [name for name in kinds if _VIEW.fullmatch(name)]
  single.sort(key=lambda name: int(_VIEW.fullmatch(name)[1]))
  return _Fields(
    [_VIEWS] if kinds.get(_VIEWS) == mat_headers.CELL else single,
    [name for name in _LABELS if name in kinds],
    [name for name in _NAMES if kinds.get(name) == mat_headers.CELL],
  )


def _check_headers(path, kinds, fields, headers, labelled):
  """Checks classes, shapes and sizes before anything is built."""
  if not fields.views:
    known = f"; 'X' is of class {kinds[_VIEWS]}" if _VIEWS in kinds else ""
    raise errors.InputError(
      f"{path}: has neither a cell array 'X' of views nor 'X1', 'X2', ..."
      f"{known}: add one matrix per view."
    )
  if labelled and not fields.labels:
    raise errors.InputError(
      f"{path}: has no labels ({', '.join(_LABELS)}): add 'Y' with a class per"
      " example, or use the program predict."
    )
  matrices = {name: headers[name] for name in (*fields.labels, *fields.views)}
  if fields.views == [_VIEWS]:
    cells = matrices.pop(_VIEWS)
    if not cells.cells or math.prod(cells.shape) != max(cells.shape):
      raise errors.InputError(
        f"{path}: 'X' has cells of shape {cells.shape}: give (1, V) for V"
        " views."
      )
    matrices |= {f"X{{{i}}}": cell for i, cell in enumerate(cells.cells, 1)}
  num_bytes = 0
  for name, header in matrices.items():
    if header.kind not in (*mat_headers.NUMBERS, mat_headers.SPARSE, "logical"):
      raise errors.InputError(
        f"{path}: {name!r} is of class {header.kind}: give a matrix of"
        " real numbers."
      )
    if len(header.shape) != 2:
      raise errors.InputError(
        f"{path}: {name!r} has shape {header.shape}: give a matrix."
      )
    num_bytes += math.prod(header.shape) * _FLOAT_BYTES
  limits.check(path, num_bytes)


def _are_texts(header):
  return all(cell.kind == mat_headers.CHAR for cell in header.cells)


def _views(path, content, names) -> dict[str, np.ndarray]:
  """Returns name -> matrix of each view, as it is stored."""
  views = {f"view{n[1:]}": x for n, x in content.items() if _VIEW.fullmatch(n)}
  if not views:
    cells = np.ravel(content[_VIEWS])
    views = {f"view{i}": cell for i, cell in enumerate(cells, 1)}
  for name in names:
    if content[name].size == len(views):
      texts = _texts(path, name, content[name])
      views = dict(zip(texts, views.values(), strict=True))
  return {name: _to_dense(path, name, x) for name, x in views.items()}


def _texts(path, name, cells) -> list[str]:
  """Returns the checked names in a cell array."""
  texts = ["".join(np.ravel(c)).strip() for c in np.ravel(cells)]
  for number, text in enumerate(texts, 1):
    if not (text and text.isprintable() and texts.count(text) == 1):
      raise errors.InputError(
        f"{path}: '{name}{{{number}}}' is {text[:40]!r}: give each view a name"
        " of its own that can be printed."
      )
  return texts


def _to_dense(path, name, x: Any) -> np.ndarray:
  """Returns a matrix, sparse or not, as an array of real numbers."""
  with _named_errors(path):
    if sparse.issparse(x):
      x = x.tocsc()
      # SciPy's conversion trusts the places that a file gives.
      x.check_format(full_check=True)
      x = x.toarray()
  if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiub":
    raise errors.InputError(
      f"{path}: {name!r} holds no real numbers: give some."
    )
  return x


def _labels(path, content, fields) -> np.ndarray | None:
  """Returns the labels `[N]`, or None if there are none."""
  first = None
  for name in fields.labels:
    target = _to_dense(path, name, content[name])
    if 1 not in target.shape:
      raise errors.InputError(
        f"{path}: {name!r} has shape {target.shape}: give the class of each"
        " example, [N, 1] or [1, N]."
      )
    target = target.reshape(-1)
    if first is not None and not np.array_equal(target, first):
      raise errors.InputError(
        f"{path}: {fields.labels[0]!r} and {name!r} hold different labels:"
        " leave one of them out."
      )
    first = target
  return first


def _num_rows(path, views, target, widths) -> int:
  """Returns the number of examples, that of the labels if there are any."""
  if target is not None:
    return len(target)
  numbers = set.intersection(*(set(x.shape) for x in views.values()))
  fitting = [
    n
    for n in numbers
    if all(x.size == n * widths.get(m, 0) for m, x in views.items())
  ]
  # Without the widths of a model, one number must be left.
  numbers = fitting or list(numbers)
  if len(numbers) != 1:
    shapes = ", ".join(str(x.shape) for x in views.values())
    raise errors.InputError(
      f"{path}: the views have shapes {shapes}, which do not tell the number of"
      " examples: add labels 'Y'."
    )
  return numbers[0]


def _with_rows(path, name, x, num_rows, views):
  """Returns a view with a row per example, and True if it was turned."""
  if num_rows not in x.shape:
    raise errors.InputError(
      f"{path}: {name!r} has shape {x.shape}, but there are {num_rows} examples"
      " (labels): give [N, D] or [D, N]."
    )
  if x.shape[0] != x.shape[1]:
    is_turned = x.shape[0] != num_rows
    return (x.T if is_turned else x), is_turned
  # A square view stands as the others do.
  turned = {y.shape[0] != num_rows for y in views.values() if np.ptp(y.shape)}
  if len(turned) == 1:
    (is_turned,) = turned
    return (x.T if is_turned else x), is_turned
  if not np.array_equal(x, x.T):
    raise errors.InputError(
      f"{path}: {name!r} has shape {x.shape}, so that its rows or its columns"
      " may be the examples: give 'x_<modality>' in an npz file."
    )
  return x, False
