"""The files that unpack to far more than their size are refused unread."""

import gzip

import numpy as np
import pyarrow
from pyarrow import parquet
import pytest

from btw_jax import errors
from btw_jax.data import limits
from btw_jax.data.answers import files
from btw_jax.data.sources import table_files

BOMB = r"unpacks to more than 1,073,741,824 bytes: it is too large, or a decom"


def _refuse(
  path, read=lambda path: table_files.read(path, table_files.Rules())
):
  with pytest.raises(errors.InputError, match=f"{path.name}: {BOMB}") as error:
    read(path)
  assert "\n" not in str(error.value)


def _members(path, rows, count):
  """Writes a file of gzip that repeats the same rows `count` times."""
  path.write_bytes(gzip.compress(rows * (2**24 // len(rows))) * count)


def test_rows_that_gzip_packed_are_counted_first(tmp_path):
  path = tmp_path / "a_train.csv.gz"
  # 3 GiB of rows in 3 MB.
  _members(path, b"0,1\n", 192)
  assert path.stat().st_size < 2**22
  _refuse(path)
  _refuse(path, files.read_table)


def test_the_values_of_a_parquet_file_are_counted_first(tmp_path):
  path = tmp_path / "a_train.parquet"
  table = pyarrow.table({"a": np.zeros(15_000_000)})
  with parquet.ParquetWriter(path, table.schema, compression="zstd") as writer:
    for _ in range(10):
      writer.write_table(table)
  assert path.stat().st_size < 2**20
  _refuse(path)
  _refuse(path, files.read_table)


def test_the_items_of_lists_are_counted(tmp_path, monkeypatch):
  monkeypatch.setattr(limits, "FREE_BYTES", 2**20)
  path = tmp_path / "a_train.parquet"
  vectors = pyarrow.FixedSizeListArray.from_arrays(
    pyarrow.array(np.zeros(100_000, np.float32)), 10_000
  )
  for names in ("a", "ab"):
    table = pyarrow.table(dict.fromkeys(names, vectors))
    parquet.write_table(table, path, compression="zstd")
    # The 10 rows of each column hold 800 kB in float64.
    about = parquet.read_metadata(path)
    if names == "a":
      limits.check_parquet(path, about)
  with pytest.raises(errors.InputError, match="more than 1,048,576 bytes"):
    limits.check_parquet(path, about)


def test_a_long_word_that_many_rows_have_is_not_repeated(tmp_path):
  path = tmp_path / "a_train.parquet"
  rows = pyarrow.array(np.zeros(1200, np.int32))
  words = pyarrow.DictionaryArray.from_arrays(rows, ["x" * 2**20])
  for store_schema in (True, False):
    table = pyarrow.table({"a": words, "label": words})
    parquet.write_table(table, path, store_schema=store_schema)
    assert path.stat().st_size < 2**18
    _refuse(path)


def test_what_is_large_for_good_reason_is_read(tmp_path):
  path = tmp_path / "a_train.csv.gz"
  _members(path, b"0,1\n", 1)
  size = path.stat().st_size
  limits.check_gzip(path)
  limits.check(path, limits.FREE_BYTES)
  # A file of 20 MB may unpack to a hundred times its size, but no more.
  path.write_bytes(bytes(20 * 2**20))
  limits.check(path, 2000 * 2**20)
  with pytest.raises(errors.InputError, match="more than 2,097,152,000 bytes"):
    limits.check(path, 2000 * 2**20 + 1)
  assert size < 2**17


def test_damage_behind_the_start_of_a_packed_file_is_named(tmp_path):
  path = tmp_path / "a_train.csv.gz"
  _members(path, b"0,1\n", 1)
  # Words that hardly pack make the file large enough to be counted.
  noise = np.random.default_rng(0).bytes(2**20)
  path.write_bytes(path.read_bytes() + gzip.compress(noise))
  content = path.read_bytes()
  for damaged in (content[:-1000], content[:-1000] + bytes(1000)):
    path.write_bytes(damaged)
    with pytest.raises(errors.InputError, match="a_train.csv.gz: cannot be un"):
      limits.check_gzip(path)


def test_damage_at_the_start_of_a_packed_file_is_named(tmp_path):
  path = tmp_path / "a_train.csv.gz"
  rows = "".join(f"{i * 0.37},{i * i * 0.25},{i % 2}\n" for i in range(8000))
  content = gzip.compress(rows.encode())
  path.write_bytes(content[:50] + b"\xff" * 40 + content[90:])
  with pytest.raises(errors.InputError, match="a_train.csv.gz: cannot be read"):
    table_files.read(path, table_files.Rules())
