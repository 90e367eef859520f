"""Stages whose runs train in turns."""

import numpy as np
import pytest

from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import train_run
from support import dataset_files

pytestmark = pytest.mark.slow

_TINY = {
  "dataset": "digits",
  "num_seeds": 3,
  "num_epochs": 3,
  "hidden_dim": 8,
  "embedding_dim": 8,
  "num_exchanges": 0,
  "weighting": ("uniform", "kl", "kl+mi"),
}


def _config(workdir, **settings):
  return config_lib.make(workdir=str(workdir), **_TINY | settings)


def _rows(workdir):
  """Returns (stage, run, seed, epoch, split) -> loss."""
  rows = dataset_files.read_table(workdir / "metrics.csv")
  keys = ("stage", "run", "seed", "epoch", "split")
  found = {tuple(row[k] for k in keys): float(row["loss"]) for row in rows}
  assert len(found) == len(rows)
  return found


def _assert_same(first, second):
  assert first.keys() == second.keys()
  np.testing.assert_allclose(
    list(first.values()), [second[key] for key in first], rtol=1e-4
  )


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "side_by_side"
  return workdir, train_run.train(_config(workdir))


@pytest.mark.parametrize("memory_gb", [0.002, 0.001])
def test_turns_give_what_runs_side_by_side_give(
  tmp_path, side_by_side, memory_gb, caplog
):
  workdir, results = side_by_side
  caplog.set_level("INFO", logger="absl")
  in_turns = train_run.train(_config(tmp_path, memory_gb=memory_gb))
  assert "side by side take" in caplog.text
  _assert_same(_rows(workdir), _rows(tmp_path))
  for a, b in zip(results["rows"], in_turns["rows"], strict=True):
    assert a["name"] == b["name"]
    if "valid_loss" in a:
      assert a["valid_loss"] == pytest.approx(b["valid_loss"], rel=1e-4)
  stages = {path.name for path in (tmp_path / "snapshots").iterdir()}
  assert not stages & {"unimodal", "multimodal"}


class _Stops:
  """An interrupt that is requested once a seed of stage 2 has an epoch."""

  number = 2

  def __init__(self, workdir, seed):
    self._workdir, self._seed = workdir, str(seed)

  @property
  def requested(self):
    path = self._workdir / "metrics.csv"
    if not path.exists():
      return False
    return any(
      (row["stage"], row["seed"]) == ("multimodal", self._seed)
      for row in dataset_files.read_table(path)
    )


def test_a_run_that_stops_in_a_turn_goes_on_there(tmp_path, side_by_side):
  config = _config(tmp_path, memory_gb=0.002)
  # The number of turns depends on the cores, which train runs side by side.
  pattern = r"turn [2-9] of [3-9], epoch 1 of 3: the snapshots are saved"
  with pytest.raises(interrupt_lib.Interrupted, match=pattern):
    train_run.train(config, _Stops(tmp_path, 1))
  before = _rows(tmp_path)
  assert not any(key[0] == "multimodal" and key[2] == "2" for key in before)
  train_run.train(config)
  _assert_same(_rows(side_by_side[0]), _rows(tmp_path))
  # More epochs resume every turn.
  longer = train_run.train(_config(tmp_path, memory_gb=0.002, num_epochs=4))
  rows = _rows(tmp_path)
  assert len(rows) == len(_rows(side_by_side[0])) * 4 // 3
  assert longer["seeds"] == [0, 1, 2]
