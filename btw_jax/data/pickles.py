"""Pickles from the wild, read without running what they hold.

A pickle is a program, and `pickle.load` runs it. This reader lets one build
NumPy arrays, pandas tables and Python's own containers; whatever else it names
is refused by name, before anything of it is called.
"""

from collections.abc import Sequence
import gzip
import importlib.util
import io
import pathlib
import pickle

import pyarrow

from btw_jax import errors

# Bytes that a file may grow to: unaligned CMU-MOSEI, the largest of the known
# ones, takes about 13 GB.
MAX_BYTES = 32 * 2**30

_GZIP = b"\x1f\x8b"

# NumPy 2 moved `numpy.core` to `numpy._core`; pickles of both name either.
_NUMPY_CORE = {
  "multiarray": ("_reconstruct", "scalar", "_frombuffer"),
  "numeric": ("_frombuffer",),
}
_PANDAS = {
  "pandas": (
    "Categorical",
    "CategoricalDtype",
    "DataFrame",
    "Index",
    "MultiIndex",
    "RangeIndex",
    "Series",
    "StringDtype",
  ),
  "pandas.arrays": ("ArrowStringArray", "DatetimeArray"),
  "pandas.core.frame": ("DataFrame",),
  "pandas.core.series": ("Series",),
  "pandas.core.indexes.base": ("Index", "_new_Index"),
  "pandas.core.indexes.multi": ("MultiIndex",),
  "pandas.core.indexes.range": ("RangeIndex",),
  "pandas.core.indexes.numeric": ("Float64Index", "Int64Index"),
  "pandas.core.internals.managers": ("BlockManager", "SingleBlockManager"),
  "pandas.core.internals.blocks": ("new_block",),
  "pandas._libs.internals": ("_unpickle_block",),
  "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
  "pandas.core.arrays.string_": ("StringArray", "StringDtype"),
  "pandas.core.arrays.numpy_": ("NumpyExtensionArray", "PandasArray"),
  "pandas.core.dtypes.dtypes": ("CategoricalDtype", "NumpyEADtype"),
  # Of the strings of pandas 3.
  "pyarrow.lib": ("py_buffer", "type_for_alias"),
}
_BUILTINS = (
  "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int",
  "list", "object", "range", "set", "slice", "str", "tuple",
)  # fmt: skip
_ALLOWED = {
  **{
    f"numpy.{core}.{module}": names
    for core in ("core", "_core")
    for module, names in _NUMPY_CORE.items()
  },
  "numpy": ("dtype", "ndarray"),
  "numpy.dtypes": ("StringDType",),
  **_PANDAS,
  "builtins": _BUILTINS,
  "__builtin__": (*_BUILTINS, "unicode", "long"),
  "collections": ("OrderedDict", "defaultdict"),
  "copyreg": ("_reconstructor",),
  "copy_reg": ("_reconstructor",),
}


class _Refused(pickle.UnpicklingError):
  """A class that may not be built."""


class _Unpickler(pickle.Unpickler):
  """Builds nothing but what `_ALLOWED` lists."""

  def find_class(self, module, name):
    # How Python 3 writes bytes where the protocol has none.
    if (module, name) == ("_codecs", "encode"):
      return _latin1
    if (module, name) == ("pyarrow.lib", "_restore_array"):
      return _arrow_array
    if name not in _ALLOWED.get(module, ()):
      raise _Refused(f"{module}.{name}")
    if module.startswith("pandas") and not _installed("pandas"):
      raise _Refused(f"{module}.{name}, for which pandas must be installed")
    # Python 2's names become those of Python 3.
    return super().find_class(module, name)


class _Limited(io.RawIOBase):
  """A stream that ends with an error when too much comes out of it."""

  def __init__(self, file, limit):
    super().__init__()
    self._file, self._left, self._limit = file, limit, limit

  def readable(self):
    return True

  def readinto(self, buffer):
    found = self._file.read(min(len(buffer), self._left + 1))
    self._left -= len(found)
    if self._left < 0:
      raise errors.InputError(
        f"unpacks to more than {self._limit:,} bytes: it is no data set that"
        " fits here, or a trap"
      )
    buffer[: len(found)] = found
    return len(found)


def load(path: str | pathlib.Path, *, max_bytes: int = MAX_BYTES) -> object:
  """Reads a pickle, gzipped or not, of any protocol and of Python 2 or 3.

  Args:
    path: the file.
    max_bytes: the most that it may unpack to.

  Returns:
    Containers, strings, numbers, NumPy arrays and pandas tables.

  Raises:
    InputError: if the file is missing, cut short, no pickle, too large, or
      names a class or function that is none of these.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as raw:
      zipped = raw.peek(2)[:2] == _GZIP
      file = gzip.GzipFile(fileobj=raw) if zipped else raw
      stream = io.BufferedReader(_Limited(file, max_bytes), 2**20)
      return _Unpickler(stream, encoding="latin1").load()
  except FileNotFoundError as error:
    raise errors.InputError(f"{path}: no such file: set the path.") from error
  except errors.InputError as error:
    raise errors.InputError(f"{path}: {error}.") from error
  except _Refused as error:
    raise errors.InputError(
      f"{path}: asks for {error}, which is neither of NumPy, pandas nor a"
      " container: it was not called; save plain arrays instead."
    ) from error
  # A file from the wild can raise anything; a defect of ours is not here.
  except Exception as error:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    raise errors.InputError(
      f"{path}: cannot be read as a pickle ({reason}): fetch or write it again."
    ) from error


def locate(path: str, names: Sequence[str]) -> pathlib.Path:
  """The file meant by a path that may be the folder it lies in.

  Args:
    path: of the file, or of its folder.
    names: that it has in a folder, one of them.

  Returns:
    The file.

  Raises:
    InputError: if the folder holds none of them, or several.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return folder
  found = [folder / name for name in names if (folder / name).exists()]
  if len(found) != 1:
    what = "none" if not found else "more than one"
    raise errors.InputError(
      f"{folder}: holds {what} of {', '.join(names)}: name the file."
    )
  return found[0]


def _latin1(text, encoding):
  if encoding not in ("latin1", "latin-1"):
    raise _Refused(f"_codecs.encode to {encoding}")
  return text.encode("latin1")


def _arrow_array(data):
  """An Arrow array that stays inside its buffers."""
  array = pyarrow.lib._restore_array(data)
  array.validate(full=True)
  return array


def _installed(name):
  return importlib.util.find_spec(name) is not None
