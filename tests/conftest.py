"""The environment of the test processes, the file order and real data."""

import gc
import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest

from support import environment

# The same examples every time, and no clock: machines are shared.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", environment.XLA_FLAGS)

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

# The files that take longest start first.
_FIRST = (
  "experiments/main_job", "experiments/train", "parallel/devices",
  "training/mixture_training", "experiments/survival", "pipeline/api",
  "experiments/predict", "experiments/tutorial", "install", "training/epoch",
  "mutual_information/knn", "training/streaming", "models/fusion",
  "analysis/pid", "experiments/reported", "models/sequences", "models/experts",
  "divergences", "mutual_information/estimators", "analysis/importance",
  "weighting",
)  # fmt: skip


def pytest_configure(config):
  """Keeps each file in one process, so that its tests share compilations."""
  if config.pluginmanager.has_plugin("xdist"):
    config.option.dist = "loadfile" if config.option.numprocesses else "no"
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
  """Orders files by `_FIRST`."""
  tests = pathlib.Path(__file__).parent
  order = {
    tests / f"{name}_test.py": place for place, name in enumerate(_FIRST)
  }
  items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(autouse=True, scope="module")
def _free_compiled_programs():
  """Clears compiled programs, because a process may map only limited memory."""
  yield
  jax.clear_caches()


@pytest.fixture
def mosi() -> pathlib.Path:
  """Returns the folder of the CMU-MOSI features, or skips the test."""
  if not (environment.MOSI / "npz/train.npz").exists():
    pytest.skip(
      f"{environment.MOSI} is not there: set MOSI_DIR to the CMU-MOSI features"
    )
  return environment.MOSI


def pytest_sessionfinish(session):
  """Removes the cache in the process that made it."""
  if not hasattr(session.config, "workerinput"):
    shutil.rmtree(_CACHE, ignore_errors=True)
