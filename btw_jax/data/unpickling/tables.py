"""Tables, series and indexes of pandas, from the records of a pickle.

The layouts are those of pandas 1 to 3. The tables are made by the public
constructors of the pandas that is installed, from columns that were checked.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from btw_jax.data.unpickling import keys
from btw_jax.data.unpickling import placeholders
from btw_jax.data.unpickling import strings

Convert = Callable[[Any], Any]


def missing() -> Any:
  """Returns the missing value of pandas."""
  import pandas

  return pandas.NA


def build(instance: placeholders.Instance, convert: Convert) -> tuple[Any, int]:
  """Returns the object of a record, and its size in bytes without its parts.

  Raises:
    RefusedError: if the record is none of pandas' data.
    ValueError: if its content is not what pandas writes.
  """
  if instance.kind not in _BUILDERS:
    raise placeholders.RefusedError(instance.text)
  return _BUILDERS[instance.kind](instance, convert)


def _state(instance, convert, *names):
  """Returns the values of a state; of several names, the one that it has."""
  if not isinstance(instance.state, Mapping):
    raise ValueError(f"has a {instance.text} without content")
  values = []
  for name in names:
    present = [n for n in name.split("|") if n in instance.state]
    if not present:
      raise ValueError(f"has a {instance.text} without {name}")
    values.append(convert(instance.state[present[0]]))
  return values


def _name(state):
  """Returns the name of an index or series: plain text or a number."""
  name = state.get("name", state.get("_name"))
  if not isinstance(
    name, (str, bytes, int, float, type(None), np.generic, tuple)
  ) or (isinstance(name, tuple) and not all(type(n) in (str, int)
                                            for n in name)):  # fmt: skip
    raise ValueError("has a table with an unusual name")
  return name


def _is_array(value):
  import pandas

  return isinstance(value, (np.ndarray, pandas.api.extensions.ExtensionArray))


def _index(instance, convert):
  import pandas

  (data,) = _state(instance, convert, "data")
  if not _is_array(data) or data.ndim != 1:
    raise ValueError("has an index that is no list")
  if _dtype(data) is object:
    # pandas hashes and compares them.
    checked = keys.Keys()
    for key in data:
      if key is not pandas.NA:
        checked.check(key, data)
  index = pandas.Index(data, dtype=_dtype(data), name=_name(instance.state))
  return index, index.nbytes


def _range_index(instance, convert):
  import pandas

  bounds = _state(instance, convert, "start", "stop", "step")
  if not all(type(n) is int and abs(n) < 2**62 for n in bounds):
    raise ValueError("has an index of an impossible range")
  index = range(*bounds)
  size = 8 * max(0, -((index.start - index.stop) // index.step))
  # The finisher checks the size; a longer range has no length in Python.
  if size >= 2**62:
    raise ValueError("has an index of an impossible range")
  return pandas.RangeIndex(index, name=_name(instance.state)), size


def _multi_index(instance, convert):
  import pandas

  levels, codes, names = _state(
    instance, convert, "levels", "codes|labels", "names"
  )
  if not all(_is_array(c) and c.dtype.kind in "iu" for c in codes):
    raise ValueError("has an index whose codes are no numbers")
  if not all(isinstance(level, pandas.Index) for level in levels):
    raise ValueError("has an index of an unknown layout")
  index = pandas.MultiIndex(
    levels, codes, names=[_name({"name": n}) for n in names]
  )
  return index, 8 * len(index) * len(codes)


def _backed(instance, convert):
  """Returns the dtype and the array of an array of pandas.

  The state is a mapping, or holds both in either order, or holds a mapping.
  """
  state = convert(instance.state)
  if isinstance(state, tuple) and len(state) == 1:
    state = state[0]
  if isinstance(state, Mapping):
    array = state.get("_ndarray", state.get("_codes", state.get("_data")))
    dtype = state.get("_dtype")
  elif isinstance(state, tuple) and len(state) in (2, 3):
    arrays = [part for part in state if isinstance(part, np.ndarray)]
    dtypes = [p for p in state[:2] if not isinstance(p, np.ndarray)]
    array, dtype = arrays[0], dtypes[0]
  else:
    raise ValueError(f"has a {instance.text} of an unknown layout")
  if not isinstance(array, np.ndarray):
    raise ValueError(f"has a {instance.text} without its array")
  return dtype, array


def _plain_array(instance, convert):
  return _backed(instance, convert)[1], 0


def _category_dtype(instance, convert):
  import pandas

  if instance.args:
    categories, ordered = convert(instance.args)
  else:
    categories, ordered = _state(instance, convert, "categories", "ordered")
  if categories is not None and not isinstance(categories, pandas.Index):
    raise ValueError("has categories of an unknown layout")
  return pandas.CategoricalDtype(categories, ordered), 0


def _categorical(instance, convert):
  import pandas

  dtype, codes = _backed(instance, convert)
  if not isinstance(dtype, pandas.CategoricalDtype) or codes.dtype.kind != "i":
    raise ValueError("has categories of an unknown layout")
  return pandas.Categorical.from_codes(codes, dtype=dtype), codes.nbytes


def _string_dtype(instance, convert):
  import pandas

  args = convert(instance.args)
  if not args or args[0] is None:
    return pandas.StringDtype("python"), 0
  storage = {"pyarrow_numpy": "pyarrow"}.get(args[0], args[0])
  value = args[1] if len(args) > 1 else pandas.NA
  is_nan = storage != args[0] or (isinstance(value, float) and value != value)
  return (
    pandas.StringDtype(storage, np.nan if is_nan else pandas.NA),
    0,
  )


def _string_array(instance, convert):
  import pandas

  dtype, array = _backed(instance, convert)
  if array.dtype != object:
    raise ValueError("has strings of an unknown layout")
  if not isinstance(dtype, pandas.StringDtype):
    dtype = pandas.StringDtype("python")
  return pandas.array(array.ravel(), dtype=dtype), array.nbytes


def _arrow_strings(instance, convert):
  import pandas

  if not isinstance(instance.state, Mapping):
    raise ValueError(f"has a {instance.text} without content")
  state = instance.state
  data = strings.build(state.get("_pa_array", state.get("_data")))
  dtype = convert(state.get("_dtype"))
  if not isinstance(dtype, pandas.StringDtype):
    dtype = pandas.StringDtype("pyarrow")
  return pandas.array(data, dtype=dtype), data.nbytes


def _block(instance, convert):
  values, placement, *_ = convert(instance.args)
  return (values, placement), 0


def _manager(instance, convert):
  """Returns the axes and the blocks (values, placement) of a manager."""
  if instance.args:
    blocks, axes = convert(instance.args)
    return (list(axes), list(blocks)), 0
  # A tuple, whose other parts are for pandas before 0.14.
  if not isinstance(instance.state, tuple) or not instance.state:
    raise ValueError("has a table of an unknown layout")
  state = convert(instance.state[-1]["0.14.1"])
  blocks = [(b["values"], b["mgr_locs"]) for b in state["blocks"]]
  return (list(state["axes"]), blocks), 0


def _content(instance, convert):
  (manager,) = _state(instance, convert, "_mgr|_data")
  if not isinstance(manager, tuple) or len(manager) != 2:
    raise ValueError("has a table without content")
  return manager


def _series(instance, convert):
  import pandas

  (index,), ((values, _),) = _content(instance, convert)
  if not _is_array(values) or values.shape != (len(index),):
    raise ValueError("has a series of another length than its index")
  series = pandas.Series(
    values, index, _dtype(values), name=_name(instance.state)
  )
  return series, 0


def _dtype(values):
  # pandas 3 would make text of objects that are strings.
  return object if getattr(values, "dtype", None) == np.dtype("O") else None


def _frame(instance, convert):
  import pandas

  (columns, index), blocks = _content(instance, convert)
  parts, places = [], []
  for values, placement in blocks:
    if not _is_array(values):
      raise ValueError("has a block without values")
    # Arrays that are not NumPy's hold one column.
    num_rows = len(values) if values.ndim == 2 else 1
    place = _placement(placement, len(columns), num_rows)
    if values.ndim == 1:
      part = pandas.DataFrame({0: pandas.Series(values, dtype=_dtype(values))})
    else:
      part = pandas.DataFrame(values.T, dtype=_dtype(values), copy=False)
    if len(part) != len(index):
      raise ValueError("has a block of another length than its table")
    parts.append(part)
    places.append(place)
  order = np.concatenate([np.zeros(0, int), *places])
  if len(order) != len(columns) or np.any(
    np.sort(order) != np.arange(len(order))
  ):
    raise ValueError("has a table some of whose columns are missing")
  if not parts:
    return pandas.DataFrame(index=index, columns=columns), 0
  table = pandas.concat(parts, axis=1) if len(parts) > 1 else parts[0]
  if not np.array_equal(order, np.arange(len(order))):
    table = table.iloc[:, np.argsort(order)]
  return table.set_axis(columns, axis=1).set_axis(index, axis=0), 0


def _placement(placement, num_columns, num_rows):
  """Returns the positions of the columns that the rows of a block hold."""
  if isinstance(placement, slice):
    placement = range(num_columns)[placement]
  elif (
    not isinstance(placement, np.ndarray) or placement.dtype.kind not in "iu"
  ):
    raise ValueError("has a block without the positions of its columns")
  if len(placement) != num_rows:
    raise ValueError("has a block of another shape than its table")
  return np.array(placement, int)


_BUILDERS = {
  "Index": _index,
  "CategoricalIndex": _index,
  "RangeIndex": _range_index,
  "MultiIndex": _multi_index,
  "Categorical": _categorical,
  "CategoricalDtype": _category_dtype,
  "DatetimeArray": _plain_array,
  "NumpyExtensionArray": _plain_array,
  "NumpyEADtype": lambda instance, convert: (None, 0),
  "StringDtype": _string_dtype,
  "StringArray": _string_array,
  "ArrowStringArray": _arrow_strings,
  "_unpickle_block": _block,
  "BlockManager": _manager,
  "SingleBlockManager": _manager,
  "DataFrame": _frame,
  "Series": _series,
}
