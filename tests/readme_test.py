import importlib
import re
import subprocess
import sys

import conftest
import programs

from btw_jax.data import catalog

README = conftest.ROOT / "README.md"


def test_the_examples_run_and_are_short():
  text = README.read_text("utf-8")
  weigh, decompose, ask = found = re.findall(r"```python\n(.*?)```", text, re.S)
  assert max(len(code.strip().splitlines()) for code in found) <= 15
  weigh += (
    "import numpy as np\n"
    "np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)\n"
    "np.testing.assert_allclose(scales.sum(1), [2] + [3] * 7, rtol=1e-5)\n"
    "assert weights.shape == (8, 3) and weights[0, 2] == 0\n"
  )
  told = re.search(r"nats: R (.*?), U1 (.*?), U2 (.*?), S (.*)", decompose)
  decompose += (
    f"told = {[float(x) for x in told.groups()]}\n"
    "np.testing.assert_allclose(found[:4], told, atol=5e-5)\n"
  )
  ask += (
    "assert set(found) == {'image', 'text'}\n"
    "means = [e['mismatch'].flipped.mean() for e in found.values()]\n"
    "assert means[0] > means[1] > 0.1\n"
  )
  for code in (weigh, decompose, ask):
    subprocess.run(
      [sys.executable, "-c", code],
      env=conftest.environment(),
      check=True,
    )


def test_every_recipe_starts_with_its_command():
  for path in (conftest.ROOT / "experiments/recipes").glob("*.flags"):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    place = f"--flagfile=experiments/recipes/{path.name}"
    assert re.match(rf"# python -m experiments\.(train|study) {place}", first)


def test_every_flag_that_the_readme_names_exists():
  text = README.read_text("utf-8")
  names = (
    "train", "evaluate", "benchmarks", "benchmarks.estimator_accuracy",
    "benchmarks.result_tables", "plot_routing", "prepare_data",
    "inspect_data", "benchmarks.fault_recovery",
    "analyze_interactions", "diagnose_interference", "study", "explain",
  )  # fmt: skip
  known = "".join(programs.run(name, "--help").stdout for name in names)
  assert known.count("--help ") == len(names)
  # Those of our own programs.
  for flag in set(re.findall(r"(?<!tensorboard )--([a-z_]+)", text)):
    turned_off = rf"--\[no\]{flag.removeprefix('no')}\b"
    there = re.search(rf"--(\[no\])?{flag}\b", known)
    assert there or re.search(turned_off, known), flag


def test_every_function_that_the_readme_names_exists():
  text = README.read_text("utf-8")
  table = text[text.index("| module | functions |") :].split("\n\n")[0]
  for line in table.splitlines()[2:]:
    module, functions = re.findall(r"\| `([a-z_.]+)` \| (.*) \|", line)[0]
    module = importlib.import_module(f"btw_jax.{module}")
    for name in re.findall(r"`([^`]+)`", functions):
      for each in _expand(name):
        assert callable(getattr(module, each)), each


def test_the_table_of_formats_names_every_data_set():
  text = README.read_text("utf-8")
  table = text[text.index("| what you have |") :].split("\n\n")[0]
  named = set()
  for line in table.splitlines()[2:]:
    names = re.findall(r"`([a-z_]+)`", line.split("|")[2])
    named |= set(names)
    if "_missing" in names:
      named |= {f"{n}_missing" for n in names if n.startswith("mimic_")}
  assert named - {"_missing"} == set(catalog.SOURCES)


def _expand(name):
  """Every choice of `{a,b}`."""
  choices = re.search(r"{(.*?)}", name)
  if not choices:
    return [name]
  return [
    full
    for choice in choices[1].split(",")
    for full in _expand(name.replace(choices[0], choice, 1))
  ]
