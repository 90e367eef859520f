"""The tests of reading one table, as pandas and other programs write it."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest

from btw_jax import errors
from btw_jax.data.sources import table_files


def _read(path, text, written_in="utf-8", **rules):
  path = path / "a_train.csv"
  path.write_bytes(text.encode(written_in))
  return table_files.read(path, table_files.Rules(**rules))


_WRITTEN = st.fixed_dictionaries(
  {
    "kind": st.sampled_from(["csv", "gzip", "parquet"]),
    "index": st.sampled_from(["none", "plain", "words", "named words"]),
    "shuffled": st.booleans(),
    "header": st.sampled_from(["names", "numbers", "none"]),
    "sep": st.sampled_from([",", ";", "\t", "|"]),
    "decimal": st.sampled_from([".", ","]),
    "encoding": st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    "quoting": st.sampled_from([0, 1, 2]),
    "lineterminator": st.sampled_from(["\n", "\r\n"]),
    "label": st.sampled_from(["numbers", "words"]),
    "missing": st.lists(
      st.tuples(st.integers(0, 29), st.integers(0, 3)), max_size=9
    ),
    "na_rep": st.sampled_from(["", "NA", "nan"]),
    "rows": st.integers(6, 30),
    "columns": st.integers(2, 4),
    "seed": st.integers(0, 99),
  }
)


def _frame(written):
  rng, n = np.random.default_rng(written["seed"]), written["rows"]
  values = rng.normal(size=(n, written["columns"]))
  for row, column in written["missing"]:
    # Every column has a number, or there would be nothing to read.
    if row < n - 2 and column < written["columns"]:
      values[row, column] = np.nan
  frame = pd.DataFrame(values)
  numbered = written["header"] == "numbers" and written["kind"] != "parquet"
  if not numbered:
    frame.columns = [f"v{i}" for i in range(values.shape[1])]
  label = np.arange(n) % 2
  if written["label"] == "words":
    label = np.array(["no", "yes"])[label]
  frame[values.shape[1] if numbered else "label"] = label
  if "words" in written["index"]:
    name = "patient" if "named" in written["index"] else None
    frame.index = pd.Index([f"p{i}" for i in range(n)], name=name)
  if written["shuffled"]:
    frame = frame.sample(frac=1, random_state=1)
  return frame


def _write(frame, written, path):
  index = written["index"] != "none"
  if written["kind"] == "parquet":
    frame.to_parquet(path, index=index)
    return
  names = ("sep", "decimal", "encoding", "quoting", "lineterminator", "na_rep")
  options = {name: written[name] for name in names}
  frame.to_csv(path, index=index, header=written["header"] != "none", **options)


@hypothesis.settings(
  max_examples=100,
  suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
@hypothesis.given(written=_WRITTEN)
def test_what_pandas_wrote_is_what_is_read(tmp_path, written):
  is_text = written["kind"] != "parquet"
  has_index = written["index"] != "none"
  # Numbers without order and without a name may be features.
  hypothesis.assume(
    not (
      is_text and written["index"] == "plain" and written["shuffled"]
      and written["header"] == "none"
    )
  )  # fmt: skip
  frame = _frame(written)
  suffix = {"csv": ".csv", "gzip": ".csv.gz", "parquet": ".parquet"}
  path = tmp_path / f"a_train{suffix[written['kind']]}"
  _write(frame, written, path)
  table = table_files.read(path, table_files.Rules())
  assert len(table) == written["rows"]
  *features, label = table.values.values()
  np.testing.assert_array_equal(label, frame.iloc[:, -1])
  np.testing.assert_allclose(
    np.column_stack(features), frame.iloc[:, :-1].to_numpy(), rtol=1e-12
  )
  assert table.has_header == (not is_text or written["header"] != "none")
  if table.has_header:
    assert list(table.values) == [str(name) for name in frame.columns]
  if has_index:
    (names,) = table.names.values()
    np.testing.assert_array_equal(names, frame.index.astype(str))
    assert any("index" in n or "id" in n for n in table.notes), table.notes
  else:
    assert not table.names


def test_flags_overrule_the_file(tmp_path):
  text = "0,1,2\n1,0,1\n2,1,0\n3,5,1\n4,7,0\n"
  assert len(_read(tmp_path, text)) == 5
  assert list(_read(tmp_path, text).values) == ["f1", "f2"]
  kept = _read(tmp_path, text, index="none")
  assert list(kept.values) == ["f0", "f1", "f2"]
  named = _read(tmp_path, text, header="yes", index="none")
  assert (len(named), list(named.values)) == (4, ["0", "1", "2"])
  first = _read(tmp_path, "5,a,b\n9,1,2\n", header="yes", index="first")
  assert list(first.values) == ["a", "b"]
  split = _read(tmp_path, "1;2 3;4\n5;6 7;8\n", separator="space", header="no")
  assert list(split.values["f0"]) == ["1;2", "5;6"]
  points = _read(tmp_path, "1,5;2\n2,5;3\n", decimal=".")
  assert list(points.values["f0"]) == ["1,5", "2,5"]
  latin = _read(tmp_path, "é,label\n1.5,0\n", "cp1252", encoding="cp1252")
  assert list(latin.values) == ["é", "label"]


@pytest.mark.parametrize(
  ("text", "rules", "message"),
  [
    ("a,b\n1,2\n", {"separator": "::"}, "--separator=::: is not one character"),
    ("a,b\n1,2\n", {"encoding": "utf-9"}, "--encoding=utf-9: is unknown: use"),
    ("a\n1\n", {"id": "a"}, "a_train.csv: has no column of numbers: give feat"),
    ("", {}, "a_train.csv: cannot be read as a table"),
  ],
)
def test_flags_and_files_that_cannot_be_met_are_named(
  tmp_path, text, rules, message
):
  with pytest.raises(errors.InputError, match=message) as error:
    _read(tmp_path, text, **rules)
  assert "\n" not in str(error.value)


def test_text_in_another_encoding_is_named(tmp_path):
  message = r"a_train.csv: is not text in utf-8 \(byte .\): set --encoding"
  with pytest.raises(errors.InputError, match=message):
    _read(tmp_path, "é,label\n1.5,0\n", "cp1252")


@pytest.mark.parametrize("line", ["sep={}\n", '"sep={}"\r\n', "SEP={}\r\n"])
@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("written_in", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", [["a", "label"], []])
def test_a_line_that_tells_the_separator_is_no_row(
  tmp_path, line, separator, written_in, header
):
  rows = [header] if header else []
  rows += [[f"{i / 4}", f"{i % 2}"] for i in range(6)]
  text = "".join(separator.join(row) + "\n" for row in rows)
  text = line.format(separator) + text
  for rules in ({}, {"separator": separator}):
    table = _read(tmp_path, text, written_in, **rules)
    assert list(table.values) == (header or ["f0", "f1"])
    features, label = table.values.values()
    np.testing.assert_array_equal(features, np.arange(6) / 4)
    np.testing.assert_array_equal(label, np.arange(6) % 2)


def test_the_line_decides_where_the_rows_do_not(tmp_path):
  # Every row splits into three cells at the commas too.
  text = "sep=;\n" + "1,5;2,5;0\n2,5;3,5;1\n" * 3
  table = _read(tmp_path, text)
  np.testing.assert_array_equal(table.values["f1"], [2.5, 3.5] * 3)
  # A separator is no letter, and no more than one character.
  for first in ("sep=a", "sep=;;", "sep="):
    table = _read(tmp_path, f"{first}\n1\n2\n")
    assert list(table.values) == [first]


def _r_table(separator=" ", names=None, decimal=".", quote='"', dose=True):
  """Returns the text that R's `write.table` writes of a data frame."""
  names = names or [f"{i + 1}" for i in range(6)]
  header = (["dose"] if dose else []) + ["grade"]
  lines = [[f"{quote}{name}{quote}" for name in header]]
  for i, name in enumerate(names):
    number = "NA" if i == 4 else f"{i / 4 + 1:g}".replace(".", decimal)
    grade = f"{quote}{('low', 'very high')[i % 2]}{quote}"
    row = [f"{quote}{name}{quote}", *([number] if dose else []), grade]
    lines.append(row)
  return "".join(separator.join(line) + "\n" for line in lines)


R_TABLES = {
  "default": {},
  "sorted": {"names": ["4", "2", "6", "1", "3", "5"]},
  "words": {"names": [f"Mazda RX{i}" for i in range(6)]},
  "tab": {"separator": "\t"},
  "comma": {"separator": ","},
  "decimal": {"separator": ";", "decimal": ","},
  "space and decimal": {"decimal": ","},
  "one column": {"dose": False, "names": [f"s{i}" for i in range(6)]},
}


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("name", R_TABLES)
def test_the_names_of_rows_of_r_are_an_index(tmp_path, name, marked):
  options = R_TABLES[name]
  text = _r_table(**options)
  if marked:
    text = f"sep={options.get('separator', ' ')}\n\n{text}"
  table = _read(tmp_path, text)
  grades = table.values.pop("grade")
  assert grades.tolist() == ["low", "very high"] * 3
  if options.get("dose", True):
    dose = [1, 1.25, 1.5, 1.75, np.nan, 2.25]
    np.testing.assert_array_equal(table.values.pop("dose"), dose)
  assert not table.values
  names = options.get("names", ["1", "2", "3", "4", "5", "6"])
  assert table.names["index"].tolist() == names
  assert any("without name, is an index" in note for note in table.notes)


def test_words_of_r_without_quotes_are_read(tmp_path):
  text = _r_table("\t", quote="", names=[f"TCGA-{i}" for i in range(6)])
  table = _read(tmp_path, text)
  assert list(table.values) == ["dose", "grade"]
  assert table.names["index"][2] == "TCGA-2"


@pytest.mark.parametrize(
  ("header", "row"),
  [
    ("a,b,label", "{},2,3,"),
    ("a,b,label", "{}.5,2,3,1"),
    ("a,b,label", "1,2,{},1"),
    ("1,2,label", "{},2,3,1"),
  ],
)
def test_a_header_that_lacks_a_name_is_no_table_of_r(tmp_path, header, row):
  text = f"{header}\n" + "".join(f"{row.format(i)}\n" for i in range(6))
  with pytest.raises(errors.InputError, match="Expected 3 columns, got 4"):
    _read(tmp_path, text)


def test_a_mark_inside_numbers_or_names_separates_no_names_of_rows(tmp_path):
  rows = "".join(f'"{i + 1}" {i},25\n' for i in range(6))
  table = _read(tmp_path, '"dose"\n' + rows)
  np.testing.assert_array_equal(table.values["dose"], np.arange(6) + 0.25)
  for blank in " \t":
    rows = "".join(f"s{i}{blank}b,{i / 4},1\n" for i in range(6))
    table = _read(tmp_path, "dose,grade\n" + rows)
    assert list(table.values) == ["dose", "grade"]
    assert table.names["index"][2] == f"s2{blank}b"


def test_the_first_column_of_write_csv_is_an_index(tmp_path):
  rows = "".join(f'"{i * 7 % 5 + 1}",{i / 4},"b"\n' for i in range(5))
  table = _read(tmp_path, '"","dose","grade"\n' + rows)
  assert list(table.values) == ["dose", "grade"]
  assert table.names["index"].tolist() == ["1", "3", "5", "2", "4"]


def test_lists_of_several_lengths_are_named(tmp_path):
  path = tmp_path / "a_train.parquet"
  frame = pd.DataFrame({"v": [[1.0, 2.0], None, [3.0]], "label": [0, 1, 0]})
  frame.to_parquet(path)
  message = "a_train.parquet: row 2, column 'v' is a list of 1, but that of row"
  with pytest.raises(errors.InputError, match=message):
    table_files.read(path, table_files.Rules())
  frame["v"] = [[1.0, 2.0], None, [3.0, 4.0]]
  frame.to_parquet(path)
  values = table_files.read(path, table_files.Rules()).values["v"]
  np.testing.assert_array_equal(values, [[1, 2], [np.nan] * 2, [3, 4]])


def test_numbers_that_float64_cannot_tell_apart_are_named(tmp_path):
  numbers = [2**60 + i for i in range(4)]
  table = _read(tmp_path, "a,b\n" + "".join(f"{n},1\n" for n in numbers))
  with pytest.raises(errors.InputError, match="column 'a' has numbers beyond"):
    table.features()
