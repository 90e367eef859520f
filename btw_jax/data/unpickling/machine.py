"""An interpreter of the opcodes of pickles, protocols 0 to 5.

Python's own unpickler is not used. Its C code calls, hashes and extends
whatever a file puts together, and can be told only which names to find. This
one is as fast for long arrays, which are read in place; a small value takes
about a microsecond.
"""

import collections
import pickle
from typing import Any

from btw_jax.data.unpickling import keys
from btw_jax.data.unpickling import literals
from btw_jax.data.unpickling import names
from btw_jax.data.unpickling import placeholders
from btw_jax.data.unpickling import reconstructors
from btw_jax.data.unpickling import stream

# Memory that small values may take in any file, beside twice the size of the
# file: 30 million values, or 45 million that take nine bytes each.
SLACK = 2**31

# About the most bytes that an operation takes: a value and its place in a list,
# an entry of the memo, or a set.
_COST = 64
_HIGH_COST = 256

_MAPPINGS = (dict, collections.OrderedDict, collections.defaultdict)


class Machine:
  """The stack, the marks and the memo of a pickle that is read."""

  def __init__(self, source: stream.Stream, *, slack: int = SLACK):
    """Reads from `source`; small values may take `slack` bytes."""
    self._source, self._slack = source, slack
    self._stack, self._marks, self._memo = [], [], {}
    self._keys = keys.Keys()
    self._cost, self._budget = 0, slack

  def run(self) -> Any:
    """Returns the value of the pickle, with placeholders in it.

    Raises:
      RefusedError: if the pickle asks for what is not allowed.
      Exception: of any type if it is damaged.
    """
    read, operations = self._source.read, _OPERATIONS
    while True:
      code = read(1)
      if code == pickle.STOP:
        return self._stack.pop()
      if code not in operations:
        raise ValueError(f"has an unknown operation, {code[0]}")
      operation, cost = operations[code]
      self._cost += cost
      if self._cost > self._budget:
        self._charge(0)
      operation(self)

  def _charge(self, cost):
    """Counts memory that may have been taken; raises an error if too much."""
    self._cost += cost
    if self._cost > self._budget:
      self._budget = self._slack + 2 * self._source.position
      if self._cost > self._budget:
        raise ValueError("needs more memory than its size explains")

  def _push(self, value):
    self._stack.append(value)

  # Containers.

  def _take_marked(self):
    """Returns the values since the last mark, and removes them."""
    marked, self._stack = self._stack, self._marks.pop()
    return marked

  def _mark(self):
    self._marks.append(self._stack)
    self._stack = []

  def _pop(self):
    if self._stack:
      del self._stack[-1]
    else:
      self._take_marked()

  def _push_tuple(self, size):
    if len(self._stack) < size:
      raise ValueError("has a tuple without its values")
    items = tuple(self._stack[len(self._stack) - size :])
    del self._stack[len(self._stack) - size :]
    self._stack.append(items)

  def _push_dict(self):
    items = self._take_marked()
    self._stack.append({})
    self._set_items(items)

  def _push_frozenset(self):
    items = self._take_marked()
    keys.check_members(items)
    self._stack.append(frozenset(items))

  def _append(self, items):
    target = self._stack[-1]
    if type(target) is not list:
      raise ValueError(f"appends to a {type(target).__name__}")
    target.extend(items)

  def _append_one(self):
    item = self._stack.pop()
    self._append([item])

  def _set_items(self, items):
    target = self._stack[-1]
    if type(target) not in _MAPPINGS:
      raise ValueError(f"sets items of a {type(target).__name__}")
    if len(items) % 2:
      raise ValueError("has a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
      self._keys.check(key, target)
      target[key] = value

  def _set_one(self):
    value, key = self._stack.pop(), self._stack.pop()
    self._set_items([key, value])

  def _add_items(self):
    items, target = self._take_marked(), self._stack[-1]
    if type(target) is not set:
      raise ValueError(f"adds members to a {type(target).__name__}")
    for item in items:
      self._keys.check(item, target)
      target.add(item)

  # The memo.

  def _get(self, index):
    if index not in self._memo:
      raise ValueError(f"asks for value {index}, which it has not stored")
    self._stack.append(self._memo[index])

  def _put(self, index):
    if index < 0:
      raise ValueError("stores a value under a negative number")
    self._memo[index] = self._stack[-1]

  # Names and calls.

  def _name_lines(self):
    return [str(self._source.read_line(), "utf-8") for _ in range(2)]

  def _global(self):
    self._stack.append(names.find(*self._name_lines()))

  def _stack_global(self):
    name, module = self._stack.pop(), self._stack.pop()
    if type(name) is not str or type(module) is not str:
      raise ValueError("has a name that is no text")
    self._stack.append(names.find(module, name))

  def _reduce(self):
    args, function = self._stack.pop(), self._stack.pop()
    if type(args) is tuple:
      # Some reconstructors copy an argument, which the memo can repeat.
      self._charge(sum(map(_size, args[:2])))
    self._stack.append(reconstructors.call(function, args, self._keys))

  def _new(self):
    args, cls = self._stack.pop(), self._stack.pop()
    self._stack.append(reconstructors.new(cls, args))

  def _build(self):
    state = self._stack.pop()
    reconstructors.build(self._stack[-1], state)

  def _instantiate(self):
    # Python 2 wrote this operation for classes of its own kind, none of which
    # is allowed.
    module, name = self._name_lines()
    raise placeholders.RefusedError(f"{module}.{name} as an instance")

  def _object(self):
    cls = (self._take_marked() or [None])[0]
    raise placeholders.RefusedError(
      f"{reconstructors.describe(cls)} as an instance"
    )


def _size(value):
  """Returns about the most bytes that a copy of a value takes."""
  if type(value) in (list, tuple):
    return _COST * len(value)
  if type(value) is placeholders.Blob:
    return len(value.data)
  return len(value) if type(value) in (str, bytes, bytearray) else 0


def _refuse(what):
  def operation(machine):
    del machine
    raise placeholders.RefusedError(what)

  return operation


def _constant(make):
  return lambda m: m._stack.append(make())


def _literal(read, *options):
  return lambda m: m._stack.append(read(m._source, *options))


_FUNCTIONS = {
  pickle.PROTO: lambda m: literals.check_protocol(m._source),
  pickle.FRAME: lambda m: m._source.read(8),
  pickle.NONE: _constant(lambda: None),
  pickle.NEWTRUE: _constant(lambda: True),
  pickle.NEWFALSE: _constant(lambda: False),
  pickle.INT: _literal(literals.read_int_line),
  pickle.BININT: _literal(literals.read_number, "<i"),
  pickle.BININT1: _literal(literals.read_number, "<B"),
  pickle.BININT2: _literal(literals.read_number, "<H"),
  pickle.LONG: _literal(literals.read_long_line),
  pickle.LONG1: _literal(literals.read_long, "<B"),
  pickle.LONG4: _literal(literals.read_long, "<i"),
  pickle.FLOAT: _literal(literals.read_float_line),
  pickle.BINFLOAT: _literal(literals.read_number, ">d"),
  pickle.STRING: _literal(literals.read_string_line),
  pickle.BINSTRING: _literal(literals.read_latin1, "<I"),
  pickle.SHORT_BINSTRING: _literal(literals.read_latin1, "<B"),
  pickle.UNICODE: _literal(literals.read_unicode_line),
  pickle.SHORT_BINUNICODE: _literal(literals.read_text, "<B"),
  pickle.BINUNICODE: _literal(literals.read_text, "<I"),
  pickle.BINUNICODE8: _literal(literals.read_text, "<Q"),
  pickle.SHORT_BINBYTES: _literal(literals.read_bytes, "<B"),
  pickle.BINBYTES: _literal(literals.read_bytes, "<I"),
  pickle.BINBYTES8: _literal(literals.read_bytes, "<Q"),
  pickle.BYTEARRAY8: _literal(literals.read_bytearray),
  pickle.MARK: Machine._mark,
  pickle.POP: Machine._pop,
  pickle.POP_MARK: lambda m: m._take_marked() and None,
  pickle.DUP: lambda m: m._stack.append(m._stack[-1]),
  pickle.EMPTY_TUPLE: _constant(tuple),
  pickle.TUPLE: lambda m: m._push(tuple(m._take_marked())),
  pickle.TUPLE1: lambda m: m._push_tuple(1),
  pickle.TUPLE2: lambda m: m._push_tuple(2),
  pickle.TUPLE3: lambda m: m._push_tuple(3),
  pickle.EMPTY_LIST: _constant(list),
  pickle.LIST: lambda m: m._push(m._take_marked()),
  pickle.APPEND: Machine._append_one,
  pickle.APPENDS: lambda m: m._append(m._take_marked()),
  pickle.EMPTY_DICT: _constant(dict),
  pickle.DICT: Machine._push_dict,
  pickle.SETITEM: Machine._set_one,
  pickle.SETITEMS: lambda m: m._set_items(m._take_marked()),
  pickle.EMPTY_SET: _constant(set),
  pickle.FROZENSET: Machine._push_frozenset,
  pickle.ADDITEMS: Machine._add_items,
  pickle.GET: lambda m: m._get(literals.read_int_line(m._source)),
  pickle.BINGET: lambda m: m._get(literals.read_number(m._source, "<B")),
  pickle.LONG_BINGET: lambda m: m._get(literals.read_number(m._source, "<I")),
  pickle.PUT: lambda m: m._put(literals.read_int_line(m._source)),
  pickle.BINPUT: lambda m: m._put(literals.read_number(m._source, "<B")),
  pickle.LONG_BINPUT: lambda m: m._put(literals.read_number(m._source, "<I")),
  pickle.MEMOIZE: lambda m: m._put(len(m._memo)),
  pickle.GLOBAL: Machine._global,
  pickle.STACK_GLOBAL: Machine._stack_global,
  pickle.REDUCE: Machine._reduce,
  pickle.NEWOBJ: Machine._new,
  pickle.BUILD: Machine._build,
  pickle.INST: Machine._instantiate,
  pickle.OBJ: Machine._object,
  pickle.NEWOBJ_EX: _refuse("a call with keywords"),
  pickle.EXT1: _refuse("an extension by number"),
  pickle.EXT2: _refuse("an extension by number"),
  pickle.EXT4: _refuse("an extension by number"),
  pickle.PERSID: _refuse("an object outside the file"),
  pickle.BINPERSID: _refuse("an object outside the file"),
  pickle.NEXT_BUFFER: _refuse("a buffer outside the file"),
  pickle.READONLY_BUFFER: _refuse("a buffer outside the file"),
}

_COSTLY = {
  pickle.EMPTY_SET, pickle.FROZENSET, pickle.EMPTY_DICT, pickle.DICT,
  pickle.REDUCE, pickle.NEWOBJ, pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT,
  pickle.MEMOIZE,
}  # fmt: skip

# An operation -> its function, and about the most bytes that it takes.
_OPERATIONS = {
  code: (function, _HIGH_COST if code in _COSTLY else _COST)
  for code, function in _FUNCTIONS.items()
}
