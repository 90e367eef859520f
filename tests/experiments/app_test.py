"""Wrong input, help and the end of a program."""

import re
import signal
import subprocess
import sys

import pytest

from support import environment
from support import programs

pytestmark = pytest.mark.slow

WRONG = [
  (
    ["--weighting=lk"],
    ": --weighting=lk: 'lk' is unknown: use some of uniform",
  ),
  (["--strength=2"], "--strength=2: '2' is not a number from 0 to 1"),
  (["--datset=npz"], "unknown command line flag 'datset'.*dataset"),
  (["--dataset=mosi"], "--dataset=mosi: unknown: use one of digits, di"),
  (["--num_epochs=0"], "--num_epochs=0: 0 is not a positive integer"),
  (["digits"], "'digits' is not a flag"),
  (["--modalities=smell"], "'smell' is unknown: use some of pixels"),
  (
    ["--dataset=npz", "--data_dir=/nowhere"],
    "--data_dir=/nowhere: there is no such file",
  ),
  (["--batch_size=x"], "--batch_size=x: 'x' is not an integer"),
  (["--num_train=5"], "--num_train=5: 5 is not an integer of at least 20"),
  (["--dropout=x"], "--dropout=x: 'x' is not a number"),
  (["--learning_rate=nan"], "--learning_rate=nan: nan is not a finite number"),
  (["--max_norm=inf"], "--max_norm=inf: inf is not a finite number"),
  (["--num_seeds=1000000000"], "--num_seeds=1000000000: .* 1000]"),
  (["--num_epochs=99999999999"], "--num_epochs=99999999999: .* up to 1e9"),
  (["--learning_rate=1e300"], "--learning_rate=1e.300: give 0, or a number"),
  (["--embedding_scale=1e300"], "'1e300' is not a number above 0, nor auto"),
  (["--resume=x"], "--resume=x: 'x' is neither true nor false"),
  (["--embedding_scale=0"], "'0' is not a number above 0, nor auto"),
  (["--seed=99999999999"], "--seed=99999999999: .* 1000000000]"),
  (["--cluster=slurm"], "--cluster=slurm: SLURM_JOB_ID is missing: start all"),
  (["--cluster=mpi"], "--cluster=mpi: mpi4py is missing: start all"),
  (["--model=moe", "--num_heads=5"], "--num_heads=5: does not divide --emb"),
  (
    ["--model=moe", "--router=disjoint", "--num_experts=7"],
    "--num_experts=7: too few for --num_selected=2 of its own for each of 4"
    " modalities: give at least 8",
  ),
  (
    ["--model=moe", "--num_experts=2", "--num_selected=3"],
    "--num_experts=2: too few for --num_selected=3: give at least 3",
  ),
  (["--expert_parallelism=2"], "--expert_parallelism=2: needs --model=moe"),
  (
    ["--expert_parallelism=2", "--model=moe"],
    "--expert_parallelism=2: needs --parallelism=shard_map",
  ),
  (
    ["--expert_parallelism=3", "--model=moe", "--parallelism=shard_map"],
    "--expert_parallelism=3: does not divide --num_experts=16",
  ),
  (
    ["--expert_parallelism=2", "--model=moe", "--parallelism=shard_map"],
    "--expert_parallelism=2: does not divide the 1 devices",
  ),
]


def test_wrong_input_is_one_line(tmp_path):
  workdir = tmp_path / "run"
  for arguments, message in WRONG:
    done = programs.run("train", *arguments, f"--workdir={workdir}", status=2)
    assert re.search(message, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
  assert not workdir.exists()


@pytest.mark.parametrize(
  ("program", "flags"),
  [
    ("train", []),
    ("study", []),
    ("evaluate", []),
    ("diagnose_interference", []),
    ("analyze_interactions", []),
    ("explain", ["--id=1"]),
    ("plot_routing", []),
  ],
)
def test_an_empty_workdir_is_refused(program, flags):
  done = programs.run(program, *flags, "--workdir=", status=2)
  assert "--workdir= is empty: name a folder" in done.stderr
  assert len(done.stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback(tmp_path):
  done = programs.run(
    "train", "--modalities=smell", "--debug", f"--workdir={tmp_path / 'x'}",
    status=1,
  )  # fmt: skip
  assert "Traceback" in done.stderr
  assert "InputError" in done.stderr


def test_help_is_short_and_tells_defaults():
  text = programs.run("train", "--help").stdout
  # The help has less than two lines per flag.
  assert len(text.splitlines()) < 2 * text.count("\n  --")
  assert max(map(len, text.splitlines())) < 80
  for title in ("Run:", "Data:", "Weighting:", "Model:", "Other:"):
    assert title in text
  assert re.search(r"--learning_rate +learning rate of AdamW \[0.001\]", text)
  assert "experiments.evaluate" in programs.run("evaluate", "--help").stdout


def test_a_program_ends_quietly_when_nobody_reads_on(tmp_path):
  command = [
    sys.executable, "-m", "experiments.inspect_data", "--dataset=digits",
    f"--picture={tmp_path / 'data.png'}",
  ]  # fmt: skip
  run = subprocess.Popen(
    command, cwd=environment.ROOT, env=environment.of_child(), text=True,
    stdout=subprocess.PIPE, stderr=subprocess.PIPE,
  )  # fmt: skip
  run.stdout.close()
  assert run.stderr.read() == ""
  assert run.wait() == 128 + signal.SIGPIPE
