"""The programs print help and errors before heavy imports."""

import pytest

from support import environment

PROGRAMS = sorted(
  str(path.relative_to(environment.ROOT).with_suffix("")).replace("/", ".")
  for folder in ("experiments", "experiments/benchmarks")
  for path in (environment.ROOT / folder).glob("*.py")
  if "app.run(" in path.read_text(encoding="utf-8") and path.stem != "app"
)
HEAVY = (
  "jax", "flax", "optax", "orbax", "chex", "scipy", "sklearn", "pandas",
  "pyarrow", "matplotlib", "tensorflow_datasets", "array_record", "grain",
  "tensorboardX", "jinja2",
)  # fmt: skip
# Python's own, absl's and NumPy's modules, and ours that hold no computation.
MOST_MODULES = 350

_COUNT = """
import runpy, sys
sys.argv = [{program!r}, {argument!r}]
try:
  runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
  status = end.code
heavy = [name for name in {heavy!r} if name in sys.modules]
print("\\n" + repr((status, heavy, len(sys.modules))))
"""


def _run(program, argument):
  code = _COUNT.format(program=program, argument=argument, heavy=HEAVY)
  done = environment.run_code(code)
  return done.stdout, done.stderr


def test_programs_are_known():
  assert "experiments.train" in PROGRAMS
  assert "experiments.benchmarks.__main__" in PROGRAMS
  assert len(PROGRAMS) > 10


@pytest.mark.training
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_imports_nothing_heavy(program):
  printed, _ = _run(program, "--help")
  status, heavy, number = eval(printed.splitlines()[-1])
  assert status == 0
  assert "--help" in printed
  assert heavy == []
  assert number < MOST_MODULES


def test_a_wrong_flag_imports_nothing_heavy():
  printed, errors = _run("experiments.train", "--weighting=kl+m")
  status, heavy, _ = eval(printed.splitlines()[-1])
  assert (status, heavy) == (2, [])
  assert "'kl+m' is unknown: use some of uniform, kl, mi" in errors
