import subprocess
import sys

import pytest

from btw_jax import errors
from btw_jax.data import catalog
from support import environment

HEAVY = (
  "jax", "flax", "sklearn", "scipy", "pandas", "pyarrow", "tensorflow_datasets",
  "array_record", "grain", "matplotlib", "orbax",
)  # fmt: skip


def _heavy_modules(code):
  """Returns the heavy modules that a child process has loaded after `code`."""
  code += f"; import sys; print(*[m for m in {HEAVY} if m in sys.modules])"
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=environment.ROOT, env=environment.of_child(), capture_output=True,
    text=True, check=True,
  )  # fmt: skip
  return done.stdout.split()


@pytest.mark.training
def test_importing_the_catalog_loads_no_heavy_library():
  assert _heavy_modules("import btw_jax.data.catalog") == []
  # The check sees a library that is loaded.
  assert "sklearn" in _heavy_modules("import btw_jax.data.sources.digits")


@pytest.mark.training
def test_finding_a_loader_loads_no_heavy_library():
  code = "from btw_jax.data import catalog; catalog.find('tfds:x')"
  assert _heavy_modules(code) == []


def test_every_loader_that_reads_files_needs_a_folder():
  assert catalog.find("tfds:x").reads
  for name, loader in catalog.SOURCES.items():
    if loader.reads:
      with pytest.raises(errors.InputError, match=f"--dataset={name} reads"):
        catalog.read(name, catalog.Options())
