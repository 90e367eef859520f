"""One thread per test process, and where the real data lies."""

import gc
import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest

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

# Tracing makes many small objects: looking for cycles among them took a
# twentieth of the time.
gc.freeze()
gc.set_threshold(50_000, 20, 20)

ROOT = pathlib.Path(__file__).parent.parent
MOSI = pathlib.Path(
  os.environ.get("MOSI_DIR", ROOT.parent / "shared/data/mosi_utterance")
)


# Those that take longest begin.
_FIRST = (
  "end_to_end", "survival", "devices", "training", "mixture_training", "knn",
  "streamed_training", "reported", "estimators", "sequences", "pid",
  "importance", "experts", "records",
)  # fmt: skip


def pytest_configure(config):
  """A file stays in one process, which compiles once what its tests share."""
  if config.pluginmanager.has_plugin("xdist"):
    config.option.dist = "loadfile" if config.option.numprocesses else "no"
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
  """Orders files by `_FIRST`."""
  order = {f"{name}_test": place for place, name in enumerate(_FIRST)}
  items.sort(key=lambda item: order.get(item.module.__name__, len(order)))


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
