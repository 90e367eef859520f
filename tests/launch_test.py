"""The tests read the commands of the launch scripts and start nothing."""

import os
import re
import shlex
import subprocess

import pytest

from support import environment

SCRIPTS = sorted((environment.ROOT / "launch").glob("*.sh"))


def _dry(script, *arguments, **variables):
  done = subprocess.run(
    ["bash", environment.ROOT / "launch" / script, *arguments],
    env={**os.environ, "DRY_RUN": "1", **variables},
    capture_output=True,
    text=True,
    check=True,
  )
  return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_clean(path):
  done = subprocess.run(
    ["shellcheck", "--external-sources", path],
    cwd=environment.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout == ""
  assert done.returncode == 0


def test_a_local_cluster_starts_numbered_processes():
  lines = _dry("local_cluster.sh", "2", "--num_seeds=3", PORT="999")
  assert lines == [
    [
      "BTW_JAX_COORDINATOR=localhost:999", "BTW_JAX_NUM_PROCESSES=2",
      f"BTW_JAX_PROCESS_ID={number}", "python", "-m", "experiments.train",
      "--cluster=env", "--num_seeds=3",
    ]
    for number in range(2)
  ]  # fmt: skip


def test_slurm_starts_one_process_per_task():
  (line,) = _dry("slurm.sh", "--workdir=x", PROGRAM="evaluate")
  assert line[0] == "srun"
  assert line[-5:] == [
    "python", "-m", "experiments.evaluate", "--cluster=slurm", "--workdir=x",
  ]  # fmt: skip


def test_all_workers_of_a_tpu_get_the_code_and_the_flags():
  make, copy, start = _dry("tpu_vm.sh", "mine", "here", "--modalities=a b")
  assert make[-1] == "--command=mkdir -p btw_jax"
  assert copy[-1] == "mine:btw_jax/"
  assert {"btw_jax", "experiments", "launch"} <= set(copy)
  for line in (make, copy, start):
    assert {"--zone=here", "--worker=all"} <= set(line)
  remote = shlex.split(start[-1].removeprefix("--command="))
  assert remote[-2:] == ["--cluster=tpu", "--modalities=a b"]


def test_a_sweep_runs_every_combination_once():
  arguments = ("runs/s", "dropout=0,0.1", "seed=1,2,3", "--", "--task=binary")
  lines = _dry("sweep.sh", *arguments)
  assert len({tuple(line) for line in lines}) == len(lines) == 6
  for line in lines:
    assert line[:4] == ["python", "-m", "experiments.train", "--task=binary"]
  assert lines[4][4:] == [
    "--dropout=0.1", "--seed=2", "--workdir=runs/s/dropout=0.1,seed=2",
  ]  # fmt: skip
  # A task of a job array runs its own command.
  assert _dry("sweep.sh", *arguments, SLURM_ARRAY_TASK_ID="4") == [lines[4]]


def test_values_of_a_sweep_are_quoted_and_stay_in_the_folder():
  lines = _dry("sweep.sh", "runs/s", "data_dir=a b,../../x,*%", "--", "--task=")
  assert [line[-2:] for line in lines] == [
    ["--data_dir=a b", "--workdir=runs/s/data_dir=a b"],
    ["--data_dir=../../x", "--workdir=runs/s/data_dir=..%2F..%2Fx"],
    ["--data_dir=*%", "--workdir=runs/s/data_dir=*%25"],
  ]


@pytest.mark.parametrize(
  ("arguments", "task", "message"),
  [
    (["", "seed=1", "--"], "", "give a folder, NAME=VALUE"),
    (["s", "seed=", "--"], "", "give a folder, NAME=VALUE"),
    (["s", "a b=3", "--"], "", "not a\\\\ b=3"),
    (["s", "--"], "", "give a folder, NAME=VALUE"),
    (["s", "seed=1,2,1", "--"], "", "seed: has 1 twice"),
    (["s", "seed=1\n2", "--"], "", "seed: a value has a control character"),
    (["s", "seed=1,2", "--"], "2", "SLURM_ARRAY_TASK_ID=2: give the tasks 0 t"),
    (["s", "seed=1,2", "--"], "abc", "give the tasks 0 to 1: --array=0-1"),
  ],
)
def test_a_wrong_sweep_is_told(arguments, task, message):
  with pytest.raises(subprocess.CalledProcessError) as error:
    _dry("sweep.sh", *arguments, SLURM_ARRAY_TASK_ID=task)
  assert error.value.returncode == 2
  assert re.match(f"launch: .*{message}", error.value.stderr)


@pytest.mark.parametrize(
  ("script", "arguments"),
  [
    ("local_cluster.sh", ["two"]),
    ("tpu_vm.sh", ["mine"]),
    ("sweep.sh", ["runs/s", "--dropout"]),
  ],
)
def test_wrong_arguments_are_told(script, arguments):
  with pytest.raises(subprocess.CalledProcessError) as error:
    _dry(script, *arguments)
  assert error.value.returncode == 2
  assert error.value.stderr.startswith("launch: give ")


def test_a_manifest_counts_its_processes_once():
  text = (environment.ROOT / "launch/gke.yaml").read_text(encoding="utf-8")
  for line in ("completions: 4", "parallelism: 4", 'value: "4"'):
    assert text.count(line) == 1
