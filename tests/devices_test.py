"""The same training on any number of devices and processes."""

import re
import socket
import subprocess
import sys

import conftest
import numpy as np
import pytest

CASES = ("digits_pmap", "digits_shard_map", "mixture")


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


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Of one device, of four, and of two processes with two each."""
  folder = tmp_path_factory.mktemp("devices")
  return {where: _runs(folder, *where) for where in ((1, 1), (1, 4), (2, 2))}


def _of(found, case):
  return {
    name.removeprefix(case): x for name, x in found.items()
    if name.startswith(case)
  }  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("where", [(1, 4), (2, 2)])
def test_devices_and_processes_change_nothing(runs, where, case):
  one, many = _of(runs[1, 1], case), _of(runs[where], case)
  assert one.keys() == many.keys()
  assert any(re.search("weights", name) for name in one)
  for name in one:
    np.testing.assert_allclose(
      many[name], one[name], atol=1e-5, rtol=1e-5, err_msg=name
    )


def test_pmap_and_shard_map_agree_to_the_last_bit(runs):
  for found in runs.values():
    pairs = _of(found, "digits_pmap"), _of(found, "digits_shard_map")
    for name in pairs[0]:
      np.testing.assert_array_equal(*(pair[name] for pair in pairs))
