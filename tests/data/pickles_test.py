import collections
import gzip
import os
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pandas
import pytest

from btw_jax import errors
from btw_jax.data import pickles
from support import dataset_files


class _Calls:
  """An object that is pickled as a call of a function."""

  def __init__(self, function, *args):
    self._call = function, args

  def __reduce__(self):
    return self._call


def _chain(marker):
  """`getattr(__import__("os"), "system")(...)`, link by link."""
  return (
    b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR"
    b"(Vtouch %s\ntR." % bytes(marker)
  )


ATTACKS = {
  "os.system": lambda m: _Calls(os.system, f"touch {m}"),
  "subprocess": lambda m: _Calls(subprocess.check_call, ["touch", str(m)]),
  "builtins.eval": lambda m: _Calls(eval, f"open({str(m)!r}, 'w')"),
  "builtins.exec": lambda m: _Calls(exec, f"open({str(m)!r}, 'w')"),
  "reduce chain": _chain,
  "argument of an array": lambda m: _Calls(np.dtype, _Calls(os.getpid)),
  "object array": lambda m: np.array([1, _Calls(os.system, f"touch {m}")]),
  "deep inside": lambda m: {"train": {"id": [_Calls(os.system, f"touch {m}")]}},
  "default factory": lambda m: collections.defaultdict(os.getcwd, {1: 2}),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused_by_name_and_never_run(tmp_path, attack, protocol):
  marker = tmp_path / "ran"
  path, content = tmp_path / "train.pkl", ATTACKS[attack](marker)
  if isinstance(content, bytes):
    path.write_bytes(content)
  else:
    dataset_files.dump(path, content, protocol=protocol)
  # The attack is real: what Python's own reader would call is named in it.
  names = [str(arg) for _, arg, _ in pickletools.genops(path.read_bytes())]
  assert any(
    word in " ".join(names)
    for word in ("system", "check_call", "eval", "exec", "getpid", "getcwd")
  )
  with pytest.raises(
    errors.InputError, match=r"train.pkl: asks for \w+"
  ) as error:
    pickles.load(path)
  assert "it was not called" in str(error.value)
  assert "\n" not in str(error.value)
  assert not marker.exists()


def test_an_attack_that_is_not_refused_would_run(tmp_path):
  marker = tmp_path / "ran"
  path = dataset_files.dump(
    tmp_path / "a.pkl", _Calls(os.system, f"touch {marker}")
  )
  with path.open("rb") as file:
    pickle.load(file)
  assert marker.exists()


def _dotted(module, name):
  texts = (b"\x8c%c%s" % (len(t), t.encode()) for t in (module, name))
  return b"\x80\x04" + b"".join(texts) + b"\x93."


@pytest.mark.parametrize(
  "code",
  [
    # Dotted names reach attributes of what is allowed.
    _dotted("numpy", "ndarray.__class__.mro"),
    _dotted("pandas", "DataFrame.eval"),
    b"cbuiltins\ngetattr\n.",
    b"c_codecs\ndecode\n.",
    b"cnumpy.core.multiarray\nfromfile\n.",
    b"cfunctools\npartial\n.",
    b"cimportlib\nimport_module\n.",
  ],
)
def test_no_other_name_is_reached(tmp_path, code):
  (tmp_path / "a.pkl").write_bytes(code)
  with pytest.raises(errors.InputError, match="a.pkl: asks for .* not called"):
    pickles.load(tmp_path / "a.pkl")


def test_bytes_are_encoded_as_latin1_only(tmp_path):
  path = dataset_files.dump(tmp_path / "a.pkl", b"\xff\x00a", protocol=2)
  assert pickles.load(path) == b"\xff\x00a"
  path.write_bytes(path.read_bytes().replace(b"latin1", b"rot_13"))
  with pytest.raises(errors.InputError, match="_codecs.encode to rot_13"):
    pickles.load(path)


CONTENT = {
  "audio": np.arange(6, dtype=np.float32).reshape(2, 3),
  "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
  "ids": np.array(["a", "bc"]),
  "objects": np.array(["x", 1.5, None, [1, 2]], dtype=object),
  "scalar": np.float64(1.5),
  "structured": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
  "empty": np.zeros((0, 4)),
  "bool": np.array([True, False]),
  "plain": [1, (2, 3), {4}, frozenset({5}), "é", b"\xff", 2**80, 1.5, None],
  "slice": slice(1, 2),
  "ordered": collections.OrderedDict(a=1),
  "default": collections.defaultdict(list, {"a": [1]}),
}


def _same(a, b):
  assert type(a) is type(b)
  if isinstance(a, np.ndarray):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)
  else:
    assert a == b


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_containers_and_arrays_of_every_protocol_are_read(
  tmp_path, protocol, zipped
):
  path = dataset_files.dump(
    tmp_path / "a.pkl", CONTENT, protocol=protocol, zipped=zipped
  )
  loaded = pickles.load(path)
  assert list(loaded) == list(CONTENT)
  for name, value in CONTENT.items():
    _same(loaded[name], value)


@pytest.mark.parametrize("old", [True, False])
def test_pickles_of_numpy_1_and_2_are_read(tmp_path, old):
  content = {"x": np.arange(4.0), "scalar": np.float32(2), "s": np.array(["a"])}
  code = pickle.dumps(content, protocol=2)
  # NumPy 2 writes numpy._core where NumPy 1 wrote numpy.core.
  renamed = code.replace(b"numpy._core.", b"numpy.core.")
  assert (b"numpy._core." in code) != (b"numpy.core." in code)
  (tmp_path / "a.pkl").write_bytes(
    renamed if old else renamed.replace(b"numpy.core.", b"numpy._core.")
  )
  loaded = pickles.load(tmp_path / "a.pkl")
  for name, value in content.items():
    _same(loaded[name], value)


def test_pickles_of_python_2_are_read(tmp_path):
  # What Python 2 wrote: byte strings for text, module names of its own.
  array = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
    b"K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06(K\x01K\x02\x85q\x07cnumpy\n"
    b"dtype\nq\x08U\x02f4q\tK\x00K\x01\x87q\nRq\x0b(K\x03U\x01<q\x0cNNNJ\xff"
    b"\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\rb\x89U\x08"
    + np.array([1.5, -2.0], "<f4").tobytes()
    + b"q\x0etq\x0fb."
  )
  (tmp_path / "a.pkl").write_bytes(array)
  np.testing.assert_array_equal(pickles.load(tmp_path / "a.pkl"), [1.5, -2.0])
  (tmp_path / "b.pkl").write_bytes(
    b"c__builtin__\nset\n((lS'vid'\nat R.".replace(b" ", b"")
  )
  assert pickles.load(tmp_path / "b.pkl") == {"vid"}


@pytest.mark.parametrize("protocol", [2, 5])
def test_pandas_tables_are_read(tmp_path, protocol):
  table = pandas.DataFrame(
    {"a": [1.5, 2.5], "b": [1, 2], "c": ["x", "y"]}, index=[3, 4]
  )
  path = dataset_files.dump(tmp_path / "a.pkl", {"t": table, "s": table["a"]},
                    protocol=protocol)  # fmt: skip
  loaded = pickles.load(path)
  pandas.testing.assert_frame_equal(loaded["t"], table)
  pandas.testing.assert_series_equal(loaded["s"], table["a"])
  numbers = pandas.DataFrame(np.ones((2, 3)))
  dataset_files.dump(path, numbers, protocol=protocol)
  pandas.testing.assert_frame_equal(pickles.load(path), numbers)


def test_strings_of_pandas_stay_inside_their_buffers(tmp_path):
  table = pandas.DataFrame({"c": ["x", "yz"]})
  path = dataset_files.dump(tmp_path / "a.pkl", table)
  offsets = np.array([0, 1, 3], np.int64).tobytes()
  code = path.read_bytes()
  assert code.count(offsets) == 1
  far = np.array([0, 1, 2**40], np.int64).tobytes()
  path.write_bytes(code.replace(offsets, far))
  with pytest.raises(
    errors.InputError, match="a.pkl: cannot be read as a pick"
  ):
    pickles.load(path)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files_are_named(tmp_path, share, zipped):
  path = dataset_files.dump(tmp_path / "a.pkl", CONTENT, zipped=zipped)
  code = path.read_bytes()
  path.write_bytes(code[: int(share * len(code))])
  with pytest.raises(
    errors.InputError, match="a.pkl: cannot be read as a pick"
  ):
    pickles.load(path)


def test_a_bomb_stops_at_the_stated_limit(tmp_path):
  path = tmp_path / "bomb.pkl"
  with gzip.open(path, "wb") as file:
    # 64 MB of zeros as one string, in 64 kB.
    file.write(b"\x80\x04\x8e" + (2**26).to_bytes(8, "little"))
    for _ in range(64):
      file.write(bytes(2**20))
    file.write(b".")
  assert path.stat().st_size < 2**17
  with pytest.raises(
    errors.InputError, match=r"bomb.pkl: unpacks to more than 1,048,576 bytes"
  ):
    pickles.load(path, max_bytes=2**20)
  assert len(pickles.load(path)) == 2**26
  # A file that is not zipped is held to the same limit.
  path.write_bytes(gzip.decompress(path.read_bytes()))
  with pytest.raises(errors.InputError, match="unpacks to more than"):
    pickles.load(path, max_bytes=2**20)


def test_a_bomb_of_shapes_is_named(tmp_path):
  # An array of a petabyte, of which the file holds nothing.
  code = pickle.dumps(np.zeros(3), protocol=2)
  assert code.count(b"K\x03\x85") == 1
  code = code.replace(b"K\x03\x85", b"\x8a\x07" + bytes(6) + b"\x04\x85")
  (tmp_path / "a.pkl").write_bytes(code)
  with pytest.raises(
    errors.InputError, match="a.pkl: cannot be read as a pick"
  ):
    pickles.load(tmp_path / "a.pkl")


def test_what_is_no_pickle_is_named(tmp_path):
  (tmp_path / "a.pkl").write_text("train,valid,test\n1,2,3\n")
  with pytest.raises(
    errors.InputError, match="a.pkl: cannot be read as a pick"
  ):
    pickles.load(tmp_path / "a.pkl")
  with pytest.raises(errors.InputError, match="b.pkl: no such file"):
    pickles.load(tmp_path / "b.pkl")
  with pytest.raises(errors.InputError, match="holds none of c.pkl: name the"):
    pickles.locate(str(tmp_path), ["c.pkl"])
  (tmp_path / "c.pkl").touch()
  with pytest.raises(errors.InputError, match="holds more than one of"):
    pickles.locate(str(tmp_path), ["a.pkl", "c.pkl"])
  assert pickles.locate(str(tmp_path), ["c.pkl"]) == tmp_path / "c.pkl"
  assert "pandas" in sys.modules
