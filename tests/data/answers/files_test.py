import gzip
import json

from btw_jax.data.answers import files
from support import answer_files


def test_kinds_of_files_are_told_by_their_content(tmp_path):
  def kind(content):
    path = tmp_path / "file"
    path.write_bytes(content)
    return files.kind_of(path)

  assert kind(b'\xef\xbb\xbf {"a": 1}') == "json"
  assert kind(gzip.compress(b"[1]")) == "json"
  assert kind(b"a\tb,c\n1\t2\n") == "tsv"
  assert kind(b"a,b\n1\t2,3\n") == "csv"
  assert kind(b"PAR1") == "parquet"
  assert kind(b"PK\x03\x04") == "arrays"
  assert kind(b"\x93NUMPY") == "arrays"
  assert files.kind_of(tmp_path) == "arrays"


def test_lines_are_counted_with_the_empty_ones(tmp_path):
  path = tmp_path / "a.jsonl"
  path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}')
  assert list(files.read_lines(path)) == [(1, {"a": 1}), (3, {"a": 2})]
  path.write_bytes(b'{"a": 1}\n\n{"a": \n{"a": 2}\n')
  with answer_files.refuses("a.jsonl: line 3 is not JSON"):
    list(files.read_lines(path))
  path.write_bytes(b'{"a": "\xff"}\n')
  with answer_files.refuses("a.jsonl: line 1 is not JSON"):
    list(files.read_lines(path))


def test_a_cut_archive_of_many_lines_names_the_line(tmp_path):
  path = tmp_path / "a.jsonl.gz"
  lines = [json.dumps({"a": str(i) * 20}) for i in range(20_000)]
  path.write_bytes(gzip.compress("\n".join(lines).encode())[:-1000])
  with answer_files.refuses("a.jsonl.gz: line 1", "is cut"):
    list(files.read_lines(path))


def test_objects_over_several_lines_are_one_record(tmp_path):
  path = tmp_path / "a.json"
  path.write_text(json.dumps({"a": [1, 2]}, indent=2))
  assert list(files.read_records(path)) == [("record 1", {"a": [1, 2]})]
  path.write_text(path.read_text()[:-4])
  with answer_files.refuses("a.json: line", "not JSON or is cut"):
    list(files.read_records(path))


def test_cells_of_text_tables_stay_texts(tmp_path):
  path = tmp_path / "a.csv"
  path.write_text('id,answer\n007,"two\nlines, 1.0"\n,No\n')
  assert files.read_table(path) == {
    "id": ["007", None], "answer": ["two\nlines, 1.0", "No"],
  }  # fmt: skip
