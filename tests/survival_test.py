"""Runs that are stopped in every way, and end as if they had not been.

`python -m experiments.benchmarks.fault_recovery` kills more of them, at random moments.
"""

import dataclasses
import functools
import re
import signal
import time

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import problems
import programs
import pytest

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.pipeline import csv_table
from btw_jax.training import loop
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs
from experiments.benchmarks import faults

WEIGHTED = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("uniform", 0.0, 1.0),
]


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
  """Runs of two seeds, a snapshot after every epoch."""
  flags = [flag for flag in faults.FLAGS if "num_epochs" not in flag]
  return faults.Trials(
    tmp_path_factory.mktemp("trials"),
    (*flags, "--num_epochs=8"),
    {**conftest.environment(), "XLA_FLAGS": conftest.AS_WRITTEN},
    programs.Forked,
  )


def test_a_killed_run_goes_on_even_from_the_snapshot_before(trials):
  """Killed in stage 2, where a snapshot follows every epoch."""
  one = faults.interrupt_run(
    trials, signal.SIGKILL, epoch=4, spoil=faults.corrupt_checkpoint
  )
  assert (one.status, one.differs) == (-signal.SIGKILL, [])
  assert "cannot be read" in one.told
  assert 1 <= one.lost <= 3


def test_sigterm_saves_and_other_devices_go_on(trials):
  one = faults.interrupt_run(
    trials,
    signal.SIGTERM,
    epoch=3,
    tolerance=1e-5,
    again=functools.partial(trials.start, num_devices=4),
  )
  assert (one.status, one.lost, one.differs) == (143, 0, [])
  assert "interrupted: the best epochs so far are saved" in one.errors
  assert "Traceback" not in one.errors


def test_a_second_signal_ends_at_once(trials):
  workdir = trials.new()
  run = trials.start(workdir)
  trials.wait_for(workdir, "unimodal", 1, run)
  for _ in range(2):
    run.send_signal(signal.SIGINT)
    time.sleep(0.01)
  errors = trials.end(run, 130)
  assert errors.rstrip().endswith("again to stop at once")


def test_a_full_disk_is_told_and_costs_no_result(trials):
  one = faults.out_of_space(trials)
  assert one.status == 2
  assert "snapshots/unimodal/1: was not written (File too large)" in one.errors
  assert re.search(r"run\d+/\S+: cannot be written \(File too", one.errors)
  assert "Traceback" not in one.errors
  assert one.differs == []


def test_a_lost_process_ends_the_other_which_names_it(trials):
  one = faults.process_lost(trials)
  assert one.seconds < 60
  assert one.status != 0
  # The runtime's own words, then the number of the process.
  assert re.search(r"tasks are unhealthy[^\n]*\n1\n", one.errors)
  assert one.differs == []


def _unsound(batch, row):
  """A batch whose one example gives no finite gradient."""
  features = batch.features.at[row, 0, 0].set(jnp.inf)
  return batch._replace(
    features=features, present=batch.present.at[row].set(True)
  )


def test_gradients_that_are_not_finite_change_nothing():
  train, valid = problems.splits()
  made = problems.trainer(rule=problems.RULE)
  bad = train._replace(batch=_unsound(train.batch, 5))
  skipped, logs = [], []
  best = loop.fit(
    made, WEIGHTED, [0], bad, valid, num_epochs=3,
    observe=lambda epoch, log: logs.append(log), skipped=skipped.extend,
  )  # fmt: skip
  # Of 48 examples in batches of 16, one batch of an epoch is passed over.
  for run in range(2):
    own = [step for step in skipped if step.run == run]
    assert [step.epoch for step in own] == [0, 1, 2]
  for step in skipped:
    assert 5 in step.examples
    assert len(step.examples) == 16
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(best.params))
  for log in logs:
    assert np.sum(log["skipped"] > 0) == 2
    assert np.all(np.isfinite(log["weights"]))


def test_a_run_that_learns_from_nothing_is_ended():
  train, valid = problems.splits()
  made = dataclasses.replace(problems.trainer(), max_skipped=4)
  features = jnp.full_like(train.batch.features, jnp.inf)
  bad = train._replace(batch=train.batch._replace(features=features))
  with pytest.raises(
    errors.InputError, match="epoch 2, step 1: .* not finite 4 times in a row"
  ):
    problems.fit(made, WEIGHTED[1:], [0], bad, valid, num_epochs=5)


def test_snapshots_of_other_data_are_refused(tmp_path):
  train, valid = problems.splits()
  made = problems.trainer(rule=problems.RULE)

  def fit(mean, num_epochs):
    one = scaling.Scaler(
      np.full((3, 5), mean), np.ones((3, 5)), np.ones(3), np.zeros(()),
      np.ones(()),
    )  # fmt: skip
    done = []
    loop.fit(
      made, WEIGHTED, [0], train, valid, num_epochs=num_epochs,
      observe=lambda epoch, log: done.append(epoch),
      keep=train_checkpoints.TrainCheckpoints(tmp_path, "multimodal", scalers=[one]),
    )  # fmt: skip
    return done

  assert fit(0.0, 2) == [0, 1]
  assert fit(0.0, 4) == [2, 3]
  with pytest.raises(errors.InputError, match="other data .its mean differs"):
    fit(0.1, 6)
  names = {path.name for path in tmp_path.glob("snapshots/multimodal/*")}
  assert {"3", "4"} <= names
  assert len(names) <= 3


def test_tables_go_on_where_they_were_cut(tmp_path):
  path = tmp_path / "table.csv"
  table = csv_table.CsvTable(path, ("epoch", "loss"))
  table.write([{"epoch": e, "loss": e / 2} for e in range(4)])
  with path.open("a", encoding="utf-8") as file:
    file.write("4,2")
  again = csv_table.CsvTable(path, ("epoch", "loss"), go_on=True)
  assert path.read_text().splitlines()[-1] == "3,1.5"
  again.retain(lambda row: int(row["epoch"]) < 2)
  again.write([{"epoch": 2, "loss": 7}])
  assert path.read_text().split() == ["epoch,loss", "0,0.0", "1,0.5", "2,7"]
  other = csv_table.CsvTable(path, ("epoch", "score"), go_on=True)
  other.write([])
  assert path.read_text().split() == ["epoch,score"]
