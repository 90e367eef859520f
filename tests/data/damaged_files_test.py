"""Damaged files of every format are read right, or refused in one line."""

from collections.abc import Callable
import contextlib
import functools
import pathlib
import pickle
import traceback
from typing import NamedTuple
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
import scipy.io

from btw_jax import errors
from btw_jax.data.answers import catalog as answers
from btw_jax.data.answers import read_options
from support import answer_files
from support import dataset_files
from support import file_mutants
from support import written_files

_NUM_MUTANTS = 300


class Format(NamedTuple):
  """A format of files.

  Attributes:
    write: writes files to a folder, and returns what `read` needs.
    read: reads a folder, and returns the number of rows of each split.
  """

  write: Callable[[pathlib.Path], object]
  read: Callable[[pathlib.Path, object], dict[str, int]]


def _dataset(write, name, **options):
  def read(folder, _):
    dataset = dataset_files.load(name, folder, **options)
    for examples in dataset.splits.values():
      for modality, x in examples.features.items():
        assert np.isfinite(x).all(), f"{modality} is not finite"
    return {split: len(e) for split, e in dataset.splits.items()}

  return Format(write, read)


def _answers(name):
  def read(_, text):
    held = answers.read(answers.parse(text), read_options.ReadOptions(name))
    # Questions that one file lacks are left out, and a note says so.
    left_out = any("left out" in note for note in held.notes)
    return {"": len(held), "left out": left_out}

  def write(folder):
    world = answer_files.make_world()
    return answer_files.WRITERS[name](folder, world)

  return Format(write, read)


def _write_npz(folder):
  dataset_files.write_npz(folder / "data", missing=0.3)
  for path in (folder / "data").iterdir():
    path.rename(folder / path.name)
  (folder / "data").rmdir()


def _write_mat(folder):
  for split, n in written_files.SIZES.items():
    rng = np.random.default_rng(n)
    y = np.arange(n) % 3 + 1.0
    views = np.empty((1, 2), object)
    for view, width in enumerate((4, 3)):
      views[0, view] = y[:, None] + rng.normal(size=(n, width))
    content = {"X": views, "Y": y[:, None]}
    scipy.io.savemat(folder / f"{split}.mat", content)


def _write_mogonet(folder):
  rng = np.random.default_rng(0)
  for split, n in (("tr", 30), ("te", 12)):
    y = np.arange(n) % 2
    np.savetxt(folder / f"labels_{split}.csv", y, delimiter=",")
    for number in (1, 2):
      x = y[:, None] + rng.normal(size=(n, 2 + number))
      np.savetxt(folder / f"{number}_{split}.csv", x, delimiter=",")


def _write_tables(folder, writer, suffix):
  written_files.tables(folder, writer, suffix=suffix)


_CSV = written_files.csv()
_TSV = written_files.csv(sep="\t")
_PARQUET = functools.partial(pd.DataFrame.to_parquet, index=False)
FORMATS = {
  "npz": _dataset(_write_npz, "npz"),
  **{
    suffix: _dataset(
      functools.partial(_write_tables, writer=writer, suffix=f".{suffix}"), name
    )
    for suffix, writer, name in (
      ("csv", _CSV, "csv"), ("tsv", _TSV, "csv"), ("csv.gz", _CSV, "csv"),
      ("parquet", _PARQUET, "parquet"),
    )
  },
  "mat": _dataset(_write_mat, "mat"),
  "mogonet": _dataset(_write_mogonet, "mogonet"),
  "mmsa": _dataset(
    functools.partial(dataset_files.mmsa, aligned=False), "mmsa_mosi"
  ),
  "multibench": _dataset(dataset_files.multibench, "multibench_mosi"),
  "mmim": _dataset(dataset_files.mmim, "mmim_mosi"),
  "mimic": _dataset(
    functools.partial(dataset_files.mimic, task="los", missing=True),
    "mimic_los_missing",
  ),
  **{f"answers {name}": _answers(name) for name in answers.FORMATS},
}  # fmt: skip


def _misreading(name, case, folder, expected, target, before):
  """Returns what is wrong with the reading of a damaged file, or nothing."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      actual = case.read(folder, target)
  except errors.InputError as error:
    return "" if "\n" not in str(error) else f"several lines: {error}"
  except Exception:  # What a user would see as a traceback.
    return traceback.format_exc(limit=-3)
  if actual in (before, before | expected) or actual.get("left out"):
    return ""
  return f"{actual} in place of {before | expected}"


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_read_right_or_refused(name, tmp_path):
  case, folder = FORMATS[name], tmp_path / "data"
  folder.mkdir()
  target = case.write(folder)
  before = case.read(folder, target)
  files = sorted(path for path in folder.rglob("*") if path.is_file())
  wrong = []
  for number in range(_NUM_MUTANTS):
    rng = np.random.default_rng([zlib.crc32(name.encode()), number])
    kind = file_mutants.KINDS[number % len(file_mutants.KINDS)]
    path = files[rng.integers(len(files))]
    content = path.read_bytes()
    file_mutants.mutate(path, kind, rng)
    expected = _expected(name, path, kind, before)
    problem = _misreading(name, case, folder, expected, target, before)
    if problem:
      wrong.append(f"{number}, {kind} {path.name}: {problem}")
    path.write_bytes(content)
  assert not wrong, f"{len(wrong)} of {_NUM_MUTANTS}:\n" + "\n".join(wrong[:20])


def _expected(name, path, kind, before):
  """Returns the numbers of rows that a changed file has."""
  if name in ("csv", "tsv", "csv.gz"):
    number = file_mutants.num_rows(path)
    split = next(s for s in before if s in path.name)
    return {} if number is None else {split: number}
  if name in ("mmsa", "multibench") and kind == "reorder":
    # The splits may have changed places.
    content = pickle.loads(path.read_bytes())
    with contextlib.suppress(TypeError, KeyError, IndexError):
      return {split: np.shape(content[split]["audio"])[0] for split in before}
  return {}
