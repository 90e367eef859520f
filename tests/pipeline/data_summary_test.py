from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.pipeline import data_summary
from support import dataset_files


def test_the_summary_is_told_in_full(tmp_path):
  dataset_files.mimic(tmp_path, overlap=True, missing=True)
  options = catalog.Options(data_dir=str(tmp_path), average_steps=False)
  summary = assembly.summarise(catalog.read("mimic_ihm_missing", options))
  text = data_summary.text(summary)
  assert "| train   | 12         | 0: 6, 1: 6        |" in text
  row = next(line for line in text.splitlines() if line.startswith("| cxr"))
  assert [cell.strip() for cell in row.split("|")][2:6] == [
    "2 steps of 1024 features", "2", "train", "33.3",
  ]  # fmt: skip
  assert "train and valid share 1 subject" in text
  for lines in text.splitlines():
    assert not lines.startswith("| ecg") or lines.split("|")[-2].strip() in (
      "", "2",
    )  # fmt: skip
