"""The paths of the project and its data, and the child environment."""

import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
MOSI = pathlib.Path(
  os.environ.get("MOSI_DIR", ROOT.parent / "shared/data/mosi_utterance")
)
# XLA emits the loops as they are written and fuses no product with the sum
# after it, so that programs that compute the same agree to the last bit. They
# compile in half the time; the older emitter halves it again.
XLA_FLAGS = (
  "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX"
  " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)


def of_child() -> dict[str, str]:
  """Returns the variables a child process needs to find the project."""
  kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return {**kept, "PYTHONPATH": str(ROOT)}


def run_code(code: str) -> subprocess.CompletedProcess:
  """Runs code in a Python process that has imported nothing yet."""
  return subprocess.run(
    [sys.executable, "-c", code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
