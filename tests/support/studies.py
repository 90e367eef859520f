"""Results of a study whose truth is known."""

import pathlib

import numpy as np

from btw_jax.reports import study
from btw_jax.reports import tables

SEEDS = 10
BASE = 0.9 + 0.01 * np.random.default_rng(0).normal(size=SEEDS)


def _run(name="made", *, unit="accuracy", mitigation=(), dataset="digits"):
  config = {
    "dataset": dataset, "model": "mlp", "mitigation": list(mitigation),
    "num_refinements": 1, "embedding_scale": "1,0.5", "num_epochs": 3,
    "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0,
    "dropout": 0.1, "split_per_seed": True,
  }  # fmt: skip
  results = {
    "unit": unit, "seeds": list(range(SEEDS)), "modalities": ["a", "b"],
    "num_parameters": {"unimodal": 50, "multimodal": 100}, "rows": [],
    "sizes": {"train": 1, "valid": 2, "test": 3}, "embedding_scale": 0.5,
  }  # fmt: skip
  path = pathlib.Path(name, *mitigation)
  return study.RunFiles(name, path, config, results, {"jax": "0"})


def problem(
  methods,
  *,
  name="made",
  unit="accuracy",
  baselines=None,
  information=None,
  **options,
):
  """Builds a problem from weighting -> gains `[S]` in decisions and NLL.

  `baselines` are like `methods`; `information` is that of `results.json`.
  """
  runs = {}
  for method, (decides, likely) in {
    "uniform": (0.0, 0.0), **methods,
  }.items():  # fmt: skip
    weighting, *mitigation = method.split(" + ")
    run = runs.setdefault(
      tuple(mitigation),
      _run(name, unit=unit, mitigation=mitigation, **options),
    )
    sign = tables.COLUMNS[unit].sign
    values = BASE + sign * np.asarray(decides)
    metrics = {unit: values, "nll": BASE - likely, "ece": BASE / 10}
    variant = "mi" if weighting == "auto" else weighting
    choice = {
      "variant": variant,
      "strength": 0.0 if variant == "uniform" else 1.0,
      "scale": 0.5,
    }
    if variant == "gate":
      choice["closed"] = ["b"]
    run.results["rows"].append(
      {
        "name": weighting,
        "kind": "weighting",
        "metrics": {k: np.broadcast_to(v, SEEDS) for k, v in metrics.items()},
        "choice": choice,
        "candidates": {"auto": 9, "gate": 2}.get(weighting, 1),
      }
    )
  first = next(iter(runs.values())).results
  first["information"] = information or {}
  for baseline, (decides, likely) in (baselines or {}).items():
    sign = tables.COLUMNS[unit].sign
    metrics = {
      unit: BASE + sign * np.asarray(decides),
      "nll": BASE - likely,
      "ece": BASE,
    }
    first["rows"].append(
      {
        "name": baseline,
        "kind": "baseline",
        "metrics": {k: np.broadcast_to(v, SEEDS) for k, v in metrics.items()},
      }
    )
  (problem,) = study.problems(list(runs.values()))
  return problem


def noise(scale, seed):
  """Draws noise of mean 0, so that no test finds a difference."""
  half = np.random.default_rng(seed).normal(size=SEEDS // 2) * scale
  return np.concatenate([half, -half])
