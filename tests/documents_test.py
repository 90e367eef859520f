"""The documents: their links, commands, flags, examples and tables."""

import functools
import importlib
import re

import numpy as np
import pytest

from btw_jax.data import assembly
from btw_jax.data import catalog
from experiments import app
from support import markdown
from support import programs

ROOT = markdown.ROOT
README = ROOT / "README.md"
PROGRAMS_PAGE = ROOT / "experiments/README.md"
RESULTS = ROOT / "experiments/RESULTS.md"
LIBRARY = ROOT / "btw_jax/README.md"
DATA = ROOT / "btw_jax/data/README.md"

PROGRAMS = (
  "train", "predict", "evaluate", "explain", "study", "audit", "profile",
  "analyze_interactions",
  "diagnose_interference", "inspect_data", "prepare_data", "plot_routing",
  "train_language", "finetune_language", "language_interactions",
  "language_interference", "questions", "finetune_questions",
  "benchmarks.language_law",
  "benchmarks", "benchmarks.estimator_accuracy", "benchmarks.fault_recovery",
  "benchmarks.gate", "benchmarks.joint_test", "benchmarks.result_tables",
)  # fmt: skip
# These scripts pass their flags on to a program.
_PASSED_ON = {
  "local.sh": "train",
  "local_cluster.sh": "train",
  "slurm.sh": "train",
  "tpu_vm.sh": "train",
  "sweep.sh": "train",
}

MAX_LINES, MAX_ROWS, MAX_EXAMPLE = 200, 8, 15
# Each of these examples has a test of its own, which also runs it.
_CHECKED = (
  "weighting.weigh", "np.savez", "pid.broja", "interference.diagnose",
  "shapley.plan", "btw_jax.fit(", "btw_jax.audit(", "bert.encode",
)  # fmt: skip
# first heading of a table -> why it may have more rows in a prose document
_LONGER = {
  "module": "the reference of all public functions is one table",
  "suite": "the values of --suite are one table",
  "method": "the methods of --balance are one table",
}


@functools.cache
def _help():
  """Returns program -> what its --help prints."""
  return {name: programs.run(name, "--help").stdout for name in PROGRAMS}


def _has_flag(text, flag):
  turned_off = rf"--\[no\]{flag.removeprefix('no')}\b"
  return re.search(rf"--(\[no\])?{flag}\b|{turned_off}", text)


def test_every_link_leads_to_a_file_and_a_heading():
  wrong = [
    f"{markdown.name(document)}: {target}"
    for document in markdown.DOCUMENTS
    for target, path, anchor in markdown.links(document)
    if not path.exists()
    or (
      anchor and (path.suffix != ".md" or anchor not in markdown.anchors(path))
    )
  ]
  assert wrong == []


def test_the_readme_links_to_every_document():
  linked = {path for _, path, _ in markdown.links(README)}
  lost = {markdown.name(d) for d in markdown.DOCUMENTS if d not in linked} - {
    markdown.name(README)
  }
  assert lost == set()


def test_the_readme_is_short_and_its_start_is_enough():
  lines = markdown.text(README).splitlines()
  assert len(lines) <= MAX_LINES
  start = "\n".join(lines[:80])
  for needed in (
    "pip install .",
    "btw_jax.fit(",
    "btw-jax train",
    "btw-jax predict",
    "bash launch/local.sh",
    "bash launch/test.sh",
    "scales = weighting.multipliers(weights, present)",
  ):
    assert needed in start, needed


def test_every_program_that_is_named_exists():
  pattern = r"python -m experiments\.([a-z_]+(?:\.[a-z_]+)*)"
  named = {
    (markdown.name(document), program)
    for document in markdown.DOCUMENTS
    for program in re.findall(pattern, markdown.text(document))
  }
  assert {program for _, program in named} <= set(PROGRAMS)
  commands = {
    (markdown.name(document), command)
    for document in markdown.DOCUMENTS
    for command in re.findall(r"btw-jax ([a-z-]+)", markdown.text(document))
  }
  assert {command for _, command in commands} == set(app.COMMANDS)
  for document, program in named:
    path = ROOT / "experiments" / program.replace(".", "/")
    main = path.with_suffix(".py"), path / "__main__.py"
    assert any(file.exists() for file in main), f"{document}: {program}"


def test_every_script_that_is_named_exists():
  wrong = [
    f"{markdown.name(document)}: {path}"
    for document in markdown.DOCUMENTS
    for path in re.findall(
      r"\blaunch/\w+\.(?:sh|yaml)\b", markdown.text(document)
    )
    if not (ROOT / path).exists()
  ]
  assert wrong == []


@pytest.mark.training
def test_every_flag_that_is_named_exists():
  assert all("--help " in text for text in _help().values())
  scripts = "".join(
    markdown.text(path) for path in (ROOT / "launch").glob("*.sh")
  )
  known = "".join(_help().values()) + scripts
  wrong = {
    f"{markdown.name(document)}: --{flag}"
    for document in markdown.DOCUMENTS
    for flag in re.findall(
      r"(?<!tensorboard )--([a-z_]+)", markdown.text(document)
    )
    if not _has_flag(known, flag)
  }
  assert wrong == set()


@pytest.mark.training
def test_every_command_has_flags_of_its_program():
  wrong, count = [], 0
  for document in markdown.DOCUMENTS:
    for line in markdown.commands(document):
      line = line.partition("  #")[0]
      program = re.search(r"python -m experiments\.([a-z_.]+)(.*)", line)
      command = re.search(r"btw-jax ([a-z-]+)(.*)", line)
      script = re.search(r"\blaunch/(\w+\.sh)(.*)", line)
      if program:
        text, arguments = _help()[program[1]], program[2]
      elif command:
        text, arguments = _help()[app.COMMANDS[command[1]]], command[2]
      elif script and script[1] in _PASSED_ON:
        text, arguments = _help()[_PASSED_ON[script[1]]], script[2]
      elif script:
        text, arguments = markdown.text(ROOT / "launch" / script[1]), script[2]
      else:
        continue
      count += 1
      wrong += [
        f"{markdown.name(document)}: --{flag} in: {line}"
        for flag in re.findall(r"(?<!\S)--([a-z_]+)", arguments)
        if not _has_flag(text, flag)
      ]
  assert wrong == []
  assert count > len(PROGRAMS)


def test_every_recipe_starts_with_its_command_and_has_a_row():
  rows = {
    name
    for table in markdown.tables(PROGRAMS_PAGE)
    if table[0].startswith("| recipe ")
    for row in table[2:]
    for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])
  }
  paths = sorted((ROOT / "experiments/recipes").glob("*.flags"))
  assert rows == {path.stem for path in paths}
  for path in paths:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    place = f"--flagfile=experiments/recipes/{path.name}"
    program = r"python -m experiments\.(train|train_language|study)"
    assert re.match(rf"# {program} {place}", first)


def test_the_examples_are_short():
  assert len(markdown.examples()) >= 4
  for document, code in markdown.examples():
    lines = len(code.strip().splitlines())
    assert lines <= MAX_EXAMPLE, f"{markdown.name(document)}: {lines} lines"


def test_the_other_examples_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for document, code in markdown.examples():
    if not any(text in code for text in _CHECKED):
      exec(compile(code, markdown.name(document), "exec"), {})


def _run(text):
  """Returns the names that the one example with this text defines."""
  (code,) = [code for _, code in markdown.examples() if text in code]
  names = {}
  exec(compile(code, text, "exec"), names)
  return names, code


def test_the_example_of_weigh_leaves_weights_and_scales():
  names, _ = _run("weighting.weigh")
  weights, scales = names["weights"], names["scales"]
  assert weights.shape == (8, 3) and weights[0, 2] == 0
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(scales.sum(1), [2] + [3] * 7, rtol=1e-5)


@pytest.mark.training
def test_the_example_of_an_audit_measures_everything():
  names, _ = _run("btw_jax.audit(")
  audit = names["audit"]
  assert audit.content["lacking"] == {}
  # Vision is noise there, and the text knows the answer.
  (row,) = audit.content["interactions"]
  assert row["atoms"]["unique1"]["mean"] > row["atoms"]["unique2"]["mean"] + 0.2
  assert (row["first"], row["second"]) == ("text", "vision")
  assert audit.weights("mi")["text"].mean() > 0.9


def test_the_example_of_own_arrays_is_a_data_set(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  _run("np.savez")
  dataset = assembly.load("npz", catalog.Options(data_dir="mine"))
  assert dataset.task == "multiclass"
  assert dataset.splits["train"].modalities == ("image", "text")


@pytest.mark.training
def test_the_example_of_broja_gives_the_values_in_its_comment():
  names, code = _run("pid.broja")
  written = re.search(r"nats: R (.*?), U1 (.*?), U2 (.*?), S (.*)", code)
  expected = [float(x) for x in written.groups()]
  np.testing.assert_allclose(names["decomposition"][:4], expected, atol=5e-5)


def test_the_example_of_contributions_gives_the_values_in_its_comment():
  names, code = _run("shapley.plan")
  written = re.search(r"values\(plan, values\)  # (.*), (.*), (.*)", code)
  expected = [float(x) for x in written.groups()]
  np.testing.assert_allclose(names["shares"], expected, atol=1e-6)


def test_the_example_of_a_pretrained_model_encodes_a_text(monkeypatch):
  monkeypatch.chdir(ROOT)
  names, _ = _run("bert.encode")
  assert names["states"].shape == (1, 4, names["model"].config.width)


def test_the_example_of_diagnose_ranks_the_modalities():
  names, _ = _run("interference.diagnose")
  effects = names["effects"]
  assert set(effects) == {"image", "text"}
  image, text = (
    effects[name]["mismatch"].flipped.mean() for name in ("image", "text")
  )
  assert image > text > 0.1


def test_the_tables_of_prose_documents_are_short():
  wrong = []
  for document in markdown.DOCUMENTS:
    for table in markdown.tables(document):
      heading = table[0].split("|")[1].strip()
      rows = len(table) - 2
      if document != RESULTS and rows > MAX_ROWS and heading not in _LONGER:
        wrong.append(
          f"{markdown.name(document)}: {rows} rows under {heading!r}"
        )
  assert wrong == []


def test_no_table_has_a_row_twice():
  wrong = [
    f"{markdown.name(document)}: {row}"
    for document in markdown.DOCUMENTS
    for table in markdown.tables(document)
    for row in {row for row in table if table.count(row) > 1}
  ]
  assert wrong == []


def test_one_of_a_thing_is_written_in_the_singular():
  pattern = r"(?<![\d.,])1 (?:epoch|seed|example|run)s\b|\w\(e?s\)"
  wrong = [
    f"{markdown.name(document)}: {text}"
    for document in markdown.DOCUMENTS
    for text in re.findall(pattern, markdown.text(document))
  ]
  assert wrong == []


def test_generated_tables_are_marked_and_show_the_columns_of_their_marker():
  places = []
  for document in markdown.DOCUMENTS:
    text = markdown.prose(document)
    starts = re.findall(r"^<!-- ((?:table|rows|note): .+) -->$", text, re.M)
    names = [re.search(r": ([^ ]+)", start)[1] for start in starts]
    assert names == re.findall(r"^<!-- end: (.+) -->$", text, re.M)
    places += starts
    for start, name in zip(starts, names, strict=True):
      columns = start.split(" | ")[1:]
      table = text.partition(f"<!-- {start} -->")[2].partition("<!-- end")[0]
      heading = re.search(r"^\|.*", table, re.M)
      if columns:
        cells = [cell.strip() for cell in heading[0].strip("|").split("|")]
        assert cells == columns, f"{markdown.name(document)}: {name}"
  # No table is in two documents, where one would be forgotten.
  assert len(set(places)) == len(places) > 20


def test_every_function_of_the_api_table_exists():
  text = markdown.text(LIBRARY)
  table = text[text.index("| module | functions |") :].split("\n\n")[0]
  for line in table.splitlines()[2:]:
    module, functions = re.findall(r"\| `([a-z_.]+)` \| (.*) \|", line)[0]
    module = importlib.import_module(f"btw_jax.{module}")
    for name in re.findall(r"`([^`]+)`", functions):
      for function in markdown.expand(name):
        assert callable(getattr(module, function)), function


def test_the_table_of_formats_names_every_data_set():
  text = markdown.text(DATA)
  table = text[text.index("| what you have |") :].split("\n\n")[0]
  named = set()
  for line in table.splitlines()[2:]:
    names = re.findall(r"`([a-z_]+)`", line.split("|")[2])
    named |= set(names)
    if "_missing" in names:
      named |= {f"{n}_missing" for n in names if n.startswith("mimic_")}
  assert named - {"_missing"} == set(catalog.SOURCES)


def test_the_tree_of_files_is_that_of_the_package():
  block = re.search(
    r"### Files\n\n```\n(.*?)```", markdown.text(LIBRARY), re.S
  )[1]
  folders, listed = [], []
  for line in block.splitlines():
    name = line.split()[0]
    del folders[(len(line) - len(line.lstrip())) // 2 :]
    if name.endswith("/"):
      folders.append(name)
    else:
      listed.append("".join([*folders, name]))
  package = ROOT / "btw_jax"
  files = sorted(
    path.relative_to(package).as_posix()
    for path in package.rglob("*.py")
    if path.name != "__init__.py"
  )
  # The files that the tree lacks, and the files in it that do not exist.
  assert (set(files) - set(listed), set(listed) - set(files)) == (set(), set())
  assert len(listed) == len(files)


def test_every_module_that_is_named_exists():
  wrong = [
    f"{markdown.name(document)}: {path}"
    for document in markdown.DOCUMENTS
    for path in re.findall(r"`([\w/]+\.py)`", markdown.text(document))
    if not any(
      (base / path).exists()
      for base in (document.parent, ROOT / "btw_jax", ROOT)
    )
  ]
  assert wrong == []
