import copyreg
import sys

import pytest

from btw_jax import errors
from btw_jax.data import pickles
from support import pickle_codes as codes
from support import pickle_mutants

_CANARY = f"{pickle_mutants.CANARY}\n"
_SING, _BIRD = (f"{_CANARY}{n}\n".encode() for n in ("sing", "Bird"))
_TEXTS = codes.push(pickle_mutants.CANARY) + codes.push("sing")
_DTYPE = b"cnumpy\ndtype\n"

# Operations -> the part of the message that names what was refused.
REFUSED = {
  "GLOBAL": (b"c" + _SING + b".", "asks for pickle_canary.sing,"),
  "GLOBAL, not used": (b"c" + _SING + b"0N.", "asks for pickle_canary.sing,"),
  "STACK_GLOBAL": (_TEXTS + b"\x93.", "asks for pickle_canary.sing,"),
  "STACK_GLOBAL of a number": (b"K\x01K\x02\x93.", "a name that is no text"),
  "STACK_GLOBAL of bytes": (b"C\x02osC\x06system\x93.", "name that is no text"),
  "INST": (b"(i" + _SING + b".", "asks for pickle_canary.sing as an instance"),
  "INST of an allowed class": (b"(inumpy\ndtype\n.", "asks for numpy.dtype as"),
  "OBJ": (b"(" + _DTYPE + b"o.", "asks for numpy.dtype as an instance"),
  "OBJ without a class": (b"(o.", "asks for a NoneType as an instance"),
  "REDUCE of a name": (b"c" + _SING + b")R.", "asks for pickle_canary.sing,"),
  "REDUCE of a text": (codes.push("os") + b")R.", "asks for a call of a str"),
  "REDUCE of a record": (
    _DTYPE + b"X\x02\x00\x00\x00f8\x85R)R.", "asks for a call of numpy.dtype",
  ),
  "REDUCE without a tuple": (
    b"cbuiltins\nset\n]R.", "asks for a call of builtins.set",
  ),
  "NEWOBJ": (b"c" + _BIRD + b")\x81.", "asks for pickle_canary.Bird,"),
  "NEWOBJ of an allowed class": (
    b"ccollections\nOrderedDict\n)\x81.", "a new collections.OrderedDict",
  ),
  "NEWOBJ with arguments": (
    b"cpandas\nSeries\nK\x01\x85\x81.", "asks for a new pandas.Series",
  ),
  "NEWOBJ of a text": (codes.push("os") + b")\x81.", "asks for a new a str"),
  "NEWOBJ_EX": (b"cpandas\nSeries\n)}\x92.", "asks for a call with keywords"),
  "BUILD of a name": (_DTYPE + b"}b.", "asks for a change of numpy.dtype"),
  "BUILD of a mapping": (b"}}b.", "asks for a change of a dict"),
  "BUILD of a list": (b"]}b.", "asks for a change of a list"),
  "BUILD of a default mapping": (
    b"ccollections\ndefaultdict\n)R}b.", "a change of a defaultdict",
  ),
  "BUILD of a scalar": (
    codes.push(
      codes.call(
        codes.name("numpy.core.multiarray", "scalar"),
        codes.dtype("f8", "<"), bytes(8),
      )
    ) + b"}b.",
    "asks for a change of a float64",
  ),
  "BUILD of an index": (
    codes.push(codes.index([1, 2])) + b"}b.", "asks for a change of pandas",
  ),
  "EXT1": (b"\x82\x01.", "asks for an extension by number"),
  "EXT2": (b"\x83\x01\x00.", "asks for an extension by number"),
  "EXT4": (b"\x84\x01\x00\x00\x00.", "asks for an extension by number"),
  "PERSID": (b"Pa\n.", "asks for an object outside the file"),
  "BINPERSID": (b"NQ.", "asks for an object outside the file"),
  "NEXT_BUFFER": (b"\x97.", "asks for a buffer outside the file"),
  "READONLY_BUFFER": (b"N\x98.", "asks for a buffer outside the file"),
  "BYTEARRAY8": (b"\x96" + b"\x7f" * 8 + b"a.", "cannot be read"),
  "BINBYTES8": (b"\x8e" + b"\x7f" * 8 + b"a.", "cannot be read"),
  "BINUNICODE8": (b"\x8d" + b"\x7f" * 8 + b"a.", "cannot be read"),
  "FRAME cut off": (b"\x95\x00\x00", "it ends early"),
  "PROTO": (b"\x80\x06N.", "has protocol 6"),
  "GET": (b"g7\n.", "asks for value 7, which it has not stored"),
  "BINGET": (b"h\x07.", "asks for value 7, which it has not stored"),
  "LONG_BINGET": (b"j\x07\x00\x00\x00.", "value 7, which it has not stored"),
  "GET of another container": (b"]q\x01h\x02.", "asks for value 2"),
  "PUT below zero": (b"Np-1\n.", "stores a value under a negative number"),
  "PUT of nothing": (b"q\x01.", "cannot be read as a pickle"),
  "MEMOIZE of nothing": (b"\x94.", "cannot be read as a pickle"),
  "MARK that stays": (b"(((.", "cannot be read as a pickle"),
  "TUPLE without a mark": (b"Nt.", "cannot be read as a pickle"),
  "TUPLE2 across a mark": (b"N(N\x86.", "has a tuple without its values"),
  "APPENDS across a mark": (b"](N(e.", "cannot be read as a pickle"),
  "APPEND to a text": (codes.push("os") + b"Na.", "appends to a str"),
  "APPENDS to a byte array": (
    b"\x96" + bytes(8) + b"(K\x01e.", "appends to a bytearray",
  ),
  "APPENDS to a record": (
    codes.push(codes.index([1])) + b"(Ne.", "appends to a Instance",
  ),
  "SETITEM of a list": (b"]K\x00Ns.", "sets items of a list"),
  "SETITEM of a name": (_DTYPE + b"NNs.", "sets items of a Name"),
  "SETITEMS without a value": (b"}(Nu.", "has a key without a value"),
  "DICT without a value": (b"(Nd.", "has a key without a value"),
  "DICT of lists": (b"(]Nd.", "has a list as a key"),
  "SETITEM of a record": (
    b"}" + codes.push(codes.index([1])) + b"Ns.", "has a Instance as a key",
  ),
  "ADDITEMS to a list": (b"](N\x90.", "adds members to a list"),
  "ADDITEMS of a name": (b"\x8f(" + _DTYPE + b"\x90.", "has a Name as a key"),
  "FROZENSET of lists": (b"(]\x91.", "has a list as a key"),
  "POP of nothing": (b"0N.", "cannot be read as a pickle"),
  "STOP without a value": (b".", "cannot be read as a pickle"),
  "nothing": (b"", "it ends early"),
  "no operation": (b"\x00.", "has an unknown operation, 0"),
  "STRING without quotes": (b"Sabc\n.", "has a string without quotes"),
}  # fmt: skip


@pytest.fixture
def calls():
  yield pickle_mutants.canary()
  del sys.modules[pickle_mutants.CANARY]


@pytest.mark.parametrize("case", REFUSED)
def test_operations_act_on_records_only(tmp_path, calls, case):
  content, match = REFUSED[case]
  path = tmp_path / "a.pkl"
  path.write_bytes(content)
  copyreg.add_extension(pickle_mutants.CANARY, "sing", 1)
  before = pickle_mutants.state()
  try:
    with pytest.raises(errors.InputError, match=f"a.pkl: .*{match}") as error:
      pickles.load(path)
  finally:
    copyreg.remove_extension(pickle_mutants.CANARY, "sing", 1)
  assert str(error.value).isprintable()
  assert not calls
  assert pickle_mutants.state() == before


READ = {
  "duplicate": (b"K\x072\x86.", (7, 7)),
  "old booleans": (b"(I01\nI00\nI1\nt.", (True, False, 1)),
  "long line": (b"L12L\n.", 12),
  "float line": (b"F1.5\n.", 1.5),
  "escaped string": (b"S'a\\xff\\n'\n.", "aÿ\n"),
  "escaped text": (b"V\\u00e9\n.", "é"),
  "string of Python 2": (b"T\x02\x00\x00\x00a\xff.", "aÿ"),
  "surrogate": (b"X\x03\x00\x00\x00\xed\xa0\x80.", "\ud800"),
  "memo far away": (b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", None),
  "memo overwritten": (b"K\x01q\x00K\x02q\x00h\x00\x87.", (1, 2, 2)),
  "popped mark": (b"K\x01(NN1.", 1),
  "mark popped alone": (b"K\x01(0.", 1),
  "frames": (b"\x80\x04\x95" + b"\xff" * 8 + b"K\x07.", 7),
  "bytes after the end": (b"K\x07.cos\nsystem\n", 7),
  "negative integer": (b"\x8a\x02\x00\xff.", -256),
  "no bytes": (b"\x8a\x00.", 0),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_rare_operations_are_read(tmp_path, case):
  content, expected = READ[case]
  path = tmp_path / "a.pkl"
  path.write_bytes(content)
  loaded = pickles.load(path)
  assert loaded == expected
  assert repr(loaded) == repr(expected)  # True is not 1.
