"""Imports point downward only, and the package stays light."""

import ast

from support import environment

_BASE = {
  "types", "errors", "chunked", "divergences", "mutual_information", "threefry"
}  # fmt: skip
_KERNEL = _BASE | {"predictions", "weighting", "interventions"}
_NETWORKS = _KERNEL | {"models", "tasks", "data", "paired", "shapley"}
_HOOKS = {"forward", "hooks"}
_TRAINING = _NETWORKS | _HOOKS | {"minmax", "parallel"}
ALLOWED = {
  "errors": set(),
  "threefry": set(),
  "types": {"threefry"},
  "chunked": set(),
  "divergences": {"types"},
  "mutual_information": {"types"},
  "predictions": _BASE,
  "weighting": _BASE | {"predictions"},
  "minmax": {"weighting"},
  "models": {"types", "errors", "threefry"},
  "data": {"types", "errors"},
  "paired": set(),
  "shapley": set(),
  "reports": {"errors", "paired"},
  "tasks": _BASE | {"predictions"},
  "interventions": {"types"},
  "forward": {"types", "tasks"},
  "hooks": {"types", "forward"},
  "parallel": {"types", "errors", "data"},
  "training": _TRAINING,
  "methods": _NETWORKS | _HOOKS,
  "analysis": _NETWORKS,
  "evaluation": _NETWORKS,
  "pipeline": _TRAINING
  | {"training", "methods", "analysis", "reports", "evaluation"},
}


def _imports(path):
  for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_layers():
  package = environment.ROOT / "btw_jax"
  seen = set()
  for path in package.rglob("*.py"):
    part = path.relative_to(package).with_suffix("").parts[0]
    if part == "__init__":
      continue
    seen.add(part)
    for name in _imports(path):
      assert not name.startswith("experiments"), f"{path} imports {name}"
      if name.startswith("btw_jax."):
        other = name.split(".")[1]
        assert other == part or other in ALLOWED[part], f"{path}: {name}"
  assert seen == set(ALLOWED)


def test_experiments_holds_programs_only():
  """Programs are short; the package contains their shared code."""
  shared = {"__init__.py", "app.py", "cluster.py", "flags.py", "tutorial.py"}
  programs = [
    path
    for path in (environment.ROOT / "experiments").glob("*.py")
    if path.name not in shared
  ]
  assert len(programs) > 5
  for path in programs:
    text = path.read_text(encoding="utf-8")
    assert 'if __name__ == "__main__":' in text, path
    assert text.count("\n") <= 150, path


def test_flags_are_defined_in_experiments_only():
  for path in (environment.ROOT / "btw_jax").rglob("*.py"):
    assert "absl.flags" not in set(_imports(path)), path


def _loaded(imports, modules):
  """Returns the modules among `modules` that an import loads."""
  code = (
    f"import sys; {imports};"
    f"print([m for m in {tuple(modules)!r} if m in sys.modules])"
  )
  done = environment.run_code(code)
  return done.stdout.strip()


def test_importing_the_kernel_loads_neither_tensorflow_nor_torch():
  kernel = "from btw_jax import predictions, weighting"
  heavy = ("tensorflow", "torch", "sklearn", "flax")
  assert _loaded(kernel, heavy) == "[]"


def test_reports_need_no_jax():
  reports = "from btw_jax.reports import routing"
  assert _loaded(reports, ("jax", "flax")) == "[]"
  assert _loaded("import jax", ("jax", "flax")) == "['jax']"
