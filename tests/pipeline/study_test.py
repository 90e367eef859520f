"""A study with balancing methods tells what its runs chose and measured."""

from absl import flags
import pytest

from btw_jax.methods.balance import catalog
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import results_table
from btw_jax.pipeline import study
from btw_jax.pipeline import study_grid
from btw_jax.reports import overall
from btw_jax.reports import study as study_lib
from experiments import flags as flags_lib
from support import dataset_files

_RATE = 2e-3
_METHODS = ("ogm", "modality_dropout")


def test_flags_of_a_study_reach_every_recipe(tmp_path):
  recipes = []
  for name in ("first", "second"):
    recipes.append(tmp_path / f"{name}.flags")
    recipes[-1].write_text("--dataset=digits\n--tune=3\n--balance=agm\n")
  given = flags.FlagValues()
  flags_lib.define(given, without=study_grid.REPLACED)
  given(["study", "--tune=4", "--balance=ogm,mla"])
  configs = flags_lib.read_recipes(
    list(map(str, recipes)), given, without=study_grid.REPLACED
  )
  planned, _ = study_grid.plan_runs(configs, ["mlp"], ["none", "heuristic"])
  assert len(planned) == 4
  for run in planned:
    assert run.config.tune == 4
    assert run.config.balance.methods == ("ogm", "mla")
  # Without them, a recipe has its own.
  given = flags.FlagValues()
  flags_lib.define(given, without=study_grid.REPLACED)
  given(["study"])
  (config,) = flags_lib.read_recipes([str(recipes[0])], given).values()
  assert (config.tune, config.balance.methods) == (3, ("agm",))


def _row(name, **choice):
  return {
    "name": name, "kind": "weighting", "candidates": 1,
    "weights": {"a": [0.5]},
    "metrics": {k: [0.5] for k in ("accuracy", "nll", "ece")},
    "choice": {"variant": "uniform", "strength": 0.0, "scale": 1.0} | choice,
  }  # fmt: skip


def test_the_table_of_a_run_labels_rows_by_their_setting():
  ogm = {"balance": "ogm", "setting": "α", "value": 0.3}
  results = {
    "dataset": "made", "task": "multiclass", "unit": "accuracy",
    "modalities": ["a"], "seeds": [0], "split": "test", "embedding_scale": 1.0,
    "sizes": {"train": 1, "valid": 1, "test": 1},
    "rows": [
      _row("uniform"),
      _row("kl+mi", variant="kl+mi", strength=0.6),
      _row("mi", variant="mi", strength=1.0),
      _row("ogm", **ogm),
      _row("kl+mi-ogm", variant="kl+mi", strength=1.0, **ogm),
      _row("auto", variant="mi", strength=1.0),
    ],
  }  # fmt: skip
  table = results_table.tables(results, style="tsv").split("\n\n")[1]
  labels = [line.split("\t")[0].strip() for line in table.splitlines()]
  assert labels == [
    "model", "uniform", "kl+mi (λ = 0.6)", "mi", "ogm (α = 0.3)",
    "kl+mi-ogm (α = 0.3)", "auto (mi, λ = 1)",
  ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Trains a study of one small run; returns its folders and results."""
  folder = tmp_path_factory.mktemp("study")
  config = config_lib.make(
    dataset="npz",
    data_dir=str(dataset_files.write_npz(folder / "data")),
    weighting=("uniform", "gate", "kl"),
    balance=_METHODS,
    tune=2,
    learning_rate=_RATE,
    num_seeds=2,
    num_epochs=3,
    hidden_dim=8,
    embedding_dim=8,
    num_exchanges=4,
    workdir=str(folder / "out"),
  )
  planned, _ = study_grid.plan_runs({"made": config}, [], [])
  text = study.run(planned, config.workdir, ("contribution",))
  path = folder / "out/runs/made_mlp"
  (problem,) = study_lib.problems(study_lib.read([("made", path)]))
  return folder / "out", path, problem, text


@pytest.mark.slow
def test_results_hold_all_candidates(finished):
  _, path, problem, _ = finished
  results = dataset_files.read_json(path / "results.json")
  assert results["learning_rates"] == [_RATE, 4 * _RATE]
  entries = {n: catalog.METHODS[n]._asdict() for n in _METHODS}
  assert results["balance"] == entries
  for name, key, candidates in (
    ("kl", "strength", [1.0, 0.5]),
    *((n, "value", catalog.load(n).setting.candidates(2)) for n in _METHODS),
  ):
    row = problem.methods[name].row
    tried = [row["first"], *row["differences"]]
    assert [one[key] for one in tried] == candidates
    assert row["choice"][key] in candidates
    assert row["choice"]["learning_rate"] in results["learning_rates"]


@pytest.mark.slow
def test_contributions_of_all_methods_are_measured(finished):
  _, path, problem, text = finished
  rows = dataset_files.read_json(path / "contribution.json")["rows"]
  # A gate that chose the uniform model is not measured again.
  is_gated = problem.methods["gate"].choice["variant"] == "gate"
  names = ["uniform", *["gate"] * is_gated, "kl", *_METHODS]
  assert list(dict.fromkeys(row["weighting"] for row in rows)) == names
  table = text.partition("Δ imbalance")[2].splitlines()[2:]
  cells = [line.split("|")[1].strip() for line in table[: len(names)]]
  assert cells == names


@pytest.mark.slow
def test_the_report_has_costs_settings_and_the_paragraph(finished):
  out, _, problem, text = finished
  (paragraph,) = overall.paragraphs([problem])
  assert text.startswith(f"# Which method to use\n\n{paragraph}\n\n")
  note = dataset_files.read_json(out / "study.json")["note"]
  assert note.startswith(paragraph)
  assert "ogm: α = " in paragraph
  line = next(line for line in text.splitlines() if "| ogm (α = " in line)
  assert float(line.split("|")[-2]) > 0
  page = (out / "report.html").read_text("utf-8")
  assert "slows down the encoders of modalities that are ahead" in page
  assert "Settings that each method chose" in page
