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
