"""Functions run in processes of their own, which may meet as one program."""

from collections.abc import Callable, Mapping
import os
import pathlib
import subprocess
import sys
from typing import Any

from experiments import cluster

_ROOT = pathlib.Path(__file__).parent.parent


def run(
  function: Callable[..., None],
  *arguments: Any,
  count: int = 1,
  num_devices: int = 1,
  environment: Mapping[str, str] | None = None,
) -> list[str]:
  """Runs a function to its end.

  Args:
    function: of a module that can be imported.
    *arguments: that `repr` can write; of several processes each gets after
      them what `cluster.meet` needs.
    count: of processes.
    num_devices: simulated in each.
    environment: of the processes; this one's by default.

  Returns:
    What each printed.

  Raises:
    RuntimeError: with what it wrote to stderr, if one fails.
  """
  environment = dict(environment or os.environ)
  given = environment.get("XLA_FLAGS", "")
  environment["XLA_FLAGS"] = (
    f"{given} --xla_force_host_platform_device_count={num_devices}"
  )
  module, name = function.__module__, function.__name__
  address, started = cluster.free_address(), []
  for number in range(count):
    others = (address, count, number) if count > 1 else ()
    code = f"from {module} import {name} as f; f(*{(*arguments, *others)!r})"
    started.append(
      subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
      )
    )
  ended = [one.communicate() for one in started]
  for one, (_, errors) in zip(started, ended, strict=True):
    if one.returncode:
      raise RuntimeError(
        f"{module}.{name} ended with {one.returncode}: {errors}"
      )
  return [printed for printed, _ in ended]
