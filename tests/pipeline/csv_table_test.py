import pytest

from btw_jax import errors
from btw_jax.pipeline import csv_table


def test_tables_go_on_where_they_were_cut(tmp_path):
  path = tmp_path / "table.csv"
  table = csv_table.CsvTable(path, ("epoch", "loss"))
  table.write([{"epoch": e, "loss": e / 2} for e in range(4)])
  with path.open("a", encoding="utf-8") as file:
    file.write("4,2")
  again = csv_table.CsvTable(path, ("epoch", "loss"), resume=True)
  assert path.read_text().splitlines()[-1] == "3,1.5"
  again.retain(lambda row: int(row["epoch"]) < 2)
  again.write([{"epoch": 2, "loss": 7}])
  assert path.read_text().split() == ["epoch,loss", "0,0.0", "1,0.5", "2,7"]
  other = csv_table.CsvTable(path, ("epoch", "score"), resume=True)
  other.write([])
  assert path.read_text().split() == ["epoch,score"]


def _table(path):
  table = csv_table.CsvTable(path, ("stage", "epoch"))
  table.write({"stage": s, "epoch": e} for s in "ab" for e in range(4))
  return table


def test_epochs_that_a_table_lacks_are_counted(tmp_path):
  path = tmp_path / "table.csv"
  table = _table(path)
  assert table.keep_epochs(3, lambda row: row["stage"] == "a") == 0
  lines = path.read_text().splitlines()
  assert lines[1:] == ["a,0", "a,1", "a,2", "b,0", "b,1", "b,2", "b,3"]
  path.write_text("\n".join([lines[0], *lines[3:], ""]))
  assert table.keep_epochs(3, lambda row: row["stage"] == "a") == 2
  path.write_text("")
  assert table.keep_epochs(3, lambda row: row["stage"] == "a") == 3


def test_a_damaged_table_is_named(tmp_path):
  path = tmp_path / "table.csv"
  table = _table(path)
  path.write_text(path.read_text().replace("a,2", "a,x"))
  with pytest.raises(errors.InputError, match="table.csv: .* the epoch 'x'"):
    table.keep_epochs(3, lambda row: True)
  path.write_bytes(path.read_bytes().replace(b"a,x", b"\xe9,2"))
  with pytest.raises(errors.InputError, match="table.csv: cannot be read"):
    csv_table.CsvTable(path, ("stage", "epoch"), resume=True)
  path.unlink()
  path.mkdir()
  with pytest.raises(errors.InputError, match="table.csv: cannot be read"):
    csv_table.CsvTable(path, ("stage", "epoch"), resume=True)
