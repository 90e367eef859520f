"""One thread per test process, and where the real data lies."""

import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest
from xdist import scheduler

# The same examples every time, and no clock: machines are shared.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Loops as they are written, no product fused with the sum after it: programs
# that compute the same then agree to the last bit. They compile in half the
# time, and by XLA's older way to emit them in half of that.
AS_WRITTEN = (
  "--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX"
  " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)
os.environ.setdefault("XLA_FLAGS", AS_WRITTEN)

# Tests and the programs that they start compile each program once. The first
# process makes the folder, those it starts inherit its name.
if "BTW_JAX_TEST_CACHE" not in os.environ:
  os.environ["BTW_JAX_TEST_CACHE"] = tempfile.mkdtemp(prefix="btw_jax_")
_CACHE = os.environ["BTW_JAX_TEST_CACHE"]
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"

# Read from the environment above.
import jax  # noqa: E402

ROOT = pathlib.Path(__file__).parent.parent
MOSI = pathlib.Path(
  os.environ.get("MOSI_DIR", ROOT.parent / "shared/data/mosi_utterance")
)


# Files whose tests share runs that take long to make.
_WHOLE = ("end_to_end_test.py", "survival_test.py", "reported_test.py")


class _Scheduling(scheduler.LoadScopeScheduling):
  """One process for all tests of some files; the others in any."""

  def _split_scope(self, nodeid):
    name = nodeid.partition("::")[0]
    return name if name.endswith(_WHOLE) else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """Files that stay whole begin, since they hold the most tests."""
  return _Scheduling(config, log)


@pytest.fixture(autouse=True, scope="module")
def _free_compiled_programs():
  """Each maps memory, and a process may map only so many pieces of it."""
  yield
  jax.clear_caches()


@pytest.fixture
def mosi() -> pathlib.Path:
  """The folder of the CMU-MOSI utterance features, or a skip."""
  if not (MOSI / "npz/train.npz").exists():
    pytest.skip(f"{MOSI} is not there: set MOSI_DIR to the CMU-MOSI features")
  return MOSI


def environment() -> dict[str, str]:
  """What a child process needs to find the project."""
  kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  return {**kept, "PYTHONPATH": str(ROOT)}


def pytest_sessionfinish(session):
  """The process that made the cache removes it."""
  if not hasattr(session.config, "workerinput"):
    shutil.rmtree(_CACHE, ignore_errors=True)
