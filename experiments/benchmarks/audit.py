"""Measures audits: their seconds and memory, and their error in a known world.

In the world, an image and a text take one of eight values each, and p(y | v, t)
is known. So are the passes with one of them, p(y | v) and p(y | t), and the
decomposition of the joint distribution that they come from.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import scipy.special

_ROOT = pathlib.Path(__file__).parents[2]
_NUM_VALUES, _NUM_OPTIONS = 8, 4
_ATOMS = ("redundant", "unique1", "unique2", "synergistic")
_LARGE, _DIFFERENT = 100_000, 1024


def run(rounds: int) -> list[dict[str, str]]:
  """Audits a large log in a process of its own, and small ones in this one."""
  rows = [_error(256), _error(25_600), *_errors_by_size()]
  with tempfile.TemporaryDirectory() as folder:
    inputs = _write_logs(pathlib.Path(folder), _LARGE)
    command = [
      sys.executable, "-m", "experiments", "audit", f"--input={inputs}",
      f"--output={folder}/audit",
    ]  # fmt: skip
    runs = [_run(command) for _ in range(min(rounds, 3))]
  seconds, peaks = map(statistics.median, zip(*runs, strict=True))
  what = f"{_LARGE:,} questions x {_NUM_OPTIONS} options x 3 conditions"
  rows += [
    {
      "audit of": f"{what}: seconds",
      "value": f"{seconds:.1f}",
      "target": "60 at most",
    },
    {
      "audit of": f"{what}: MiB",
      "value": f"{peaks:.0f}",
      "target": "1,000 at most",
    },
  ]
  return rows


def _run(command):
  """Returns the seconds and the most MiB of a program.

  `VmHWM` counts from the start of the program. `ru_maxrss` would also count the
  memory of the process that started it.
  """
  start, peak = time.perf_counter(), 0
  with subprocess.Popen(
    command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
  ) as program:
    status = pathlib.Path("/proc", str(program.pid), "status")
    while program.poll() is None:
      lines = status.read_text(encoding="utf-8").splitlines()
      sizes = [int(x.split()[1]) for x in lines if x.startswith("VmHWM:")]
      peak = max([peak, *sizes])
      time.sleep(0.1)
  if program.returncode:
    raise RuntimeError(f"{command} ended with status {program.returncode}.")
  return time.perf_counter() - start, peak / 1024


def _world(num_questions):
  """Returns the joint `[V, T, Y]`, and condition -> `[N, C]` probabilities."""
  rng = np.random.default_rng(0)
  size = (_NUM_VALUES, _NUM_VALUES, _NUM_OPTIONS)
  answers = scipy.special.softmax(2 * rng.normal(size=size), axis=-1)
  v, t = np.indices(size[:2]).reshape(2, -1)
  rows = np.resize(rng.permutation(len(v)), num_questions)
  v, t = v[rows], t[rows]
  passes = {
    "both": answers[v, t],
    "vision": answers.mean(axis=1)[v],
    "text": answers.mean(axis=0)[t],
  }
  return answers / _NUM_VALUES**2, passes


def _error(num_questions):
  """Compares the atoms of an audit with those of the joint."""
  import jax

  import btw_jax
  from btw_jax.analysis import pid

  joint, passes = _world(num_questions)
  exact = jax.jit(pid.broja)(joint)
  (row,) = btw_jax.audit(passes).content["interactions"]
  error = max(
    abs(row["atoms"][a]["mean"] - float(getattr(exact, a))) for a in _ATOMS
  )
  bound = row["gap"] + float(exact.gap)
  spread = max(row["atoms"][a]["spread"] or 0 for a in _ATOMS)
  target = f"gaps {bound:.0e}"
  if spread:
    target += f" and spread over batches {spread:.4f}"
  return {
    "audit of": f"{num_questions:,} questions of a known world:"
    " largest error of an atom, nats",
    "value": f"{error:.1e}",
    "target": target,
  }


def _errors_by_size():
  """Compares batches of different sizes with all questions in one batch.

  No two questions have the same answers, so that a batch knows little of the
  others.
  """
  rng = np.random.default_rng(0)
  eye = np.eye(_NUM_OPTIONS)[rng.integers(_NUM_OPTIONS, size=_DIFFERENT)]
  image, text = (
    strength * eye + 0.6 * rng.normal(size=eye.shape) for strength in (0.7, 0.5)
  )
  passes = {
    name: scipy.special.softmax(2 * logits, axis=-1)
    for name, logits in (
      ("both", image + text), ("vision", image), ("text", text),
    )
  }  # fmt: skip
  exact = _atoms(passes, batch_size=_DIFFERENT)
  rows = []
  for size in (64, 128, 256, 512):
    error = np.abs(_atoms(passes, batch_size=size) - exact).max()
    rows.append(
      {
        "audit of": f"{_DIFFERENT:,} different questions in batches of {size}:"
        " largest difference of an atom from one batch, nats",
        "value": f"{error:.4f}",
        "target": "",
      }
    )
  return rows


def _atoms(passes, batch_size):
  """Returns the four atoms of an audit."""
  import btw_jax

  (row,) = btw_jax.audit(
    passes, batch_size=batch_size, num_iterations=400
  ).content["interactions"]
  return np.array([row["atoms"][atom]["mean"] for atom in _ATOMS])


def _write_logs(folder, num_questions):
  """Writes logs as lm-evaluation-harness does, and returns `--input`."""
  _, passes = _world(num_questions)
  choices = ["a cat", "two dogs", "a red bus", "no animal"]
  inputs = []
  for name, probs in passes.items():
    path = folder / f"samples_{name}.jsonl"
    log_probs = np.log(probs)
    with path.open("w", encoding="utf-8") as lines:
      for number, row in enumerate(log_probs):
        answers = [[f"{x:.9f}", "False"] for x in row]
        record = {
          "doc_id": number,
          "doc": {
            "question": f"What does picture {number} show?",
            "choices": choices,
            "category": f"task {number % 5}",
          },
          "target": str(number % _NUM_OPTIONS),
          "resps": [[answer] for answer in answers],
          "filtered_resps": answers,
          "doc_hash": f"{number:064x}",
        }
        lines.write(json.dumps(record) + "\n")
    inputs.append(f"{name}={path}")
  return ",".join(inputs)
