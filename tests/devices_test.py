"""The same training on any number of devices and processes."""

import socket
import subprocess
import sys

import conftest
import numpy as np


def free_address():
  """A place for the processes of a test to meet."""
  with socket.socket() as found:
    found.bind(("localhost", 0))
    return f"localhost:{found.getsockname()[1]}"


def _runs(folder, num_processes, num_devices):
  """What `spread_runs` leaves, array by array."""
  output = folder / f"{num_processes}x{num_devices}.npz"
  process = ()
  if num_processes > 1:
    process = (free_address(), str(num_processes))
  started = [
    subprocess.Popen(
      [
        sys.executable,
        conftest.ROOT / "tests/spread_runs.py",
        output,
        *process,
        *([str(number)] if process else []),
      ],
      env={
        **conftest.environment(),
        "XLA_FLAGS": f"{conftest.AS_WRITTEN}"
        f" --xla_force_host_platform_device_count={num_devices}",
      },
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(num_processes)
  ]
  for one in started:
    _, errors = one.communicate(timeout=300)
    assert one.returncode == 0, errors
  with np.load(output) as found:
    assert found["devices"] == num_processes * num_devices
    return dict(found)


def _of(found, parallelism):
  return {
    name.removeprefix(parallelism): x for name, x in found.items()
    if name.startswith(parallelism)
  }  # fmt: skip


def test_devices_and_processes_change_nothing(tmp_path):
  """Of one device, of four, of two processes with two each; either way."""
  one, four, two_by_two = (
    _runs(tmp_path, *where) for where in ((1, 1), (1, 4), (2, 2))
  )
  expected = _of(one, "pmap")
  assert any("weights" in name for name in expected)
  for found in (one, four, two_by_two):
    pmap, shard_map = _of(found, "pmap"), _of(found, "shard_map")
    assert pmap.keys() == shard_map.keys() == expected.keys()
    for name in expected:
      np.testing.assert_allclose(
        pmap[name], expected[name], atol=1e-5, rtol=1e-5, err_msg=name
      )
      np.testing.assert_array_equal(shard_map[name], pmap[name])
