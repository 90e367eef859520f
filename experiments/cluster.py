"""Several processes as one program, each with the devices of its machine."""

import os
import socket
import sys
from typing import Any

from absl import flags
from absl import logging

from btw_jax import errors

# Cluster -> JAX's name of the way it finds the other processes.
_DETECTION = {"slurm": "slurm", "mpi": "mpi4py", "tpu": None}
CLUSTERS = ("none", "env", *_DETECTION)
# The environment variables that `--cluster=env` reads.
ADDRESS, COUNT, NUMBER = (
  "BTW_JAX_COORDINATOR", "BTW_JAX_NUM_PROCESSES", "BTW_JAX_PROCESS_ID"
)  # fmt: skip

_CLUSTER = flags.DEFINE_enum(
  "cluster",
  "none",
  CLUSTERS,
  f"how processes find each other: none for one process; env for {ADDRESS},"
  f" {COUNT} and {NUMBER}; or a scheduler",
)
_TIMEOUT = flags.DEFINE_integer(
  "cluster_timeout", 300, "seconds to wait for the other processes", 1
)
_HEARTBEAT = flags.DEFINE_integer(
  "heartbeat",
  30,
  "seconds of silence after which a process counts as lost and the others end",
  10,
)

GROUP = {"Cluster": ["cluster", "cluster_timeout", "heartbeat"]}


def join() -> None:
  """Joins the other processes, if there are any, before JAX is used.

  All processes but the first print and log nothing from then on but warnings.

  Raises:
    InputError: if an environment variable is wrong, or no process answers.
  """
  name = _CLUSTER.value
  if name == "none":
    return
  import jax

  settings = {}
  if name == "env":
    settings = {
      "coordinator_address": _variable(ADDRESS),
      "num_processes": _number(COUNT),
      "process_id": _number(NUMBER),
    }
  elif _DETECTION[name]:
    settings = {"cluster_detection_method": _DETECTION[name]}
  try:
    initialize(
      **settings,
      initialization_timeout=_TIMEOUT.value,
      heartbeat_timeout_seconds=_HEARTBEAT.value,
    )
  except (KeyError, ImportError) as error:
    lack = getattr(error, "name", error.args[0])
    raise errors.InputError(
      f"--cluster={name}: {lack} is missing: start all processes by {name}, or"
      " leave it out."
    ) from error
  except (RuntimeError, ValueError) as error:
    reason = str(error).splitlines()[0]
    raise errors.InputError(
      f"--cluster={name}: no other processes found within"
      f" {_TIMEOUT.value} s ({reason}): start all of them, or leave it out."
    ) from error
  logging.info(
    "process %d of %d, %d of %d devices",
    jax.process_index(),
    jax.process_count(),
    jax.local_device_count(),
    jax.device_count(),
  )
  if jax.process_index():
    logging.set_verbosity(logging.WARNING)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def initialize(*args: Any, **settings: Any) -> None:
  """Calls `jax.distributed.initialize`, for processes on CPUs too."""
  import jax

  # Only CPUs need it; accelerators bring collectives of their own.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(*args, **settings)


def free_address() -> str:
  """Returns an unused address on this machine, for processes to meet."""
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return f"localhost:{probe.getsockname()[1]}"


def _variable(name):
  value = os.environ.get(name)
  if not value:
    raise errors.InputError(
      f"--cluster=env: {name} is not set: set it for every process."
    )
  return value


def _number(name):
  value = _variable(name)
  if not value.isdecimal():
    raise errors.InputError(
      f"--cluster=env: {name}={value} is not a number: give one from 0 on."
    )
  return int(value)
