"""Arrow's arrays of strings, from the records of a pickle."""

from typing import Any

import pyarrow

from btw_jax.data.unpickling import placeholders

_TYPES = {
  "string": pyarrow.string(),
  "utf8": pyarrow.string(),
  "large_string": pyarrow.large_string(),
  "large_utf8": pyarrow.large_string(),
}


def build(instance: Any) -> pyarrow.ChunkedArray:
  """Returns the strings that `_restore_array` or `chunked_array` was to make.

  Raises:
    ValueError: if they are not strings, or point outside their bytes.
  """
  kind = instance.kind if type(instance) is placeholders.Instance else None
  if kind == "chunked_array":
    chunks, dtype = instance.args
    if type(chunks) is not list:
      raise ValueError("has strings without chunks")
    return pyarrow.chunked_array(map(_build_array, chunks), _read_type(dtype))
  array = _build_array(instance)
  return pyarrow.chunked_array([array], array.type)


def _build_array(instance):
  (data,) = _args(instance, "_restore_array")
  dtype, length, num_null, offset, buffers, children, dictionary, *_ = (
    *data,
    None,
  )
  if (
    children or dictionary is not None or type(buffers) is not list
    or len(buffers) != 3
  ):  # fmt: skip
    raise ValueError("has Arrow arrays that are not strings")
  if not all(type(n) is int and 0 <= n < 2**40 for n in (length, offset)):
    raise ValueError("has strings of an impossible number")
  # A wrong number of nulls would pass the validation: it is counted again.
  del num_null
  array = pyarrow.Array.from_buffers(
    _read_type(dtype), length, list(map(_read_buffer, buffers)), -1, offset
  )
  # The validation rejects offsets that point outside the array's buffers.
  array.validate(full=True)
  return array


def _read_type(instance):
  (alias,) = _args(instance, "type_for_alias")
  if type(alias) is not str or alias not in _TYPES:
    raise ValueError("has Arrow arrays that are not strings")
  return _TYPES[alias]


def _read_buffer(instance):
  if instance is None:
    return None
  (content,) = _args(instance, "py_buffer")
  return pyarrow.py_buffer(bytes(placeholders.payload(content)))


def _args(instance, kind):
  if type(instance) is not placeholders.Instance or instance.kind != kind:
    raise ValueError("has Arrow arrays that are not strings")
  return instance.args
