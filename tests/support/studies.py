"""Results of a study whose truth is known."""

import itertools
import pathlib

import numpy as np

from btw_jax.methods.balance import catalog
from btw_jax.reports import study
from btw_jax.reports import tables

SEEDS = 10
BASE = 0.9 + 0.01 * np.random.default_rng(0).normal(size=SEEDS)


# Balancing method -> its setting and the published value.
BALANCED = {
  "ogm": ("α", 0.3), "agm": ("α", 1.0), "mmpareto": ("γ", 1.5),
  "mla": ("α", 0.5), "umt": ("λ", 10.0), "modality_dropout": ("rate", 0.2),
  "unimodal_losses": ("weight of the unimodal losses", 1.0),
}  # fmt: skip


def _run(
  name="made",
  *,
  unit="accuracy",
  mitigation=(),
  dataset="digits",
  tune=1,
  epoch_seconds=None,
  normalise="rows",
):
  config = {
    "dataset": dataset, "model": "mlp", "mitigation": list(mitigation),
    "num_refinements": 1, "embedding_scale": "1,0.5", "num_epochs": 3,
    "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.0,
    "dropout": 0.1, "split_per_seed": True, "normalise": normalise,
  }  # fmt: skip
  results = {
    "unit": unit, "seeds": list(range(SEEDS)), "modalities": ["a", "b"],
    "num_parameters": {"unimodal": 50, "multimodal": 100}, "rows": [],
    "sizes": {"train": 1, "valid": 2, "test": 3}, "embedding_scale": 0.5,
    "tune": tune, "epoch_seconds": epoch_seconds or {},
    "learning_rates": [1e-3 * rate for rate in range(1, 1 + tune)],
    "balance": {n: catalog.METHODS[n]._asdict() for n in BALANCED},
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

  A balancing method is named as in a run: "ogm", or "kl-ogm" with a weighting.
  `baselines` are like `methods`; `information` is that of `results.json`. With
  `tune=K` as an option, each method chose the last of K candidates.
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
    run.results["rows"].append(
      {
        "name": weighting,
        "kind": "weighting",
        "metrics": {k: np.broadcast_to(v, SEEDS) for k, v in metrics.items()},
        **_chosen(weighting, options.get("tune", 1)),
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


def _chosen(name, tune):
  """Returns what validation chose, and from which candidates."""
  weighting, _, balance = name.rpartition("-")
  if balance not in BALANCED:
    weighting, balance = name, ""
  variant = "mi" if name == "auto" else weighting or "uniform"
  strength = 0.0 if variant == "uniform" else 1.0
  choice = {"variant": variant, "strength": strength, "scale": 0.5}
  if tune > 1:
    choice["learning_rate"] = 1e-3 * tune
  uniform = choice | {"variant": "uniform", "strength": 0.0}
  if balance:
    setting, value = BALANCED[balance]
    tried = [
      choice | {"balance": balance, "setting": setting, "value": value * factor}
      for factor in range(1, 1 + tune)
    ]
  elif name == "gate":
    tried = [uniform, choice | {"closed": ["b"]}]
  elif name == "auto":
    settings = itertools.product(("kl+mi", "mi"), (0.25, 0.5, 0.75, 1.0))
    tried = [choice | {"variant": v, "strength": s} for v, s in settings]
    tried.insert(0, uniform)
  elif name == "uniform":
    tried = [choice]
  else:
    steps = np.linspace(1.0, 0.0, tune, endpoint=False).tolist()
    tried = [choice | {"strength": step} for step in steps]
  return {
    "choice": tried[-1],
    "candidates": len(tried),
    "first": tried[0],
    "differences": [one | {"loss": 0.0} for one in tried[1:]],
  }


def noise(scale, seed):
  """Draws noise of mean 0, so that no test finds a difference."""
  half = np.random.default_rng(seed).normal(size=SEEDS // 2) * scale
  return np.concatenate([half, -half])
