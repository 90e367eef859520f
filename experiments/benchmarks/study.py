"""Measures a study as one program against a process for each of its runs.

Each process trains one weighting with one seed. It trains its own unimodal
models and searches its own embedding scale, as with one call of
`experiments.train` per run. One seed is measured and its time is multiplied by
the number of seeds. The study also analyses its models and writes its report.
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
from experiments import flags as flags_lib

_RECIPE = pathlib.Path(__file__).parents[1] / "recipes/study_quick.flags"
# Processes that run at a time; the machines that this is meant for have as many
# cores.
_CORES = 2


def run(rounds: int, data_dir: str, workdir: str) -> list[dict[str, Any]]:
  """Measures the quick study once and returns the rows of the table.

  `rounds` is not used, because one round takes about half an hour. An empty
  `data_dir` leaves CMU-MOSI out; an empty `workdir` keeps no files.
  """
  del rounds
  arguments = [
    f"--flagfile={_RECIPE}",
    *([f"--data_dir={data_dir}"] * bool(data_dir)),
  ]
  planned, seeds = _plan(arguments)
  jobs = [job for run in planned for job in _jobs(run)]
  with tempfile.TemporaryDirectory() as folder:
    study = _seconds(
      [
        "experiments.study",
        *arguments,
        f"--workdir={workdir or folder + '/study'}",
      ]
    )
    separate = []
    for num_parallel in (1, _CORES):
      workdirs = [
        f"--workdir={folder}/{num_parallel}_{n}" for n in range(len(jobs))
      ]
      start = time.monotonic()
      with futures.ThreadPoolExecutor(num_parallel) as pool:
        list(pool.map(lambda a, b: _seconds([*a, b]), jobs, workdirs))
      separate.append(seeds * (time.monotonic() - start))
  count = f"{len(jobs)} x {seeds}"
  return [
    {
      "ratio of": f"{count} processes, {how} / the same runs as one study",
      "first, s": f"{first:.0f}",
      "second, s": f"{study:.0f}",
      "ratio": f"{first / study:.1f}",
      "target": target,
    }
    for how, first, target in (
      ("one at a time", separate[0], "at least 8"),
      ("two at a time", separate[1], ""),
    )
  ]


def _plan(arguments):
  """Returns the planned runs of the study and their number of seeds."""
  values = flags.FlagValues()
  flags_lib.define(values, without=study_grid.REPLACED)
  flags.DEFINE_list("recipes", [], "as in the study", flag_values=values)
  values([__name__, *arguments])
  recipes = flags_lib.read_recipes(
    values.recipes, values, without=study_grid.REPLACED
  )
  planned, _ = study_grid.plan_runs(recipes, [], [])
  return planned, values.num_seeds


def _jobs(planned_run):
  """Returns a command per weighting, each for the first seed of a run."""
  shared = ["--num_seeds=1"]
  values = flags.FlagValues()
  flags_lib.define(values)
  for name, value in config_lib.to_dict(planned_run.config).items():
    if name in ("weighting", "num_seeds", "workdir"):
      continue
    values[name].value = value
    shared.append(values[name].serialize())
  return [
    ["experiments.train", *filter(None, shared), f"--weighting={name}"]
    for name in planned_run.config.weighting.names
  ]


def _seconds(command):
  start = time.monotonic()
  subprocess.run(
    [sys.executable, "-m", *command], check=True, capture_output=True
  )
  return time.monotonic() - start
