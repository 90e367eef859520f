"""Runs a function in new processes, alone or as one multi-process program."""

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


def simulate_devices(
  environment: Mapping[str, str], num_devices: int
) -> dict[str, str]:
  """Returns a copy of an environment that gives JAX several CPU devices."""
  xla_flags = environment.get("XLA_FLAGS", "")
  flag = f"--xla_force_host_platform_device_count={num_devices}"
  return {**environment, "XLA_FLAGS": f"{xla_flags} {flag}"}


def run(
  function: Callable[..., Any],
  *arguments: Any,
  count: int = 1,
  num_devices: int = 1,
  environment: Mapping[str, str] | None = None,
  popen: Callable[..., subprocess.Popen] = subprocess.Popen,
) -> list[Any]:
  """Runs a function in new processes until all of them end.

  Args:
    function: a function of an importable module that returns JSON data.
    *arguments: arguments that `repr` writes as Python code. Several processes
      receive the arguments of `cluster.initialize` after them.
    count: number of processes.
    num_devices: number of simulated CPU devices of each process.
    environment: environment of the processes; by default that of this process.
    popen: starts a process.

  Returns:
    The return value of each process.

  Raises:
    RuntimeError: if a process fails, with its stderr.
    subprocess.TimeoutExpired: if a process hangs.
  """
  environment = simulate_devices(environment or os.environ, num_devices)
  module, name = function.__module__, function.__name__
  address, started = cluster.free_address(), []
  for number in range(count):
    membership = (address, count, number) if count > 1 else ()
    code = (
      f"import json; from {module} import {name} as f;"
      f" print(json.dumps(f(*{(*arguments, *membership)!r})))"
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
    ended = [process.communicate(timeout=_TIMEOUT) for process in started]
  finally:
    for process in started:
      process.kill()
  for process, (_, errors) in zip(started, ended, strict=True):
    if process.returncode:
      raise RuntimeError(
        f"{module}.{name} ended with status {process.returncode}: {errors}"
      )
  # Only the last line is the result: libraries may print before it.
  return [json.loads(printed.splitlines()[-1]) for printed, _ in ended]
