"""A study as one program, against a process for every run of it.

Each process trains one weighting with one seed, its own unimodal models and its
own search for an embedding scale included, as somebody would who starts
`experiments.train` for each. They are measured for one seed, and count as often
as there are seeds. The study also analyses its models and writes its report.
"""

from concurrent import futures
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import study_grid

_RECIPE = pathlib.Path(__file__).parents[1] / "recipes/study_quick.flags"
# Of the machines that this is to run on.
_CORES = 2


def run(rounds: int, data_dir: str, workdir: str) -> list[dict[str, Any]]:
  """Measures the quick study once; it takes long enough.

  Args:
    rounds: not used.
    data_dir: folder of CMU-MOSI, or empty to leave it out.
    workdir: where the study is left; nowhere if empty.

  Returns:
    Rows of the table.
  """
  del rounds
  own = [
    f"--flagfile={_RECIPE}",
    *([f"--data_dir={data_dir}"] * bool(data_dir)),
  ]
  cells, seeds = _cells(own)
  jobs = [job for cell in cells for job in _jobs(cell)]
  with tempfile.TemporaryDirectory() as folder:
    study = _seconds(
      ["experiments.study", *own, f"--workdir={workdir or folder + '/study'}"]
    )
    found = []
    for at_once in (1, _CORES):
      workdirs = [f"--workdir={folder}/{at_once}_{n}" for n in range(len(jobs))]
      start = time.monotonic()
      with futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda a, b: _seconds([*a, b]), jobs, workdirs))
      found.append(seeds * (time.monotonic() - start))
  what = f"{len(jobs)} x {seeds} processes"
  return [
    {
      "ratio of": f"{what}, {how} / the same as one study",
      "first, s": f"{first:.0f}",
      "second, s": f"{study:.0f}",
      "ratio": f"{first / study:.1f}",
      "target": target,
    }
    for how, first, target in (
      ("one after another", found[0], "at least 8"),
      ("two at a time", found[1], ""),
    )
  ]


def _cells(arguments):
  """Runs of the study, and how many seeds each has."""
  given = flags.FlagValues()
  config_lib.define_flags(given, without=study_grid.REPLACED)
  flags.DEFINE_list("recipes", [], "as in the study", flag_values=given)
  given([__name__, *arguments])
  cells, _ = study_grid.cells(given.recipes, [], [], given)
  return cells, given.num_seeds


def _jobs(cell):
  """What would be started for the first seed of a run."""
  shared = ["--num_seeds=1"]
  values = flags.FlagValues()
  config_lib.define_flags(values)
  for name, value in config_lib.to_dict(cell.config).items():
    if name in ("weighting", "num_seeds", "workdir"):
      continue
    values[name].value = value
    shared.append(values[name].serialize())
  return [
    ["experiments.train", *filter(None, shared), f"--weighting={name}"]
    for name in cell.config.weighting
  ]


def _seconds(command):
  start = time.monotonic()
  subprocess.run(
    [sys.executable, "-m", *command], check=True, capture_output=True
  )
  return time.monotonic() - start
