import dataclasses
import itertools

import numpy as np
import pytest

from btw_jax import errors
from btw_jax import hooks
from btw_jax.methods import mitigation
from btw_jax.methods.balance import mla
from btw_jax.methods.balance import ogm
from btw_jax.models import networks
from btw_jax.models import shared_head
from btw_jax.pipeline import balancing
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import train_run
from btw_jax.training import model_checkpoints
from support import dataset_files

_TINY = {
  "num_seeds": 2, "num_epochs": 3, "hidden_dim": 8, "embedding_dim": 8,
  "num_exchanges": 0,
}  # fmt: skip


def _built(config, modalities=("a", "b"), hook=None):
  """Returns the plan and the trainers of a configuration."""
  plan, count = balancing.plan(config), len(modalities)
  shape = saved_config.DataShape(
    modalities, (3,) * count, "multiclass", 3, (0,) * count, 1
  )
  trainers = build.build_trainers(config, shape, plan.variants, 100, hook)
  return plan, trainers


@pytest.mark.parametrize(
  "settings, modalities, message",
  [
    (
      {"balance": ("ogm", "mla")},
      ("a",),
      "--balance=ogm,mla: there is only one modality, a: give at least two",
    ),
    (
      {"balance": ("mla",), "model": "moe"},
      ("a", "b"),
      "--balance=mla: has a network of its own: use --model=mlp",
    ),
    (
      {"balance": ("gblend",), "batch_size": 4},
      ("a", "b"),
      "--balance=gblend: needs --batch_size of at least 5",
    ),
    (
      {"balance": ("mla",), "balance_weighting": ("uniform", "kl")},
      ("a", "b"),
      "--balance_weighting=kl: mla mixes modalities by confidence",
    ),
    (
      {"balance": ("ogm",), "balance_value": "0.1,0.2", "tune": 2},
      ("a", "b"),
      "--balance_value=0.1,0.2: --tune=2 chooses the value",
    ),
    (
      {"balance": ("ogm", "agm"), "balance_value": "0.1"},
      ("a", "b"),
      "--balance_value=0.1: is the setting of one method, and --balance names"
      " 2: name one.",
    ),
    (
      {"balance_value": "0.1"},
      ("a", "b"),
      "--balance_value=0.1: is the setting of one method, and --balance names"
      " 0: name one.",
    ),
    (
      {"balance": ("modality_dropout",), "balance_value": "0.5,1"},
      ("a", "b"),
      "--balance_value=0.5,1: the rate of modality_dropout must be below 1.",
    ),
    (
      {"strength": "auto", "tune": 2},
      ("a", "b"),
      "--strength=auto: --tune=2 chooses the strength",
    ),
  ],
)
def test_what_does_not_fit_is_refused_in_one_line(
  settings, modalities, message
):
  config = config_lib.make(**settings)
  _, trainers = _built(config, modalities)
  with pytest.raises(errors.InputError) as caught:
    balancing.check(config, trainers, modalities)
  assert str(caught.value).startswith(message)
  assert "\n" not in str(caught.value)
  plain = config_lib.make(balance=("ogm",), tune=2)
  balancing.check(plain, _built(plain)[1], ("a", "b"))


def test_methods_that_change_nothing_are_doubted(caplog):
  for settings, doubts in (
    ({"num_epochs": 5}, {"opm": "in its first 5 epochs", "gblend": "first 10"}),
    ({"num_epochs": 6}, {"gblend": "first 10 epochs, and --num_epochs is 6"}),
    ({"num_epochs": 11}, {}),
    (
      {"num_epochs": 11, "balance_acts_on": "gradients"},
      {"mmpareto": "γ cancels under AdamW"},
    ),
  ):
    config = config_lib.make(balance=("ogm", "opm", "gblend", "mmpareto"))
    config = config_lib.replace(config, **settings)
    caplog.clear()
    balancing.check(config, _built(config)[1], ("a", "b"))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == len(doubts)
    for (name, words), message in zip(doubts.items(), messages, strict=True):
      assert message.startswith(f"--balance={name}: ") and words in message


def test_flags_say_which_values_are_tried():
  config = config_lib.make(balance=("ogm", "umt"), tune=3)
  plan = balancing.plan(config, scale=0.5, rate=0.1)
  values = {
    name: [spec.value for spec in specs]
    for name, specs in plan.balanced.items()
  }
  assert values == {"ogm": [0.3, 0.1, 0.8], "umt": [10.0, 0.1, 100.0]}
  given = config_lib.replace(config, tune=1, balance_value="default,2")
  plan = balancing.plan(given)
  rows = ["ogm@0.3", "ogm@2", "umt@10", "umt@2"]
  assert list(plan.candidates)[-4:] == rows
  assert not balancing.plan(config_lib.make()).balanced


def test_rates_to_try_reach_from_a_quarter_to_four_times():
  np.testing.assert_allclose(balancing.rates(3), [1.0, 0.25, 4.0])
  np.testing.assert_allclose(balancing.rates(5), [1.0, 0.25, 0.5, 2.0, 4.0])


def test_a_trainer_has_the_methods_network_and_hook():
  config = config_lib.make(
    balance=("ogm", "mla"),
    balance_weighting=("uniform", "kl"),
    balance_acts_on="gradients",
    embedding_dim=16,
  )
  other = mitigation.Mitigation(())
  plan, trainers = _built(config, hook=other)
  models = model_checkpoints.Unimodal({}, [])
  made = {
    name: balancing.trainer(trainers, name, specs, config, models)
    for name, specs in plan.balanced.items()
  }
  assert type(made["ogm"].network) is networks.Concatenation
  assert type(made["mla"].network) is shared_head.SharedHead
  # The weighted and the unweighted settings share a program.
  assert made["ogm"].rule.weighs
  only = [s for s in plan.balanced["mla"] if s.variant == "uniform"]
  assert not balancing.trainer(
    trainers, "mla", only, config, models
  ).rule.weighs
  # A mitigation trains with the method.
  assert isinstance(made["ogm"].hook, hooks.Chain)
  _, bare = _built(config)
  hook = balancing.trainer(
    bare, "ogm", plan.balanced["ogm"], config, models
  ).hook
  assert hook == ogm.Method(2, "gradients")
  assert balancing.trainer(
    bare, "mla", only, config, models
  ).hook == mla.Method(2, 16)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
  """Trains ogm and mla on digits, each with two candidates."""
  workdir = tmp_path_factory.mktemp("runs") / "tuned"
  config = config_lib.make(
    dataset="digits", workdir=str(workdir), balance=("ogm", "mla"), tune=2,
    weighting=("uniform", "kl"), **_TINY,
  )  # fmt: skip
  return workdir, train_run.train(config)


@pytest.mark.slow
def test_methods_are_rows_with_a_chosen_value(tuned):
  workdir, results = tuned
  rows = {row["name"]: row for row in results["rows"]}
  assert {"uniform", "kl", "ogm", "mla"} <= set(rows)
  assert rows["ogm"]["choice"]["value"] in (0.3, 0.8)
  assert rows["mla"]["choice"]["value"] in mla.Method.setting.candidates(2)
  # The validation of every candidate is kept beside the choice.
  tried = [candidate["value"] for candidate in rows["ogm"]["to_uniform"]]
  assert tried == ogm.Method.setting.candidates(2)
  assert rows["uniform"]["to_uniform"] == []
  # All use the learning rate of the uniform model.
  rates = {
    rows[name]["choice"]["learning_rate"]
    for name in ("uniform", "kl", "ogm", "mla")
  }
  assert len(rates) == 1 and rates <= {1e-3, 2.5e-4, 4e-3}
  metrics = dataset_files.read_table(workdir / "metrics.csv")
  runs = {(row["stage"], row["run"]) for row in metrics}
  assert {("ogm", "ogm@0.3"), ("mla", "mla@0.5")} <= runs


@pytest.mark.slow
def test_a_finished_run_predicts_the_same_with_its_methods(tuned):
  workdir, _ = tuned
  run = finished_run.load(workdir, "test")
  assert run.weightings == ["uniform", "kl", "ogm", "mla"]
  _check_predictions(run, workdir, ("ogm", "mla"))


def _check_predictions(run, workdir, names):
  """Checks that loaded models predict what the run has written."""
  table = dataset_files.read_table(workdir / "predictions.csv")
  for name, (place, seed) in itertools.product(names, enumerate(run.seeds)):
    outputs, _ = run.predict(name, run.split)
    probs = np.exp(outputs - np.logaddexp.reduce(outputs, -1, keepdims=True))
    rows = [
      row
      for row in table
      if row["weighting"] == name and int(row["seed"]) == seed
    ]
    columns = [c for c in rows[0] if c.startswith("p_")]
    order = {row["id"]: row for row in rows}
    ids = run.ids[place % len(run.ids)]
    written = [[float(order[i][c]) for c in columns] for i in ids]
    np.testing.assert_allclose(probs[place], written, atol=2e-3)


@pytest.mark.slow
def test_a_method_is_trained_with_and_without_weights(tmp_path):
  config = config_lib.make(
    dataset="digits", workdir=str(tmp_path), balance=("ogm",),
    balance_weighting=("uniform", "kl+mi"), weighting=("uniform",), **_TINY,
  )  # fmt: skip
  results = train_run.train(config)
  rows = {row["name"]: row for row in results["rows"]}
  weights = {
    name: np.std(list(rows[name]["weights"].values()))
    for name in ("ogm", "kl+mi-ogm")
  }
  assert weights["ogm"] < 1e-6 < weights["kl+mi-ogm"]
  run = finished_run.load(tmp_path, "test")
  _check_predictions(run, tmp_path, ("uniform", "ogm", "kl+mi-ogm"))


@pytest.mark.slow
def test_a_refit_trains_methods_again(tmp_path, tuned):
  """A refit's models have seen the validation examples."""
  config = config_lib.make(
    dataset="digits", workdir=str(tmp_path / "run"), balance=("ogm", "mla"),
    refit=True, weighting=("uniform",), **_TINY,
  )  # fmt: skip
  results = train_run.train(config)
  assert {"ogm", "mla"} <= {row["name"] for row in results["rows"]}
  metrics = dataset_files.read_table(tmp_path / "run/metrics.csv")
  stages = {row["stage"] for row in metrics}
  assert {"refit_ogm", "refit_mla", "refit_multimodal"} <= stages
  plain = dataclasses.replace(
    config, refit=False, workdir=str(tmp_path / "plain")
  )
  train_run.train(plain)
  first, second = (
    finished_run.load(config.workdir, "test").models.multimodal
    for config in (config, plain)
  )
  for name in ("ogm", "mla"):
    kernels = (m[name].params["head"]["kernel"] for m in (first, second))
    assert np.all(np.any(next(kernels) != next(kernels), axis=(1, 2)))


class _StopsIn:
  """An interrupt that is requested once a stage has logged an epoch."""

  number = 2

  def __init__(self, workdir, stage):
    self._path, self._start = workdir / "metrics.csv", f"\n{stage},"

  @property
  def requested(self):
    return self._path.exists() and self._start in self._path.read_text()


@pytest.mark.slow
def test_a_stopped_run_keeps_the_methods_that_it_has_finished(tmp_path):
  config = config_lib.make(
    dataset="digits", workdir=str(tmp_path), balance=("ogm", "mla"),
    weighting=("uniform",), **_TINY,
  )  # fmt: skip
  with pytest.raises(interrupt_lib.Interrupted):
    train_run.train(config, _StopsIn(tmp_path, "mla"))
  run = finished_run.load(tmp_path, "test")
  assert run.weightings == ["uniform", "ogm"]
  results = train_run.train(config)
  rows = [row["name"] for row in results["rows"] if row["kind"] == "weighting"]
  assert rows == ["uniform", "ogm", "mla"]
