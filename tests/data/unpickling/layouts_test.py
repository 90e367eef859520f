import gzip
import pickle

import numpy as np
import pandas
import pyarrow
import pytest

from btw_jax import errors
from btw_jax.data import pickles
from support import pickle_codes as codes

_BACKED = codes.name("pandas._libs.arrays", "__pyx_unpickle_NDArrayBacked")
_CATEGORICAL = codes.name("pandas.core.arrays.categorical", "Categorical")
_STRINGS = codes.name("pandas.core.arrays.string_arrow", "ArrowStringArray")


def _load(tmp_path, content):
  (tmp_path / "a.pkl").write_bytes(content)
  return pickles.load(tmp_path / "a.pkl")


def _objects(*items):
  array = np.empty(len(items), object)
  array[:] = items
  return array


_RECORDS = [("a", "i4", (2,)), ("b", [("c", "f8"), ("d", "U3")])]
ARRAYS = {
  **{c: np.arange(6).astype(c).reshape(2, 3) for c in "bhilqBHILQefdgFDG?"},
  "text": np.array(["a", "bcd", ""]),
  "bytes": np.array([b"a", b"bcd"]),
  "big-endian": np.arange(70_000, dtype=">i4"),
  "big-endian text": np.array(["é"], dtype=">U3"),
  "empty": np.zeros((3, 0)),
  "one": np.zeros(()),
  "one text": np.array("x"),
  "text of nothing": np.array(["", ""]),
  "objects": np.array([[1, "a"], [None, 2.5]], dtype=object),
  "objects by column": np.asfortranarray(
    np.array([[1, "a"], [None, 2.5]], dtype=object)
  ),
  "object": np.array(5, dtype=object),
  "dates": np.array(["2020", "NaT"], dtype="M8[25s]"),
  "durations": np.array([3], dtype="m8[ns]"),
  "records": np.zeros(2, dtype=_RECORDS),
  "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
  "void": np.zeros(3, "V4"),
  "columns": np.asfortranarray(np.random.default_rng(0).normal(size=(300, 40))),
  "long": np.random.default_rng(0).normal(size=(300, 40)),
  "steps": np.arange(10)[::2],
  "float": np.float32(2.5),
  "str": np.str_("é"),
  "empty str": np.str_(""),
  "bool": np.bool_(True),
  "date": np.datetime64("2020-01-01"),
  "record": np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")])[0],
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_are_those_that_numpy_reads(tmp_path, protocol):
  for name, x in ARRAYS.items():
    content = pickle.dumps(x, protocol)
    loaded, expected = _load(tmp_path, content), pickle.loads(content)
    assert type(loaded) is type(expected), name
    # Only protocol 5 keeps a foreign byte order.
    assert loaded.dtype == expected.dtype.newbyteorder("="), name
    assert loaded.shape == expected.shape, name
    assert loaded.flags.f_contiguous == expected.flags.f_contiguous, name
    np.testing.assert_array_equal(loaded, expected)
    if isinstance(x, np.ndarray):
      assert loaded.flags.writeable, name


def test_arrays_of_python_2_are_read(tmp_path):
  x = np.random.default_rng(0).normal(size=(100, 120))
  content = codes.whole({"x": codes.values(x)})
  long = b"B" + np.array(x.nbytes, "<u4").tobytes() + x.tobytes()
  assert content.count(long) == 1
  # Its byte strings are texts in Latin-1.
  content = content.replace(long, b"T" + long[1:])
  loaded = _load(tmp_path, content)["x"]
  np.testing.assert_array_equal(loaded, x)
  text = b"T" + np.array(2**17, "<u4").tobytes() + b"\xff" * 2**17 + b"."
  assert _load(tmp_path, text) == "ÿ" * 2**17


def test_long_strings_are_what_they_were(tmp_path):
  for value in (b"x" * 70_000, "é" * 70_000, bytearray(b"x" * 70_000)):
    for protocol in range(6):
      loaded = _load(tmp_path, pickle.dumps([value, value], protocol))
      assert [type(x) for x in loaded] == [type(value)] * 2
      assert loaded == [value, value]


def _tables():
  categories = pandas.Categorical(["u", "v", None], ordered=True)
  return {
    "mixed": pandas.DataFrame(
      {
        "a": [1.5, 2.5, 3.0],
        "b": [1, 2, 3],
        "c": ["x", None, "é"],
        "k": categories,
        "d": pandas.date_range("2020", periods=3),
        "o": pandas.Series(["x", 1, None], dtype=object),
      },
      index=pandas.Index(["p", "q", "r"], name="id"),
    ),
    "same names": pandas.DataFrame([[1, 2.0, 3]], columns=["a", "a", "b"]),
    "empty": pandas.DataFrame(),
    "no rows": pandas.DataFrame(columns=["a", "b"]),
    "no columns": pandas.DataFrame(index=[3, 4]),
    "objects": pandas.DataFrame({"a": pandas.Series(["x"], dtype=object)}),
    "missing": pandas.DataFrame(
      {"a": pandas.array(["x", None], dtype=pandas.StringDtype("python"))}
    ),
    "index": pandas.DataFrame(
      {"x": [1.0, 2.0]},
      index=pandas.MultiIndex.from_tuples([(1, "a"), (2, "b")]),
    ),
    "classes": pandas.DataFrame(
      {"x": [1.0, 2.0]}, index=pandas.CategoricalIndex(["a", "b"])
    ),
    "part": pandas.DataFrame(np.arange(8.0).reshape(2, 4)).iloc[:, ::2],
    "small": pandas.DataFrame(np.ones((5, 3), np.float32)),
  }


@pytest.mark.parametrize("protocol", range(6))
def test_tables_are_those_that_pandas_wrote(tmp_path, protocol):
  for table in _tables().values():
    loaded = _load(tmp_path, pickle.dumps(table, protocol))
    pandas.testing.assert_frame_equal(loaded, table)
    for column in range(table.shape[1]):
      series = table.iloc[:, column]
      loaded = _load(tmp_path, pickle.dumps(series, protocol))
      pandas.testing.assert_series_equal(loaded, series)


def _old_categories(core):
  """Returns the code of categories as pandas 1.2 or 1.3 wrote them."""
  dtype = codes.build(
    codes.new(codes.name("pandas.core.dtypes.dtypes", "CategoricalDtype")),
    {
      "categories": codes.index(_objects("u", "v"), "Index"),
      "ordered": False,
    },
  )
  array = codes.values(np.array([1, 0, -1], np.int8))
  if core == "old":
    state = {"_codes": array, "_dtype": dtype}
    return codes.build(codes.new(_CATEGORICAL), state)
  empty = codes.call(_BACKED, _CATEGORICAL, 0x4F0D2DF, None)
  return codes.build(empty, (dtype, array, {}))


@pytest.mark.parametrize("field", ["_data", "_mgr"])
@pytest.mark.parametrize("core", ["old", "new"])
def test_tables_of_pandas_1_are_read(tmp_path, field, core):
  axes = [
    codes.index(_objects("a", "b", "c", "k"), "Index"),
    codes.index([5, 6, 7], "Int64Index", "row"),
  ]
  blocks = [
    (codes.values(np.array([[1.5, 2, 3], [7, 8, 9]])), codes.slices(0, 3, 2)),
    (codes.values(np.array([[1, 2, 3]])), codes.values(np.array([1]))),
    (_old_categories(core), codes.slices(3, 4)),
  ]
  if core == "new":
    block = codes.name("pandas._libs.internals", "_unpickle_block")
    manager = codes.call(
      codes.name("pandas.core.internals.managers", "BlockManager"),
      tuple(codes.call(block, values, place, 2) for values, place in blocks),
      axes,
    )
  else:
    manager = codes.manager(axes, blocks)
  loaded = _load(tmp_path, codes.whole(codes.frame(manager, field)))
  expected = pandas.DataFrame(
    {
      "a": [1.5, 2.0, 3.0], "b": [1, 2, 3], "c": [7.0, 8.0, 9.0],
      "k": pandas.Categorical(["v", "u", None], categories=["u", "v"]),
    },
    index=pandas.Index([5, 6, 7], name="row"),
  )  # fmt: skip
  # Text was an object to pandas before version 3.
  pandas.testing.assert_frame_equal(
    loaded, expected, check_column_type=False, check_categorical=False
  )
  assert loaded["k"].tolist()[:2] == ["v", "u"]


def test_series_of_pandas_1_are_read(tmp_path):
  axes = [codes.index([0.5, 1.5], "Float64Index")]
  blocks = [(codes.values(_objects("x", [1])), codes.slices(0, 2))]
  content = codes.build(
    codes.new(codes.name("pandas.core.series", "Series")),
    {
      "_mgr": codes.manager(axes, blocks, "SingleBlockManager"),
      "_typ": "series", "_metadata": ["name"], "attrs": {}, "_name": "s",
    },
  )  # fmt: skip
  pandas.testing.assert_series_equal(
    _load(tmp_path, codes.whole(content)),
    pandas.Series(["x", [1]], index=[0.5, 1.5], name="s", dtype=object),
  )


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_strings_of_pandas_2_are_read(tmp_path, kind):
  # pandas 2 wrote chunks: the second starts at its second string.
  def chunk(offset, length, texts):
    array = pyarrow.array(texts, getattr(pyarrow, kind)())
    buffers = [
      b and codes.call(codes.name("pyarrow.lib", "py_buffer"), b.to_pybytes())
      for b in array.buffers()
    ]
    data = (dtype, length, -1, offset, buffers, [], None)
    return codes.call(codes.name("pyarrow.lib", "_restore_array"), data)

  dtype = codes.call(codes.name("pyarrow.lib", "type_for_alias"), kind)
  chunks = [chunk(0, 2, ["a", None]), chunk(1, 2, ["b", "é", "cd"])]
  array = codes.call(codes.name("pyarrow.lib", "chunked_array"), chunks, dtype)
  string_dtype = codes.call(
    codes.name("pandas.core.arrays.string_", "StringDtype"), "pyarrow"
  )
  content = codes.build(
    codes.new(_STRINGS), {"_pa_array": array, "_dtype": string_dtype}
  )
  loaded = _load(tmp_path, codes.whole(content))
  assert loaded.dtype == pandas.StringDtype("pyarrow")
  assert loaded.tolist() == ["a", pandas.NA, "é", "cd"]
  far = codes.build(
    codes.new(_STRINGS),
    {
      "_pa_array": codes.call(
        codes.name("pyarrow.lib", "chunked_array"),
        [chunk(2, 2, ["b", "c", "d"])],
        dtype,
      )
    },
  )
  with pytest.raises(errors.InputError, match="cannot be read as a pickle"):
    _load(tmp_path, codes.whole(far))


def test_strings_that_are_not_unicode_are_named(tmp_path):
  table = pandas.DataFrame({"c": ["x", "yzyz"]})
  content = pickle.dumps(table, 4)
  assert content.count(b"xyzyz") == 1
  with pytest.raises(errors.InputError, match="UTF8"):
    _load(tmp_path, content.replace(b"xyzyz", b"xyz\xffz"))


def test_one_empty_state_is_no_table(tmp_path):
  for name in ("DataFrame", "Series", "Categorical", "StringDtype"):
    content = codes.whole(codes.new(codes.name("pandas", name)))
    if name == "StringDtype":
      assert _load(tmp_path, content) == pandas.StringDtype("python")
      continue
    with pytest.raises(errors.InputError, match=f"pandas.{name} "):
      _load(tmp_path, content)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_limit_is_exact(tmp_path, zipped):
  content = pickle.dumps([b"x" * 10**6, list(range(1000))])
  path = tmp_path / "a.pkl"
  path.write_bytes(gzip.compress(content) if zipped else content)
  loaded = pickles.load(path, max_bytes=len(content))
  assert loaded == pickle.loads(content)
  with pytest.raises(
    errors.InputError, match=f"more than {len(content) - 1:,} bytes"
  ):
    pickles.load(path, max_bytes=len(content) - 1)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_limit_holds_within_a_line(tmp_path, zipped):
  content = b"V" + b"a" * 10**6 + b"\n."
  path = tmp_path / "a.pkl"
  path.write_bytes(gzip.compress(content) if zipped else content)
  assert pickles.load(path) == "a" * 10**6
  with pytest.raises(errors.InputError, match="more than 900,000 bytes"):
    pickles.load(path, max_bytes=900_000)
