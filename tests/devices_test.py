"""The same training on any number of devices and processes."""

import json
import re
import subprocess
import sys

import conftest
import files
import numpy as np

from experiments import cluster


def _runs(folder, num_processes, num_devices):
  """What `spread_runs` leaves, array by array."""
  output = folder / f"{num_processes}x{num_devices}.npz"
  arguments = "spread_runs", output, folder / "prepared"
  _end(_start(num_processes, num_devices, *arguments))
  with np.load(output) as found:
    assert found["devices"] == num_processes * num_devices
    return dict(found)


def _start(num_processes, num_devices, program, *arguments):
  """Programs that meet, each with as many devices."""
  process = ()
  if num_processes > 1:
    process = (cluster.free_address(), str(num_processes))
  return [
    subprocess.Popen(
      [
        sys.executable,
        conftest.ROOT / f"tests/{program}.py",
        *map(str, arguments),
        *process,
        *([str(number)] if process else []),
      ],
      env={
        **conftest.environment(),
        "XLA_FLAGS": f"{conftest.AS_WRITTEN}"
        f" --xla_force_host_platform_device_count={num_devices}",
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for number in range(num_processes)
  ]


def _end(started):
  """What each of them prints."""
  printed = []
  for one in started:
    text, errors = one.communicate(timeout=300)
    assert one.returncode == 0, errors
    printed.append(text)
  return printed


def _prepare(folder):
  """Sequences of many lengths, as records."""
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
  files.prepare("npz", folder / "npz", folder / "prepared")


def _of(found, parallelism):
  return {
    name.removeprefix(parallelism): x for name, x in found.items()
    if name.startswith(parallelism)
  }  # fmt: skip


def test_devices_and_processes_change_nothing(tmp_path):
  """Of one device, of four, of two processes with two each; either way."""
  _prepare(tmp_path)
  one, four, two_by_two = (
    _runs(tmp_path, *where) for where in ((1, 1), (1, 4), (2, 2))
  )
  for found in (one, four, two_by_two):
    for case in ("pmap", "experts") + ("stream",) * (found is not four):
      own, expected = _of(found, case), _of(one, case)
      assert own.keys() == expected.keys()
      assert any("weights" in name for name in own)
      for name in own:
        if re.search("'key'.*'bias'", name):
          # Softmax is blind to it: Adam makes steps of the rounding.
          continue
        np.testing.assert_allclose(
          own[name], expected[name], atol=1e-5, rtol=1e-5,
          err_msg=f"{case}{name}",
        )  # fmt: skip
    pmap, shard_map = _of(found, "pmap"), _of(found, "shard_map")
    assert pmap.keys() == shard_map.keys()
    for name in pmap:
      np.testing.assert_array_equal(shard_map[name], pmap[name])


def test_no_process_holds_all_weights():
  """Ten million rows over four processes, a gigabyte each."""
  each = [
    json.loads(text.splitlines()[-1])
    for text in _end(_start(4, 1, "large_table", 10**7))
  ]
  for found in each:
    assert found["bytes"] < 10**9
    assert found["rows"] == found["rows of all"] // 4 >= 10**7 // 4
    np.testing.assert_allclose(found["sums"], 1.0, rtol=1e-5)
    # The modality that tells the label weighs most, everywhere the same.
    assert found["weights"] == each[0]["weights"]
    assert found["weights"][0] > 2 * max(found["weights"][1:])
    assert found["loss"] == each[0]["loss"]
    # Chance is .69 nats; the label can be told to .35 from its modality.
    assert 0.3 < found["loss"][1] < 0.5
