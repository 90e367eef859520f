"""Writes the files of a finished run that reports read, without training."""

import csv
import json

import numpy as np

from btw_jax.reports import study

NUM_EPOCHS = 7
# The rise of the weight of a in each epoch, by weighting.
WEIGHT_STEPS = {"kl": 0.02, "mi": 0.05}
# The validation loss of the models of single modalities, of these weightings,
# and of everything else, at the first epoch.
LOSSES = {"a": 4.0, "b": 5.0, "uniform": 2.0, "kl": 1.0, "mi": 1.5}


def write(folder, problem, *, date=None):
  """Writes the run of a problem's base; returns it with its new folder.

  The problem is that of `studies.problem`, with the modalities a and b. The
  loss of every model falls by 0.1 in each epoch, and a training loss is half of
  a validation loss. The information of later weightings is larger.
  """
  run = problem.base.run
  task = "regression" if problem.is_regression else "multiclass"
  results = run.results | {"task": task, "seconds": 1.0}
  if date:
    results["finished"] = date
  folder.mkdir(parents=True)
  config = run.config | {"predictive": "gaussian"}
  saved = {"config": config, "versions": dict(run.versions)}
  _write_json(folder / "config.json", saved)
  _write_json(folder / "results.json", results)
  weightings = [row for row in results["rows"] if row["kind"] == "weighting"]
  settings = {
    (study.run_name(c), c["strength"]): c
    for c in (row["choice"] for row in weightings)
  }.values()
  _write_metrics(folder / "metrics.csv", settings, results["seeds"])
  # Balancing methods leave no weights.
  plain = [setting for setting in settings if "balance" not in setting]
  _write_weights(folder / "weights.csv", plain, results["seeds"])
  _write_predictions(
    folder / "predictions.csv", weightings, results["seeds"], task
  )
  _write_analyses(folder, [row["name"] for row in weightings])
  return run._replace(path=folder, results=results, config=config)


def _write_json(path, content):
  path.write_text(json.dumps(content, default=np.ndarray.tolist), "utf-8")


def _write_rows(path, rows):
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)


def _write_metrics(path, settings, seeds):
  models = [
    ("unimodal", {"variant": m, "strength": 0.0, "scale": 1.0}) for m in "ab"
  ]
  for setting in settings:
    stage = "gate" if setting["variant"] == "gate" else "multimodal"
    stage = setting.get("balance", stage)
    models += [(stage, setting), (f"refit_{stage}", setting)]
  rows = []
  for stage, setting in models:
    name = setting.get("balance", setting["variant"])
    first = LOSSES.get(name, 3.0)
    run = setting["variant"]
    if "balance" in setting:
      weighted = "" if run == "uniform" else f"{run}-"
      run = f"{weighted}{name}@{setting['value']:g}"
    # Losses of a refit must not be shown.
    first *= 100 if stage.startswith("refit") else 1
    for seed in seeds:
      for epoch in range(NUM_EPOCHS):
        for split, factor in (("train", 0.5), ("valid", 1.0)):
          loss = factor * (first - 0.1 * epoch)
          rows.append(
            {
              "stage": stage, "run": run,
              "strength": setting["strength"], "scale": setting["scale"],
              "seed": seed, "epoch": epoch, "split": split, "loss": loss,
            }
          )  # fmt: skip
  _write_rows(path, rows)


def _write_weights(path, settings, seeds):
  rows = [
    {
      "run": setting["variant"], "strength": setting["strength"],
      "scale": setting["scale"], "seed": seed, "epoch": epoch,
      "a": 0.5 + epoch * WEIGHT_STEPS.get(setting["variant"], 0.0),
      "b": 0.5 - epoch * WEIGHT_STEPS.get(setting["variant"], 0.0),
    }
    for setting in settings
    for seed in seeds
    for epoch in range(NUM_EPOCHS)
  ]  # fmt: skip
  _write_rows(path, rows)


def _write_predictions(path, weightings, seeds, task):
  rng = np.random.default_rng(0)
  rows = []
  for row in weightings:
    # Equal models predict the same.
    varies = row["choice"]["variant"] not in ("uniform", "gate")
    for seed in seeds:
      for example in range(10):
        weight = rng.uniform(0.1, 0.9) if varies else 0.5
        decision = example % 3 % 2
        likely = 0.5 + example / 20
        values = {"mean": decision, "std": likely}
        if task != "regression":
          values = {f"p_{decision}": likely, f"p_{1 - decision}": 1 - likely}
          values = dict(sorted(values.items()))
        rows.append(
          {
            "weighting": row["name"], "seed": seed, "target": example % 2,
            "prediction": decision, **values,
            "weight_a": weight, "weight_b": 1 - weight,
          }
        )  # fmt: skip
  _write_rows(path, rows)


def _write_analyses(folder, weightings):
  effects, decompositions, shares = [], [], []
  for place, weighting in enumerate(weightings):
    for number, modality in enumerate("ab", 1):
      effects += [
        {
          "model": weighting, "modality": modality, "kind": kind,
          "flipped": {"seeds": [0.1 * number * share]},
        }
        for kind, share in (("noise", 1.0), ("mismatch", 3.0))
      ]  # fmt: skip
      atoms = ("redundant", "unique1", "unique2", "synergistic")
      nats = {atom: [0.25 * number * (1 + place)] for atom in atoms}
      decompositions.append(
        {"weighting": weighting, "first": modality, "nats": nats}
      )
      shares.append(
        {
          "weighting": weighting, "modality": modality, "metric": "likelihood",
          "mean": 0.5 * number, "interval": [0.25 * number, 0.75 * number],
          "seeds": [0.5 * number ** (1 + place)],
        }
      )  # fmt: skip
  _write_json(folder / "interference.json", {"effects": effects})
  _write_json(folder / "interactions.json", {"decompositions": decompositions})
  _write_json(folder / "contribution.json", {"rows": shares})
