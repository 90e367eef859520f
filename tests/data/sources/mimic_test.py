import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import batching
from btw_jax.data import scaling
from support import dataset_files


def _hourly(stay):
  """Fills the 48 x 60 table of a stay cell by cell."""
  table = np.zeros((48, 60))
  for column in range(30):
    latest = 0.0
    for hour in range(48):
      for time, values, mask in zip(
        stay["ts_tt"], stay["irg_ts"], stay["irg_ts_mask"], strict=True
      ):
        if int(time) == hour and mask[column]:
          latest, table[hour, 30 + column] = values[column], 1
      table[hour, column] = latest
  return table


TASKS = {
  "mimic_ihm": ("binary", 1, ()),
  "mimic_los": ("multiclass", 4, ()),
  "mimic_los_binary": ("binary", 1, ()),
  "mimic_pheno": ("multilabel", 25, (25,)),
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_stays_are_read_for_every_task(tmp_path, name, missing):
  task, num_classes, label = TASKS[name]
  content = dataset_files.mimic(
    tmp_path, name.removeprefix("mimic_"), missing=missing
  )
  dataset = dataset_files.load(name + "_missing" * missing, tmp_path)
  assert (dataset.task, dataset.num_classes) == (task, num_classes)
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "vitals": 30, "hourly": 60, "notes": 768, "cxr": 1024, "ecg": 256,
  }  # fmt: skip
  assert dataset.splits["train"].target.shape[1:] == label
  for split, examples in dataset.splits.items():
    stays = content[split]
    assert list(examples.ids) == [str(int(s["stay_id"])) for s in stays]
    assert list(examples.subjects) == [s["name"] for s in stays]
    np.testing.assert_array_equal(examples.target, [s["label"] for s in stays])
    for i, stay in enumerate(stays):
      steps, n = examples.steps["vitals"], len(stay["ts_tt"])
      hours = stay["ts_tt"].astype(float)
      np.testing.assert_allclose(steps.times[i, :n], hours / 48, rtol=1e-6)
      np.testing.assert_array_equal(steps.observed[i, :n], stay["irg_ts_mask"])
      np.testing.assert_allclose(
        examples.features["vitals"][i, :n],
        stay["irg_ts"] * stay["irg_ts_mask"],
        rtol=1e-6,
      )
      np.testing.assert_allclose(
        examples.features["hourly"][i], _hourly(stay), rtol=1e-6
      )
      gone = bool(stay.get("text_missing", 0))
      assert examples.present["notes"][i] != gone
      notes = np.reshape(stay["text_embeddings"][-5:], (-1, 768))
      assert examples.steps["notes"].length[i] == len(notes)
      np.testing.assert_array_equal(
        examples.features["notes"][i, : len(notes)], notes
      )
      times = np.array(stay["text_time_to_end"][-5:], float)
      np.testing.assert_allclose(
        examples.steps["notes"].times[i, : len(notes)], times / 48, rtol=1e-6
      )
      assert examples.present["cxr"][i] == bool(len(stay.get("cxr_feats", [])))
      ecg = np.reshape(stay["ecg_feats"], (-1, 256))
      np.testing.assert_array_equal(
        examples.features["ecg"][i, : len(ecg)],
        np.nan_to_num(ecg, posinf=0, neginf=0),
      )
    assert examples.present["cxr"].all() != missing
  # 48 hours are time 1: the times of the training split do not rescale them.
  np.testing.assert_array_equal(scaling.fit(dataset).last_time, 1)
  batch = batching.stack(dataset.splits["train"], scaling.fit(dataset))
  assert len(batch.sequences) == 5
  assert all(np.isfinite(s.values).all() for s in batch.sequences)


def test_bad_stays_are_named(tmp_path):
  def refuse(changes, message, name="mimic_ihm"):
    stays = dataset_files.mimic(tmp_path)["train"]
    stays[4] = {k: v for k, v in (stays[4] | changes).items() if v is not None}
    dataset_files.dump(tmp_path / "train_ihm-48-cxr-notes-ecg_stays.pkl", stays)
    with pytest.raises(errors.InputError, match=message) as error:
      dataset_files.load(name, tmp_path)
    assert "train_ihm-48-cxr-notes-ecg_stays.pkl" in str(error.value)
    assert "\n" not in str(error.value)

  refuse({"irg_ts": None}, "stays.pkl, row 4: has no field 'irg_ts', which a s")
  refuse({"irg_ts": np.ones((2, 29))}, r"row 4: 'irg_ts' has shape \(2, 29\)")
  refuse({"label": 3}, "row 4: the label is 3: give 0 to 1, or choose")
  refuse({"label": np.ones(25)}, "row 4: the label has 25 values: give 1")
  refuse(
    {"cxr_feats": [np.ones(1024)], "cxr_time": [1, 2]},
    r"row 4: 'cxr_feats' has shape \(1, 1024\): give \(2, 1024\)",
  )
  refuse(
    {"ecg_time": np.array([np.nan] * 3), "ecg_feats": [np.ones(256)] * 3},
    r"modality 'ecg', row 4, step 0 was taken at nan: give finite times",
  )
