"""Where the project and its real data lie, and what child processes need."""

import os
import pathlib

ROOT = pathlib.Path(__file__).parents[2]
MOSI = pathlib.Path(
  os.environ.get("MOSI_DIR", ROOT.parent / "shared/data/mosi_utterance")
)
# Loops as they are written, no product fused with the sum after it: programs
# that compute the same then agree to the last bit. They compile in half the
# time, and by XLA's older way to emit them in half of that.
AS_WRITTEN = (
  "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX"
  " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)


def of_child() -> dict[str, str]:
  """Returns what a child process needs to find the project."""
  kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return {**kept, "PYTHONPATH": str(ROOT)}
