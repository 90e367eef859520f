"""Measures whether the gate and auto are ever worse than the uniform model.

  python -m experiments.benchmarks.gate --workdir=runs/tables/gate \
    --data_dir=FOLDER --output=runs/tables/gate.json

Trains uniform, gate and auto on data sets with and without modalities of noise,
and on generated ones for which the use of each modality is known. The table
shows the paired differences on the test split; their standard errors count both
seeds and test examples. FOLDER holds `mosi_utterance/npz` and `spoken_digits`;
without it, these two are left out.
"""

import pathlib

from absl import flags

from experiments import app

_WORKDIR = flags.DEFINE_string("workdir", "runs/gate", "folder of the runs")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "folder of the two data sets")
_SEED = flags.DEFINE_integer("seed", 300, "first seed", 0)
_NUM_SEEDS = flags.DEFINE_integer("num_seeds", 10, "number of seeds", 1)
_WEIGHTING = flags.DEFINE_list(
  "weighting", ["uniform", "gate", "auto"], "weightings; uniform first"
)
_SOURCE = flags.DEFINE_enum(
  "information_from", "train", ["train", "valid"], "as in a run"
)
_DATA = flags.DEFINE_list("data", [], "data sets of the table; all if empty")
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write the table to")

_SETTINGS = {
  "digits_clean": {"dataset": "digits"},
  "digits": {"dataset": "digits", "noise_modalities": 3},
  "breast_cancer": {"dataset": "breast_cancer"},
  "diabetes": {"dataset": "diabetes"},
}
_FILES = {
  "mosi_npz": ("mosi_utterance/npz", {"num_epochs": 30}),
  "spoken_digits": ("spoken_digits", {"num_epochs": 30}),
}
# unit of a task -> heading and decimals
_METRICS = {"accuracy": ("accuracy %", 2), "mae": ("MAE", 3)}


def main() -> None:
  """Trains, measures, prints the table and writes it as JSON if asked to."""
  # `--help` must not wait for JAX.
  from btw_jax.pipeline import files
  from btw_jax.reports import tables as tables_lib

  rows = []
  for name, settings in _data_sets().items():
    if not _DATA.value or name in _DATA.value:
      rows += _measure(name, _train(name, settings))
  print(tables_lib.markdown(rows))
  if _OUTPUT.value:
    note = (
      f"Seeds {_SEED.value} to {_SEED.value + _NUM_SEEDS.value - 1}; ±: one"
      " standard error over seeds and test examples."
    )
    files.write_json(_OUTPUT.value, {"note": note, "rows": rows})


def _data_sets():
  """Returns name -> settings of all data sets; generates some of them."""
  from experiments.benchmarks import generated_data

  data_sets = dict(_SETTINGS)
  folder = pathlib.Path(_DATA_DIR.value)
  for name, (place, settings) in _FILES.items():
    if _DATA_DIR.value:
      path = str(folder / place)
      data_sets[name] = {"dataset": "npz", "data_dir": path, **settings}
  for name in generated_data.GENERATORS:
    path = pathlib.Path(_WORKDIR.value, "data", name)
    if not path.exists():
      generated_data.write(name, path, seed=_SEED.value)
    data_sets[name] = {"dataset": "npz", "data_dir": str(path)}
  return data_sets


def _train(name, settings):
  """Trains a run that is not finished, and returns its workdir."""
  from btw_jax.pipeline import config as config_lib
  from btw_jax.pipeline import saved_config
  from btw_jax.pipeline import train_run

  workdir = pathlib.Path(_WORKDIR.value, "runs", name)
  config = config_lib.make(
    workdir=str(workdir),
    seed=_SEED.value,
    num_seeds=_NUM_SEEDS.value,
    weighting=tuple(_WEIGHTING.value),
    embedding_scale="auto",
    information_from=_SOURCE.value,
    **settings,
  )
  saved_config.check_same_config(config)
  if not (workdir / "results.json").exists():
    train_run.train(config)
  return workdir


def _measure(name, workdir):
  """Returns a row per metric: differences to uniform, and the choices."""
  from btw_jax import paired
  from btw_jax.pipeline import finished_run

  run = finished_run.load(workdir, "test")
  examples = paired.number_examples(run.ids, len(run.seeds))
  base, *others = run.weightings
  values = {weighting: _values(run, weighting) for weighting in run.weightings}
  rows = []
  for place, (metric, digits) in enumerate(
    (_METRICS[run.task.unit], ("NLL", 3))
  ):
    row = {
      "data": name if place == 0 else "",
      "metric": metric,
      base: f"{values[base][place].mean():.{digits}f}",
    }
    for other in others:
      difference = values[other][place] - values[base][place]
      mean = paired.over_seeds_and_examples(difference, examples)
      row[f"Δ {other}"] = f"{mean.value:+.{digits}f} ± {mean.error:.{digits}f}"
    choices = run.models.choices
    row["idle"] = ", ".join(choices.idle) if place == 0 else ""
    if "auto" in others:
      row["auto chose"] = _choice(choices) if place == 0 else ""
    rows.append(row)
  return rows


def _values(run, weighting):
  """Returns score and NLL `[S, N]` of each test example, in raw units."""
  import numpy as np

  target = np.asarray(run.batch.target)
  outputs, _ = run.predict(weighting, run.split)
  score, nll = (
    np.asarray(function(outputs, target))
    for function in (run.task.score, run.task.nll)
  )
  if run.task.unit == "accuracy":
    return 100 * score, nll
  # The density of a target in its own unit is that of the scaled one / std.
  return run.to_target_unit(score), nll + np.log(
    run.to_target_unit(np.ones_like(nll))
  )


def _choice(choices):
  """Returns the setting that auto chose, as text."""
  choice = choices.weightings["auto"]["choice"]
  text = choice["variant"]
  if text in ("uniform", "gate"):
    return text
  return f"{text} at {choice['strength']:g}"


if __name__ == "__main__":
  app.run(
    main,
    {
      "Table": [
        "workdir", "data_dir", "seed", "num_seeds", "weighting",
        "information_from", "data", "output",
      ]
    },
  )  # fmt: skip
