"""Training gives the same on any number of devices and processes."""

import re

import numpy as np
import pytest

from experiments.benchmarks import memory as memory_suite
from experiments.benchmarks import processes
from support import dataset_files
from support import device_runs
from support import environment
from support import programs

pytestmark = pytest.mark.slow


def _runs(folder, num_processes, num_devices):
  """Returns the arrays that `device_runs` leaves."""
  output = folder / f"{num_processes}x{num_devices}.npz"
  _start(
    device_runs.main, str(output), str(folder / "prepared"),
    count=num_processes, num_devices=num_devices, popen=programs.Forked,
  )  # fmt: skip
  with np.load(output) as archive:
    assert archive["devices"] == num_processes * num_devices
    return dict(archive)


def _start(function, *arguments, **options):
  """Runs a function in several processes, and returns their results."""
  variables = {**environment.of_child(), "XLA_FLAGS": environment.XLA_FLAGS}
  return processes.run(function, *arguments, environment=variables, **options)


def _prepare(folder):
  """Prepares sequences of many lengths as records."""
  rng = np.random.default_rng(0)
  (folder / "npz").mkdir()
  for split, n in (("train", 50), ("valid", 21), ("test", 10)):
    y = np.arange(n) % 2
    np.savez(
      folder / f"npz/{split}.npz",
      y=y,
      x_sound=y[:, None, None] + rng.normal(size=(n, 6, 2)),
      length_sound=rng.integers(1, 7, n),
      x_words=y[:, None] + rng.normal(size=(n, 3)),
    )
  dataset_files.prepare("npz", folder / "npz", folder / "prepared")


def _of(arrays, parallelism):
  return {
    name.removeprefix(parallelism): x for name, x in arrays.items()
    if name.startswith(parallelism)
  }  # fmt: skip


def test_devices_and_processes_change_nothing(tmp_path):
  """One device, four devices and two processes agree, with both mappings."""
  _prepare(tmp_path)
  one, four, two_by_two = (
    _runs(tmp_path, *where) for where in ((1, 1), (1, 4), (2, 2))
  )
  for arrays in (one, four, two_by_two):
    for case in (
      "pmap",
      "minmax",
      *(("experts", "stream") if arrays is not four else ()),
    ):
      actual, expected = _of(arrays, case), _of(one, case)
      assert actual.keys() == expected.keys()
      assert any("weights" in name for name in actual)
      for name in actual:
        if re.search("'key'.*'bias'", name):
          # Softmax ignores this bias, and Adam turns its rounding into steps.
          continue
        np.testing.assert_allclose(
          actual[name], expected[name], atol=1e-5, rtol=1e-5,
          err_msg=f"{case}{name}",
        )  # fmt: skip
    if arrays is not one:
      pmap, shard_map = _of(arrays, "pmap"), _of(arrays, "shard_map")
      assert pmap.keys() == shard_map.keys()
      for name in pmap:
        np.testing.assert_array_equal(shard_map[name], pmap[name])


def test_no_process_holds_all_weights():
  """Ten million rows are sharded over four processes of a gigabyte each."""
  reports = _start(memory_suite.worker, 10**7, count=4)
  for report in reports:
    assert report["taken"] < 10**9
    assert report["rows"] == report["rows of all"] // 4 >= 10**7 // 4
    np.testing.assert_allclose(report["sums"], 1.0, rtol=1e-5)
    # The informative modality has the largest weight on all processes.
    assert report["weights"] == reports[0]["weights"]
    assert report["weights"][0] > 2 * max(report["weights"][1:])
    assert report["loss"] == reports[0]["loss"]
    # Chance is .69 nats; the informative modality allows .35.
    assert 0.3 < report["loss"][1] < 0.5
