"""A safe reader of pickles from untrusted sources.

A pickle is a program, and `pickle.load` runs it. This reader builds only NumPy
arrays, pandas tables and Python's containers. It rejects any other class or
function by name, before anything is called.
"""

from collections.abc import Sequence
import gzip
import importlib.util
import io
import pathlib
import pickle

import pyarrow

from btw_jax import errors

# The most bytes that a file may unpack to: unaligned CMU-MOSEI, the largest
# known one, takes about 13 GB.
MAX_BYTES = 32 * 2**30

_GZIP = b"\x1f\x8b"

# NumPy 2 renamed `numpy.core` to `numpy._core`; pickles use either name.
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
  # Strings of pandas 3 are Arrow arrays.
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


class _RefusedError(pickle.UnpicklingError):
  """An error for a class or function that is not allowed."""


class _Unpickler(pickle.Unpickler):
  """An unpickler that builds only what `_ALLOWED` lists."""

  def find_class(self, module, name):
    """Returns an allowed class or function, or refuses it by name."""
    # Protocols before 3 have no bytes: Python 3 writes them as a call of
    # `_codecs.encode` on a Latin-1 string.
    if (module, name) == ("_codecs", "encode"):
      return _encode_latin1
    if (module, name) == ("pyarrow.lib", "_restore_array"):
      return _restore_arrow_array
    if name not in _ALLOWED.get(module, ()):
      raise _RefusedError(f"{module}.{name}")
    if module.startswith("pandas") and not _is_installed("pandas"):
      raise _RefusedError(f"{module}.{name} (needs pandas: install it)")
    # The base class maps the module names of Python 2 to those of Python 3.
    return super().find_class(module, name)


class _LimitedReader(io.RawIOBase):
  """A stream that raises an error when more than `limit` bytes are read."""

  def __init__(self, file, limit):
    super().__init__()
    self._file, self._remaining, self._limit = file, limit, limit

  def readable(self):
    """Returns True."""
    return True

  def readinto(self, buffer):
    """Reads into a buffer, and counts the bytes."""
    # One byte more than the limit tells a longer file from one that ends there.
    content = self._file.read(min(len(buffer), self._remaining + 1))
    self._remaining -= len(content)
    if self._remaining < 0:
      raise errors.InputError(
        f"unpacks to more than {self._limit:,} bytes: it is too large, or a"
        " decompression bomb; give a smaller file"
      )
    buffer[: len(content)] = content
    return len(content)


def load(path: str | pathlib.Path, *, max_bytes: int = MAX_BYTES) -> object:
  """Reads a pickle of any protocol, gzipped or not, of Python 2 or 3.

  The result consists of containers, strings, numbers, NumPy arrays and pandas
  tables.

  Raises:
    InputError: if the file is missing, truncated, not a pickle, unpacks to more
      than `max_bytes`, or names another class or function.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as raw:
      zipped = raw.peek(2)[:2] == _GZIP
      file = gzip.GzipFile(fileobj=raw) if zipped else raw
      stream = io.BufferedReader(_LimitedReader(file, max_bytes), 2**20)
      return _Unpickler(stream, encoding="latin1").load()
  except FileNotFoundError as error:
    raise errors.InputError(f"{path}: no such file: set the path.") from error
  except errors.InputError as error:
    raise errors.InputError(f"{path}: {error}.") from error
  except _RefusedError as error:
    raise errors.InputError(
      f"{path}: asks for {error}, which this reader does not build: it was not"
      " called; save NumPy arrays, pandas tables or containers instead."
    ) from error
  # A malformed pickle can raise an exception of any type.
  except Exception as error:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    raise errors.InputError(
      f"{path}: cannot be read as a pickle ({reason}): download or write it"
      " again."
    ) from error


def locate(path: str, names: Sequence[str]) -> pathlib.Path:
  """Returns `path`, or the file of one of the `names` if it is a folder.

  Raises:
    InputError: if the folder holds none or several of the names.
  """
  folder = pathlib.Path(path)
  if not folder.is_dir():
    return folder
  matches = [folder / name for name in names if (folder / name).exists()]
  if len(matches) != 1:
    number = "none" if not matches else "more than one"
    raise errors.InputError(
      f"{folder}: holds {number} of {', '.join(names)}: name the file."
    )
  return matches[0]


def _encode_latin1(text, encoding):
  if encoding not in ("latin1", "latin-1"):
    raise _RefusedError(f"_codecs.encode to {encoding}")
  return text.encode("latin1")


def _restore_arrow_array(data):
  # Validation rejects offsets that point outside the array's buffers.
  array = pyarrow.lib._restore_array(data)
  array.validate(full=True)
  return array


def _is_installed(name):
  return importlib.util.find_spec(name) is not None
