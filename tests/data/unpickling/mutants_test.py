import pickle
import sys
import tracemalloc

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import pickles
from btw_jax.data.unpickling import stream
from support import pickle_mutants

# Memory that a small file may take: the buffers of the reader, and modules.
_CONSTANT = 2**21
_PLAIN = (
  bool, int, float, complex, str, bytes, bytearray, type(None), slice, range,
  np.generic, np.ndarray, np.dtype,
)  # fmt: skip


@pytest.fixture
def calls():
  yield pickle_mutants.canary()
  del sys.modules[pickle_mutants.CANARY]


def _is_data(value):
  """Returns True for what the docstring of `pickles.load` promises."""
  if isinstance(value, dict):
    return all(map(_is_data, [*value, *value.values()]))
  if isinstance(value, (list, tuple, set, frozenset)):
    return all(map(_is_data, value))
  module = type(value).__module__.partition(".")[0]
  return isinstance(value, _PLAIN) or module == "pandas"


def _load(path):
  """Returns True for data, and False for an error of one line."""
  try:
    value = pickles.load(path)
  except errors.InputError as error:
    assert str(error).isprintable() and len(str(error)) < 400 + len(str(path))
    return False
  assert _is_data(value)
  return True


def _check(path, number, seed):
  """Returns how many of `number` damaged files held data."""
  before, num_data = pickle_mutants.state(), 0
  for code in pickle_mutants.mutants(number, seed):
    path.write_bytes(code)
    num_data += _load(path)
  assert pickle_mutants.state() == before
  return num_data


def test_realistic_files_are_read(tmp_path):
  for code in pickle_mutants.files():
    (tmp_path / "a.pkl").write_bytes(code)
    assert _load(tmp_path / "a.pkl")


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_are_data_or_one_line(tmp_path, calls, seed):
  num_data = _check(tmp_path / "a.pkl", 1000, seed)
  # Some damage is not noticed: a bit of a number, a name of a field.
  assert 0 < num_data < 500
  assert not calls


@pytest.mark.slow
def test_many_damaged_files_are_data_or_one_line(tmp_path, calls):
  _check(tmp_path / "a.pkl", 6_000, 9)
  assert not calls


def test_damaged_files_take_bounded_memory_and_steps(
  tmp_path, calls, monkeypatch
):
  steps, read = [0], stream.Stream.read

  def count(self, size):
    steps[0] += 1
    return read(self, size)

  # Each operation reads itself, and perhaps a length and an argument.
  monkeypatch.setattr(stream.Stream, "read", count)
  path = tmp_path / "a.pkl"
  path.write_bytes(pickle_mutants.files()[-1])
  _load(path)
  tracemalloc.start()
  try:
    for code in pickle_mutants.mutants(700, 5):
      path.write_bytes(code)
      steps[0] = 0
      before = tracemalloc.get_traced_memory()[0]
      tracemalloc.reset_peak()
      _load(path)
      taken = tracemalloc.get_traced_memory()[1] - before
      assert taken < 2 * len(code) + _CONSTANT
      assert steps[0] <= 2 * len(code)
  finally:
    tracemalloc.stop()
  assert not calls


def test_a_large_file_takes_its_size_in_memory(tmp_path):
  path = tmp_path / "a.pkl"
  x = np.ones(2**22)
  for protocol in (4, 5):
    path.write_bytes(pickle.dumps(x, protocol))
    tracemalloc.start()
    try:
      loaded = pickles.load(path)
      peak = tracemalloc.get_traced_memory()[1]
    finally:
      tracemalloc.stop()
    np.testing.assert_array_equal(loaded, x)
    assert loaded.flags.writeable
    assert peak < 1.1 * x.nbytes + _CONSTANT
