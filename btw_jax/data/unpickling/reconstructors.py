"""The reconstructors that the names in a pickle stand for.

Each takes the arguments that picklers write, refuses all others, and makes a
plain value or the record of an array or table, an `Instance`.
"""

import collections
from typing import Any

from btw_jax.data.unpickling import arrays
from btw_jax.data.unpickling import keys as keys_lib
from btw_jax.data.unpickling import placeholders

RefusedError = placeholders.RefusedError
Instance = placeholders.Instance

# The classes that picklers make without arguments, to give them a state.
_NEW = {
  "ArrowStringArray", "BlockManager", "Categorical", "CategoricalDtype",
  "DataFrame", "DatetimeArray", "NumpyEADtype", "NumpyExtensionArray",
  "Series", "SingleBlockManager", "StringArray", "StringDtype",
}  # fmt: skip
_BACKED = {
  "Categorical", "DatetimeArray", "NumpyExtensionArray", "StringArray",
}  # fmt: skip
_INDEXES = ("Index", "RangeIndex", "MultiIndex", "CategoricalIndex")
_MAX_RANGE = 2**63

# Functions that make the missing values of a `defaultdict`, by their names.
_FACTORIES = {
  "builtin_list": list, "builtin_dict": dict, "builtin_set": set,
  "builtin_int": int, "builtin_float": float, "builtin_str": str,
  "builtin_bool": bool, "builtin_tuple": tuple,
}  # fmt: skip


def call(function: Any, args: Any, keys: keys_lib.Keys) -> Any:
  """Returns the result of a reconstructor, often an `Instance`.

  Raises:
    RefusedError: if nothing that picklers write calls this value in this way.
    ValueError: if an argument has a wrong size or content.
  """
  if type(function) is not placeholders.Name or type(args) is not tuple:
    raise RefusedError(f"a call of {describe(function)}")
  if function.kind in _CONTAINERS:
    return _CONTAINERS[function.kind](function, args, keys)
  if function.kind not in _CALLS:
    raise RefusedError(f"a call of {function.text}")
  return _CALLS[function.kind](function, args)


def new(cls: Any, args: Any) -> Instance:
  """Returns an instance without content, of an allowed class.

  Raises:
    RefusedError: if the class is not allowed, or has arguments.
  """
  is_allowed = type(cls) is placeholders.Name and cls.kind in _NEW
  if not is_allowed or type(args) is not tuple or args:
    raise RefusedError(f"a new {describe(cls)}")
  return Instance(cls.kind, cls.text)


def build(target: Any, state: Any) -> None:
  """Stores the state of an instance, once.

  Raises:
    RefusedError: if the target is no instance that takes a state.
  """
  if type(target) is not Instance or target.kind not in _STATES:
    raise RefusedError(f"a change of {describe(target)}")
  if target.state is not None or state is None:
    raise RefusedError(f"a second state of {target.text}")
  target.state, target.result = state, None


def describe(value: Any) -> str:
  """Returns a name of a value for messages."""
  if type(value) in (placeholders.Name, Instance):
    return value.text
  return f"a {type(value).__name__}"


def _expect(function, args, *types):
  """Raises an error unless the arguments are of these types, one for one."""
  if len(args) != len(types) or not all(
    type(arg) in (kind if isinstance(kind, tuple) else (kind,))
    for arg, kind in zip(args, types, strict=True)
  ):
    raise RefusedError(f"a call of {function.text} with other arguments")


def _kind(value):
  return value.kind if type(value) is placeholders.Name else None


def _record(function, args):
  return Instance(function.kind, function.text, args)


def _reconstruct(function, args):
  if len(args) != 3 or _kind(args[0]) != "ndarray" or args[1] != (0,):
    raise RefusedError(f"a call of {function.text} with other arguments")
  return Instance("ndarray", args[0].text)


def _reconstructor(function, args):
  if (
    len(args) != 3 or _kind(args[1]) != "builtin_object" or args[2] is not None
  ):
    raise RefusedError(f"a call of {function.text} with other arguments")
  return new(args[0], ())


def _unpickle_backed(function, args):
  _expect(function, args, placeholders.Name, int, (type(None), tuple))
  if args[0].kind not in _BACKED:
    raise RefusedError(f"a call of {function.text} for {args[0].text}")
  return Instance(args[0].kind, args[0].text, (), args[2])


def _new_index(function, args):
  _expect(function, args, placeholders.Name, dict)
  if args[0].kind not in _INDEXES:
    raise RefusedError(f"a call of {function.text} for {args[0].text}")
  return Instance(args[0].kind, args[0].text, (), args[1])


def _encode(function, args):
  _expect(function, args, str, str)
  if args[1] not in ("latin1", "latin-1"):
    raise RefusedError(f"_codecs.encode to {args[1]}")
  content = args[0].encode("latin1")
  if len(content) < placeholders.MIN_BLOB:
    return content
  return placeholders.Blob(bytearray(content))


def _bytearray(function, args):
  if len(args) == 2 and args[1] in ("latin1", "latin-1"):
    args = args[:1]  # Python 2 wrote the text and its encoding.
  if not args:
    return bytearray()
  _expect(function, args, (bytes, str, placeholders.Blob))
  content = placeholders.payload(args[0])
  return content if type(content) is bytearray else bytearray(content)


def _bytes(function, args):
  _expect(function, args)
  return b""


def _complex(function, args):
  _expect(function, args, (float, int), (float, int))
  return complex(*args)


def _range(function, args):
  _expect(function, args, int, int, int)
  if max(map(abs, args)) >= _MAX_RANGE:
    raise ValueError("has a range beyond 64 bits")
  return range(*args)


def _slice(function, args):
  number = (int, type(None))
  _expect(function, args, number, number, number)
  return slice(*args)


def _scalar(function, args):
  _expect(function, args, Instance, (bytes, str, placeholders.Blob))
  return arrays.scalar(*args)


def _members(kind):
  def make(function, args, keys):
    del keys
    if args:
      _expect(function, args, (list, tuple))
    items = args[0] if args else []
    keys_lib.check_members(items)
    return kind(items)

  return make


def _ordered(function, args, keys):
  if args:
    _expect(function, args, list)
  ordered = collections.OrderedDict()
  # Python 2 wrote a list of [key, value].
  for pair in args[0] if args else []:
    if type(pair) not in (list, tuple) or len(pair) != 2:
      raise RefusedError(f"a call of {function.text} with other arguments")
    keys.check(pair[0], ordered)
    ordered[pair[0]] = pair[1]
  return ordered


def _default(function, args, keys):
  del keys
  factory = args[0] if len(args) == 1 else None
  if factory is None and args in ((), (None,)):
    return collections.defaultdict()
  if _kind(factory) not in _FACTORIES:
    raise RefusedError(f"a call of {function.text} with {describe(factory)}")
  return collections.defaultdict(_FACTORIES[factory.kind])


_CALLS = {
  "_reconstruct": _reconstruct,
  "_frombuffer": _record,
  "scalar": _scalar,
  "dtype": _record,
  "encode": _encode,
  "builtin_bytearray": _bytearray,
  "builtin_bytes": _bytes,
  "builtin_complex": _complex,
  "builtin_range": _range,
  "builtin_slice": _slice,
  "_reconstructor": _reconstructor,
  "_unpickle_block": _record,
  "__pyx_unpickle_NDArrayBacked": _unpickle_backed,
  "_new_Index": _new_index,
  "BlockManager": _record,
  "StringDtype": _record,
  "CategoricalDtype": _record,
  "_restore_array": _record,
  "chunked_array": _record,
  "py_buffer": _record,
  "type_for_alias": _record,
}
_CONTAINERS = {
  "builtin_set": _members(set),
  "builtin_frozenset": _members(frozenset),
  "OrderedDict": _ordered,
  "defaultdict": _default,
}
# The kinds of instances that take a state. Managers that were called with
# their blocks have one of None.
_STATES = {*_NEW, "ndarray", "dtype"}
