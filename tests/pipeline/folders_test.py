import subprocess
import sys

import pytest

from btw_jax import errors
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from support import environment


@pytest.mark.parametrize("path", ["gs://b/x", "hdfs://h/x", "s3:/b", "file:/x"])
def test_places_that_are_not_local_are_refused(path, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.InputError, match="^--workdir=.* is not a local p"):
    folders.make("workdir", path)
  with pytest.raises(errors.InputError, match="is not a local path"):
    files.write_text(f"{path}/a.txt", "")
  assert not list(tmp_path.iterdir())


def test_local_folders_are_made(tmp_path):
  for name in ("a", "b:c/d", "with [brackets]", "C:"):
    assert folders.make("workdir", tmp_path / name).is_dir()
  (tmp_path / "file").write_text("")
  with pytest.raises(errors.InputError, match=r"--workdir=.*file/x: cannot be"):
    folders.make("workdir", tmp_path / "file/x")


@pytest.mark.parametrize("sign", list("[]*?\\"))
def test_a_path_that_checkpoints_would_take_for_a_pattern_is_refused(
  sign, tmp_path, monkeypatch
):
  with pytest.raises(errors.InputError, match="has the sign"):
    folders.check_plain("workdir", tmp_path / f"a{sign}b" / "run")
  (tmp_path / f"a{sign}b").mkdir()
  monkeypatch.chdir(tmp_path / f"a{sign}b")
  with pytest.raises(errors.InputError, match="^--workdir=run: its full path"):
    folders.check_plain("workdir", "run")
  folders.check_plain("workdir", tmp_path / "a b=1,c.d")


_HOLD = """
import pathlib, sys
from btw_jax.pipeline import folders
lock = folders.Lock("workdir", pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.training
def test_a_lock_names_its_process_and_goes_with_it(tmp_path):
  other = subprocess.Popen(
    [sys.executable, "-c", _HOLD, tmp_path],
    env=environment.of_child(),
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
  )
  with other:
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(errors.InputError, match=f"process {other.pid} on .* w"):
      folders.Lock("workdir", tmp_path)
    other.kill()
  refused = pytest.raises(errors.InputError, match="choose another folder")
  with folders.Lock("workdir", tmp_path), refused:
    folders.Lock("workdir", tmp_path)
  assert not list(tmp_path.iterdir())
  folders.Lock("workdir", tmp_path).close()
