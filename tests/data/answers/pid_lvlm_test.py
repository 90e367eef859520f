import json

import numpy as np
import pytest

from btw_jax.data.answers import pid_lvlm
from btw_jax.data.answers import read_options
from support import answer_files


@pytest.fixture
def world():
  return answer_files.make_world()


@pytest.fixture
def records(world):
  return answer_files.pid_lvlm_records(world)


def _read(folder, records):
  path = folder / "pid.json"
  path.write_text(json.dumps(records))
  return pid_lvlm.read(str(path), read_options.ReadOptions())


def test_lists_without_padding_tell_the_number_of_options(
  tmp_path, world, records
):
  for record, n in zip(records, world.counts, strict=True):
    del record["num_options"], record["id"]
    answer = record["conversations"][1]
    for field in pid_lvlm.FIELDS.values():
      answer[field] = answer[field][:n]
  found = _read(tmp_path, records)
  assert [c.name for c in found] == ["vision", "text", "both"]
  for condition in found:
    np.testing.assert_array_equal(condition.num_options, world.counts)
    np.testing.assert_allclose(
      condition.log_probs, world.log_probs(condition.name), rtol=1e-9
    )
    assert list(condition.ids) == [str(row) for row in range(12)]
    assert condition.columns["image"][2] == "images/1.jpg"


def _change(field, value):
  def change(records):
    records[2]["conversations"][1][field] = value

  return change


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    (lambda r: r[2].pop("conversations"), ("record 3", "no 'vl_prob'")),
    (_change("v_prob", None), ("record 3", "no list 'v_prob'")),
    (_change("v_prob", [1.0]), ("record 3", "3 options, but 1 numbers")),
    (_change("v_prob", [0.5, 0.25, 0.25, 0.5]),
     ("record 3", "more numbers than zeros", "'v_prob'", "'num_options'")),
    (_change("v_prob", [0.5, 0.25, 0.0, 0.0]), ("record 3", "0.75, not 1")),
    (_change("v_prob", [0.5, None, 0.5, 0.0]), ("record 3", "not all numbers")),
    (lambda r: (r[2].pop("num_options"), _change("v_prob", [1.0])(r)),
     ("record 3", "different lengths", "v_prob 1")),
    (lambda r: r[2].update(num_options="3"), ("record 3", "'3'", "from 2 on")),
    (lambda r: r[2].update(id="100"), ("record 3", "'100'", "record 1")),
    (lambda r: r.clear(), ("holds no question",)),
  ],
)  # fmt: skip
def test_wrong_records_are_named(tmp_path, records, change, parts):
  change(records)
  with answer_files.refuses("pid.json", *parts):
    _read(tmp_path, records)
