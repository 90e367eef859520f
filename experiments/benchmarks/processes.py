"""Functions run in processes of their own, which may meet as one program."""

from collections.abc import Callable, Mapping
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

from experiments import cluster

_ROOT = pathlib.Path(__file__).parents[2]
# Seconds after which a process counts as hanging.
_TIMEOUT = 300


def simulating(
  environment: Mapping[str, str], num_devices: int
) -> dict[str, str]:
  """An environment in which a process has several devices.

  Args:
    environment: of it.
    num_devices: to simulate.

  Returns:
    A copy.
  """
  given = environment.get("XLA_FLAGS", "")
  flag = f"--xla_force_host_platform_device_count={num_devices}"
  return {**environment, "XLA_FLAGS": f"{given} {flag}"}


def run(
  function: Callable[..., Any],
  *arguments: Any,
  count: int = 1,
  num_devices: int = 1,
  environment: Mapping[str, str] | None = None,
  popen: Callable[..., subprocess.Popen] = subprocess.Popen,
) -> list[Any]:
  """Runs a function to its end.

  Args:
    function: of a module that can be imported; returns what JSON can hold.
    *arguments: that `repr` can write; of several processes each gets after
      them what `cluster.initialize` needs.
    count: of processes.
    num_devices: simulated in each.
    environment: of the processes; this one's by default.
    popen: starts a process.

  Returns:
    What it returns in each.

  Raises:
    RuntimeError: with what it wrote to stderr, if one fails.
    subprocess.TimeoutExpired: if one hangs.
  """
  environment = simulating(environment or os.environ, num_devices)
  module, name = function.__module__, function.__name__
  address, started = cluster.free_address(), []
  for number in range(count):
    others = (address, count, number) if count > 1 else ()
    code = (
      f"import json; from {module} import {name} as f;"
      f" print(json.dumps(f(*{(*arguments, *others)!r})))"
    )
    started.append(
      popen(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
    )
  try:
    ended = [one.communicate(timeout=_TIMEOUT) for one in started]
  finally:
    for one in started:
      one.kill()
  for one, (_, errors) in zip(started, ended, strict=True):
    if one.returncode:
      raise RuntimeError(
        f"{module}.{name} ended with {one.returncode}: {errors}"
      )
  # Libraries may print before it.
  return [json.loads(printed.splitlines()[-1]) for printed, _ in ended]
