"""The names that a pickle may have, and the kinds they stand for.

No name leads to a class or function of NumPy, pandas or Python. A kind is the
name of a function in `reconstructors` or of a builder in `tables`.
"""

import functools
import importlib.util

from btw_jax.data.unpickling import placeholders

_BUILTINS = {
  name: f"builtin_{name}"
  for name in (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset",
    "int", "list", "object", "range", "set", "slice", "str", "tuple",
  )
}  # fmt: skip
_ARRAYS = {"_reconstruct": "_reconstruct", "scalar": "scalar",
           "_frombuffer": "_frombuffer"}  # fmt: skip
_INDEXES = ("Index", "RangeIndex", "MultiIndex", "CategoricalIndex")
_PANDAS = {
  "pandas": (
    *_INDEXES, "Categorical", "CategoricalDtype", "DataFrame", "Series",
    "StringDtype", "NA",
  ),
  "pandas.arrays": (
    "ArrowStringArray", "Categorical", "DatetimeArray", "NumpyExtensionArray",
    "PandasArray", "StringArray",
  ),
  "pandas.core.frame": ("DataFrame",),
  "pandas.core.series": ("Series",),
  "pandas.core.indexes.base": ("Index", "_new_Index"),
  "pandas.core.indexes.category": ("CategoricalIndex",),
  "pandas.core.indexes.multi": ("MultiIndex",),
  "pandas.core.indexes.range": ("RangeIndex",),
  "pandas.core.indexes.numeric": (
    "Float64Index", "Int64Index", "UInt64Index",
  ),
  "pandas.core.internals.managers": ("BlockManager", "SingleBlockManager"),
  "pandas.core.internals.blocks": ("new_block",),
  "pandas._libs.internals": ("_unpickle_block",),
  "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
  "pandas._libs.missing": ("NA",),
  "pandas.core.arrays.categorical": ("Categorical",),
  "pandas.core.arrays.datetimes": ("DatetimeArray",),
  "pandas.core.arrays.string_": ("StringArray", "StringDtype"),
  "pandas.core.arrays.string_arrow": ("ArrowStringArray",),
  "pandas.core.arrays.numpy_": ("NumpyExtensionArray", "PandasArray"),
  "pandas.core.dtypes.dtypes": (
    "CategoricalDtype", "NumpyEADtype", "PandasDtype",
  ),
}  # fmt: skip
# Names that say the same.
_SAME = {
  "Float64Index": "Index", "Int64Index": "Index", "UInt64Index": "Index",
  "new_block": "_unpickle_block", "PandasArray": "NumpyExtensionArray",
  "PandasDtype": "NumpyEADtype",
}  # fmt: skip
_NAMES = {
  **{
    f"numpy.{core}.{module}": _ARRAYS
    for core in ("core", "_core")
    for module in ("multiarray", "numeric")
  },
  "numpy": {"dtype": "dtype", "ndarray": "ndarray"},
  **{
    module: {name: _SAME.get(name, name) for name in names}
    for module, names in _PANDAS.items()
  },
  "pyarrow.lib": {
    name: name
    for name in (
      "_restore_array", "chunked_array", "py_buffer", "type_for_alias",
    )
  },
  "builtins": _BUILTINS,
  "__builtin__": {
    **_BUILTINS, "unicode": "builtin_str", "long": "builtin_int",
    "xrange": "builtin_range",
  },
  "collections": {n: n for n in ("OrderedDict", "defaultdict")},
  "copyreg": {"_reconstructor": "_reconstructor"},
  "copy_reg": {"_reconstructor": "_reconstructor"},
  "_codecs": {"encode": "encode"},
}  # fmt: skip


def find(module: str, name: str) -> placeholders.Name:
  """Returns the placeholder of a name.

  Raises:
    RefusedError: if the name is not allowed.
  """
  text = f"{module}.{name}"
  kind = _NAMES.get(module, {}).get(name)
  if kind is None:
    raise placeholders.RefusedError(text)
  if module.startswith("pandas") and not _is_installed("pandas"):
    raise placeholders.RefusedError(f"{text} (needs pandas: install it)")
  return placeholders.Name(kind, text)


@functools.cache
def _is_installed(name):
  return importlib.util.find_spec(name) is not None
