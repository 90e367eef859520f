import collections
import os
import pickle
import pickletools
import time
import tracemalloc

import numpy as np
import pandas
import pytest

from btw_jax import errors
from btw_jax.data import pickles
from btw_jax.data.unpickling import finish
from btw_jax.data.unpickling import machine
from btw_jax.data.unpickling import stream
from support import pickle_codes as codes
from support import pickle_mutants

_RECONSTRUCT = codes.name("numpy.core.multiarray", "_reconstruct")
_FROMBUFFER = codes.name("numpy.core.numeric", "_frombuffer")
_NDARRAY = codes.name("numpy", "ndarray")
_INDEX = codes.name("pandas", "Index")
_F8 = codes.dtype("f8", "<")
_POINTERS = bytes(range(8))


def _refuse(tmp_path, content, match):
  """Loads a pickle, which must end in one short line and at once."""
  path = tmp_path / "a.pkl"
  path.write_bytes(content)
  before, start = pickle_mutants.state(), time.monotonic()
  with pytest.raises(errors.InputError, match=match) as error:
    pickles.load(path)
  # Machines are shared: far more than it takes, far less than a bomb takes.
  assert time.monotonic() - start < 60
  assert pickle_mutants.state() == before
  assert str(error.value).isprintable()
  assert len(str(error.value)) < 400 + len(str(path))


def _record(*, offset=0, size=8, second=None):
  """Returns the code of a dtype of records, with a field at an offset."""
  fields = {"a": (_F8, offset)}
  if second is not None:
    fields["b"] = (_F8, second)
  rest = (None, tuple(fields), fields, size, 1)
  return codes.dtype(f"V{size}", rest=rest, flags=16)


CALLS = {
  "array over the file's bytes": (
    codes.call(_NDARRAY, (1,), "O", _POINTERS),
    "asks for a call of numpy.ndarray,",
  ),
  "new array": (
    codes.new(_NDARRAY, (1,), "O", _POINTERS),
    "asks for a new numpy.ndarray,",
  ),
  "defaults of a function": (
    codes.build(_FROMBUFFER, (None, {"__defaults__": (1,)})),
    "asks for a change of numpy.core.numeric._frombuffer,",
  ),
  "attributes of a function": (
    codes.build(_FROMBUFFER, {"planted": 1}),
    "asks for a change of numpy.core.numeric._frombuffer,",
  ),
  "attributes of a class": (
    codes.build(_INDEX, (None, {"planted": 1})),
    "asks for a change of pandas.Index,",
  ),
  "subclass of an array": (
    codes.call(_RECONSTRUCT, _INDEX, (0,), b"b"),
    "asks for a call of .*_reconstruct with other arguments,",
  ),
  "large array": (
    codes.call(_RECONSTRUCT, _NDARRAY, (2**40,), b"b"),
    "asks for a call of .*_reconstruct with other arguments,",
  ),
  "list of a range": (
    codes.call(
      codes.name("builtins", "list"),
      codes.call(codes.name("builtins", "range"), 0, 10**9, 1),
    ),
    "asks for a call of builtins.list,",
  ),
  "zeros": (
    codes.call(codes.name("builtins", "bytearray"), 10**10),
    "asks for a call of builtins.bytearray with other arguments,",
  ),
  "zero bytes": (
    codes.call(codes.name("builtins", "bytes"), 10**10),
    "asks for a call of builtins.bytes with other arguments,",
  ),
  "set of a range": (
    codes.call(
      codes.name("builtins", "frozenset"),
      codes.call(codes.name("builtins", "range"), 0, 10**9, 1),
    ),
    "asks for a call of builtins.frozenset with other arguments,",
  ),
  "table": (
    codes.call(codes.name("pandas", "DataFrame"), {"a": [1]}),
    "asks for a call of pandas.DataFrame,",
  ),
  "function as a value": (
    [_RECONSTRUCT],
    "asks for numpy.core.multiarray._reconstruct,",
  ),
  "second state": (
    codes.build(codes.values(np.ones(1)), (1, (1,), _F8, False, bytes(8))),
    "asks for a second state of numpy.ndarray,",
  ),
}


@pytest.mark.parametrize("case", CALLS)
def test_nothing_that_is_named_is_called_or_changed(tmp_path, case):
  content, match = CALLS[case]
  _refuse(tmp_path, codes.whole(content), match)


ARRAYS = {
  "objects without their flags": (
    codes.array((1,), codes.dtype("O8", flags=0), _POINTERS),
    "another number of them",
  ),
  "objects in a buffer": (
    codes.call(
      _FROMBUFFER, bytearray(8), codes.dtype("O8", flags=0), (1,), "C"
    ),
    "another number of them",
  ),
  "object scalar": (
    codes.call(
      codes.name("numpy.core.multiarray", "scalar"),
      codes.dtype("O8"),
      _POINTERS,
    ),
    "a scalar that is an object",
  ),
  "objects in records": (
    codes.array(
      (1,),
      codes.dtype(
        "V8",
        rest=(None, ("a",), {"a": (codes.dtype("O8"), 0)}, 8, 1),
      ),
      _POINTERS,
    ),
    "records with objects",
  ),
  "field outside its record": (
    codes.array((1,), _record(offset=8), bytes(8)), "parts lie outside",
  ),
  "field before its record": (
    codes.array((1,), _record(offset=-8), bytes(8)), "parts overlap",
  ),
  "fields that overlap": (
    codes.array((1,), _record(size=16, second=4), bytes(16)), "parts overlap",
  ),
  "records of a negative size": (
    codes.array((1,), _record(size=-8), bytes(8)), "",
  ),
  "negative shape": (
    codes.array((-1,), _F8, bytes(8)), "an impossible shape",
  ),
  "two negative axes": (
    codes.array((-1, -1), _F8, bytes(8)), "an impossible shape",
  ),
  "shape beyond the bytes": (
    codes.array((2,), _F8, bytes(8)), "another size than its bytes",
  ),
  "shape that wraps around": (
    codes.array((2**61 + 1,), _F8, bytes(8)), "another size than its bytes",
  ),
  "shape of truth values": (
    codes.array((True,), _F8, bytes(8)), "an impossible shape",
  ),
  "no bytes, a long axis": (
    codes.array((0, 2**60), _F8, b""), "an empty array of an unusual shape",
  ),
  "items without bytes": (
    codes.array((2**60,), codes.dtype("V0"), b""),
    "an empty array of an unusual shape",
  ),
  "size of two kinds": (
    codes.array(
      (1,), codes.dtype("f8", "<", rest=(None, None, None, 1, 1)), bytes(8)
    ),
    "a dtype of two sizes",
  ),
  "dtype by code": (
    codes.array((1,), codes.dtype("f8,O"), bytes(16)), "an unknown code",
  ),
  "truth value of 2": (
    codes.array((2,), codes.dtype("b1"), b"\1\2"), "neither 0 nor 1",
  ),
  "text beyond Unicode": (
    codes.array((1,), codes.dtype("U1", "<"), b"\xff" * 4), "not Unicode",
  ),
  "dtype in itself": (
    b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00V8K\x00K\x01tRq\x01(K\x03X\x01"
    b"\x00\x00\x00|NX\x01\x00\x00\x00a\x85}X\x01\x00\x00\x00ah\x01K\x00\x86sK"
    b"\x08K\x01K\x10tb.",
    "nested too deep",
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_stay_inside_their_bytes(tmp_path, case):
  content, match = ARRAYS[case]
  content = content if isinstance(content, bytes) else codes.whole(content)
  _refuse(tmp_path, content, f"cannot be read as a pickle .*{match}")


def _repeat(make, value, times=40):
  """Returns the code of a container of a value twice, and so on."""
  for _ in range(times):
    value = make(value + pickle.DUP)
  return value


# 40 steps double to 2^40 values.
_TUPLES = _repeat(lambda twice: twice + b"\x86", b"K\x01")
_LISTS = _repeat(lambda twice: b"(" + twice + b"l", b"K\x01")
_SETS = _repeat(lambda twice: b"(" + twice[:-1] + b"\x91\x85", b"K\x01", 80)

BOMBS = {
  "tuples as a key": (b"}" + _TUPLES + b"Ns.", "a key of more than 64 parts"),
  "tuples in a set": (
    b"\x8f(" + _TUPLES + b"\x90.", "a key of more than 64 parts",
  ),
  "tuples in a called set": (
    b"cbuiltins\nset\n](" + _TUPLES + b"e\x85R.", "a key of more than 64",
  ),
  "tuples in an ordered mapping": (
    b"ccollections\nOrderedDict\n](](" + _TUPLES + b"Nee\x85R.",
    "a key of more than 64 parts",
  ),
  "sets in sets": (_SETS + b".", "a key of more than 64 parts"),
  "lists": (_LISTS + b".", "repeats its parts"),
  "tuples": (_TUPLES + b".", "repeats its parts"),
  "list in itself": (b"]\x94h\x00a.", "contains itself"),
  "deep lists": (b"]" + b"\x85" * 10**5 + b".", "nests more than 50"),
  "deep buffers": (
    b"cpyarrow.lib\npy_buffer\n" * 10**5 + b"C\x00" + b"\x85R" * 10**5 + b".",
    "asks for pyarrow.lib.py_buffer,",
  ),
  "deep marks": (b"(" * 10**5 + b".", ""),
  "range": (
    codes.whole(codes.call(codes.name("builtins", "range"), 0, 10**12, 1)),
    "repeats its parts",
  ),
  "range beyond 64 bits": (
    codes.whole(codes.call(codes.name("builtins", "range"), 0, 10**30, 1)),
    "a range beyond 64 bits",
  ),
  "index of a range": (
    codes.whole(codes.range_index(0, 10**12)), "repeats its parts",
  ),
  "integer": (b"\x8b\x00\x00\x10\x00.", "an integer of 1048576 bytes"),
  "integer in words": (b"I" + b"9" * 10**6 + b"\n.", "an integer of 1000000"),
  "long string": (b"\x8e" + b"\xff" * 7 + b"\x00.", ""),
  "long byte array": (b"\x96" + b"\xff" * 7 + b"\x00.", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_bombs_are_named_at_once(tmp_path, case):
  content, match = BOMBS[case]
  if not content.startswith(b"\x80"):
    content = b"\x80\x05" + content
  _refuse(tmp_path, content, match or "cannot be read as a pickle")


def test_an_array_that_contains_itself_is_named(tmp_path):
  content = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00"
    b"\x85U\x01btRq\x01(K\x01)"
    + codes.push(codes.dtype("O8"))
    + b"\x89]h\x01atb."
  )
  _refuse(tmp_path, content, "a container that contains itself")


@pytest.mark.parametrize("kind", ["tuple", "complex"])
def test_keys_that_share_one_hash_are_refused(tmp_path, kind):
  # hash(-1) == hash(-2), and that of a complex number is a sum.
  if kind == "tuple":
    keys = [
      tuple(-1 - (i >> bit & 1) for bit in range(12)) for i in range(2**12)
    ]
  else:
    keys = [complex(-1000003 * i, i) for i in range(1, 2**12)]
  assert len(set(map(hash, keys))) < 3
  _refuse(tmp_path, pickle.dumps(dict.fromkeys(keys)), "keys that share one")
  _refuse(tmp_path, pickle.dumps(set(keys)), "keys that share one hash")


@pytest.mark.parametrize("protocol", [2, 4])
def test_many_sets_may_have_the_same_members(tmp_path, protocol):
  content = [frozenset({(i // i, "a")}) for i in range(1, 500)]
  content += [{("b", i // i)} for i in range(1, 500)]
  content += [{(i // i, "c"): None} for i in range(1, 500)]
  path = tmp_path / "a.pkl"
  # Without the memo, each list of members is lost once its set is made.
  path.write_bytes(pickletools.optimize(pickle.dumps(content, protocol)))
  assert pickles.load(path) == content


def test_copies_of_what_the_memo_repeats_are_counted(tmp_path):
  many = b"](" + b"K\x01" * 1000 + b"e\x94"
  copies = b"0" + b"cbuiltins\nfrozenset\nh\x00\x85R0" * 100
  content = b"\x80\x04" + many + copies + b"N."
  path = tmp_path / "a.pkl"
  path.write_bytes(content)
  assert pickles.load(path) is None
  with path.open("rb") as file:
    source = stream.Stream(file, limit=10**6, size=len(content))
    with pytest.raises(ValueError, match="more memory than its size explains"):
      machine.Machine(source, slack=2**20).run()


def test_arrays_of_shared_bytes_are_counted(tmp_path):
  # Other values of the memo have lower numbers.
  data = b"C\xff" + bytes(255) + b"r\x00\x10\x00\x000"
  shared = codes.Code(b"j\x00\x10\x00\x00")
  one = codes.push(codes.array((255,), codes.dtype("u1"), shared))
  path = tmp_path / "a.pkl"
  path.write_bytes(b"\x80\x04" + data + b"(" + one * 50 + b"t.")
  assert sum(x.nbytes for x in pickles.load(path)) == 50 * 255
  with path.open("rb") as file:
    source = stream.Stream(file, limit=10**6, size=None)
    value = machine.Machine(source).run()
  with pytest.raises(ValueError, match="repeats its parts"):
    finish.Finisher(50 * 255).convert(value)


def test_arrays_of_shared_bytes_are_refused_before_they_are_made(tmp_path):
  data = b"B\x60\xea\x00\x00" + bytes(60_000) + b"r\x00\x10\x00\x000"
  shared = codes.Code(b"j\x00\x10\x00\x00")
  one = codes.push(codes.array((60_000,), codes.dtype("u1"), shared))
  path = tmp_path / "a.pkl"
  path.write_bytes(b"\x80\x04" + data + b"(" + one * 50 + b"t.")
  with path.open("rb") as file:
    source = stream.Stream(file, limit=10**6, size=None)
    value = machine.Machine(source).run()
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match="repeats its parts"):
      finish.Finisher(10 * 60_000).convert(value)
    assert tracemalloc.get_traced_memory()[1] < 15 * 60_000
  finally:
    tracemalloc.stop()


def test_a_pipe_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "a.pkl")
  with pytest.raises(errors.InputError, match="not a regular file"):
    pickles.load(tmp_path / "a.pkl")
  with pytest.raises(errors.InputError, match="not a regular file"):
    pickles.load(tmp_path)


def test_names_in_messages_are_short_and_printable(tmp_path):
  name = "\x1b[2J\nx" * 1000
  _refuse(
    tmp_path,
    b"\x80\x04" + codes.push("os") + codes.push(name) + b"\x93.",
    r"asks for os.\?\[2J x",
  )


def _table(values=None, placement=None, index=None):
  values = codes.values(np.ones((1, 2))) if values is None else values
  placement = placement or codes.slices(0, 1)
  columns = codes.index(np.array(["a"], dtype=object), "Index")
  index = index or codes.range_index(0, 2)
  return codes.frame(codes.manager([columns, index], [(values, placement)]))


TABLES = {
  "columns twice": (
    codes.frame(
      codes.manager(
        [codes.range_index(0, 2), codes.range_index(0, 2)],
        [(codes.values(np.ones((1, 2))), codes.slices(0, 1))] * 2,
      )
    ),
    "columns are missing",
  ),
  "columns far away": (
    _table(placement=codes.values(np.array([7]))), "columns are missing",
  ),
  "columns of a long slice": (
    _table(placement=codes.slices(0, None)),
    None,
  ),
  "rows too many": (
    _table(index=codes.range_index(0, 10**8)), "another length than its table",
  ),
  "values in a list": (_table(values=[1.0, 2.0]), "a block without values"),
  "categories without values": (
    codes.build(
      codes.new(codes.name("pandas.core.arrays.categorical", "Categorical")),
      {
        "_codes": codes.values(np.array([0, 5], np.int8)),
        "_dtype": codes.build(
          codes.new(
            codes.name("pandas.core.dtypes.dtypes", "CategoricalDtype")
          ),
          {"categories": codes.index([1, 2]), "ordered": False},
        ),
      },
    ),
    "codes need to be between",
  ),
  "index of a list": (
    codes.call(
      codes.name("pandas.core.indexes.base", "_new_Index"),
      _INDEX,
      {"data": [1, 2], "name": None},
    ),
    "an index that is no list",
  ),
  "index of nested tuples": (
    codes.index(np.array([None, codes.Code(_TUPLES)], dtype=object), "Index"),
    "a key of more than 64 parts|repeats its parts",
  ),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLES)
def test_damaged_tables_are_named(tmp_path, case):
  content, match = TABLES[case]
  if match is not None:
    _refuse(tmp_path, codes.whole(content), match)
    return
  (tmp_path / "a.pkl").write_bytes(codes.whole(content))
  pandas.testing.assert_frame_equal(
    pickles.load(tmp_path / "a.pkl"), pandas.DataFrame({"a": [1.0, 1.0]}),
    check_column_type=False,
  )  # fmt: skip


def test_a_factory_is_made_by_this_reader(tmp_path):
  path = tmp_path / "a.pkl"
  content = collections.defaultdict(list, a=1)
  path.write_bytes(pickle.dumps(content))
  loaded = pickles.load(path)
  assert loaded == content and loaded.default_factory is list
  _refuse(
    tmp_path,
    pickle.dumps(collections.defaultdict(np.dtype)),
    "asks for a call of collections.defaultdict with numpy.dtype",
  )
