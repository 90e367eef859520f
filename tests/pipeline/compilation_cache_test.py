"""Compiled programs are kept from run to run."""

import os
import sys

import jax
import jax.numpy as jnp
import pytest

from btw_jax import errors
from btw_jax.pipeline import compilation_cache
from support import dataset_files
from support import environment
from support import programs

_RUN = (
  *programs.TINY, "--num_seeds=1", "--dataset=digits", "--weighting=uniform",
)  # fmt: skip


def _entries(folder):
  """Returns the compiled programs of a cache, without times of use."""
  return {path.name for path in folder.rglob("*-cache")}


@pytest.mark.slow
def test_only_the_first_run_compiles(tmp_path):
  cache, found = tmp_path / "cache", []
  for name in ("first", "second"):
    programs.run(
      "train", *_RUN, f"--workdir={tmp_path / name}",
      f"--compilation_cache={cache}",
    )  # fmt: skip
    found.append(_entries(cache))
  assert len(found[0]) > 5
  assert found[0] == found[1]
  first, second = (
    (tmp_path / name / "metrics.csv").read_text()
    for name in ("first", "second")
  )
  assert first == second
  # Without a cache nothing is kept.
  programs.run(
    "train", *_RUN, f"--workdir={tmp_path / 'third'}", "--num_epochs=4",
    "--batch_size=40", "--compilation_cache=",
  )  # fmt: skip
  assert _entries(cache) == found[0]


@pytest.mark.slow
def test_two_runs_at_once_share_a_cache(tmp_path):
  started = [
    programs.Forked(
      [
        sys.executable, "-m", "experiments.train", *_RUN,
        f"--workdir={tmp_path / name}",
        f"--compilation_cache={tmp_path / 'cache'}",
      ],
      env=environment.of_child() | {"XLA_FLAGS": environment.XLA_FLAGS},
    )
    for name in ("one", "two")
  ]  # fmt: skip
  for one in started:
    _, said = one.communicate()
    assert not one.returncode, said
    assert "Error" not in said
  one, two = (
    dataset_files.read_json(tmp_path / name / "results.json")["rows"]
    for name in ("one", "two")
  )
  assert one == two


def test_a_block_in_another_process_leaves_its_options_as_they_were(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  try:
    with compilation_cache.enabled(str(tmp_path / "cache")):
      assert jax.config.jax_compilation_cache_dir == str(tmp_path / "cache")
      jax.jit(lambda x: jnp.cos(x) * 17)(jnp.ones(5)).block_until_ready()
    assert jax.config.jax_compilation_cache_dir is None
    inside = _entries(tmp_path / "cache")
    assert inside
    jax.jit(lambda x: jnp.cos(x) * 18)(jnp.ones(5)).block_until_ready()
    assert _entries(tmp_path / "cache") == inside
    with compilation_cache.enabled(""):
      assert jax.config.jax_compilation_cache_dir is None
  finally:
    compilation_cache._configure({"jax_compilation_cache_dir": before})


def test_a_cache_that_is_in_use_stays(tmp_path):
  before = jax.config.jax_compilation_cache_dir
  assert before
  with compilation_cache.enabled(str(tmp_path)):
    assert jax.config.jax_compilation_cache_dir == before


def test_the_default_is_the_cache_of_the_user(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  folder = compilation_cache.default_folder()
  assert folder.parent == tmp_path / "btw_jax"
  assert folder == compilation_cache.default_folder()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.InputError, match="--compilation_cache=.*file/x"):
    compilation_cache.enable(str(tmp_path / "file/x"))


def test_a_home_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
  (tmp_path / "file").write_text("")
  code = f"""
import os
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
os.environ["XDG_CACHE_HOME"] = {os.fspath(tmp_path / "file")!r}
from btw_jax.pipeline import compilation_cache
compilation_cache.enable()
import jax
print(jax.config.jax_compilation_cache_dir or None)
"""
  assert environment.run_code(code).stdout.split() == ["None"]
