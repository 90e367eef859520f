import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import tasks
from btw_jax import types
from btw_jax.analysis import importance
from btw_jax.data import batch_source
from btw_jax.data import catalog
from btw_jax.data import loading
from btw_jax.data import plans
from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog as balance_catalog
from btw_jax.models import networks
from btw_jax.parallel import placement
from btw_jax.training import loop
from btw_jax.training import predictor
from btw_jax.training import streaming as streaming_lib
from btw_jax.training import train_checkpoints
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from btw_jax.training import weighting_rule
from support import dataset_files

pytestmark = pytest.mark.training

CHOICES = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("uniform", 0.0, 0.5),
  vectorized_runs.RunSpec("pid", 0.7, 1.0),
]
NAME = "tfds:mmsa_mosi"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Prepares a data set of sequences of several lengths."""
  folder = tmp_path_factory.mktemp("mosi")
  path, _ = dataset_files.mmsa(folder, aligned=False)
  dataset_files.prepare("mmsa_mosi", path, folder / "out")
  return folder / "out"


def _load(folder, how, *, average, num_buckets=1, seeds=(0,)):
  options = catalog.Options(data_dir=str(folder), average_steps=average)
  return _read(NAME, options, loading.Reading(how, num_buckets), seeds)


def _read(name, options, reading, seeds=(0,)):
  datasets = loading.read_datasets(
    name, options, seeds, split_per_seed=True, reading=reading
  )
  return loading.prepare(datasets, reading)


def _trainer(loaded, refresh_every=1):
  """Returns a trainer with plain SGD, which does not magnify rounding."""
  dataset = loaded.dataset
  groups = loading.batching.groups(dataset.num_steps, dataset.widths)
  sizes = networks.Sizes(
    dataset.widths, 2, hidden_dim=4, embedding_dim=4, dropout=0.0,
    groups=groups, num_steps=tuple(dataset.num_steps[g[0]] for g in groups),
    num_heads=2, num_layers=1, num_points=3, encoder="mtand",
  )  # fmt: skip
  rule = weighting_rule.Rule(
    variants=("uniform", "kl+mi", "pid"),
    refresh_every=refresh_every,
    examples=importance.IMPORTANCE,
  )
  return trainer_lib.Trainer(
    networks.Concatenation(sizes), tasks.make("regression", 1),
    optax.sgd(0.002), batch_size=3, rule=rule,
  )  # fmt: skip


def _train(
  loaded,
  trainer,
  seeds,
  num_epochs,
  checkpoints=None,
  choices=tuple(CHOICES),
  **callbacks,
):
  """Trains stage 2 on drawn unimodal outputs; returns its logs and models."""
  rng = np.random.default_rng(0)
  splits = []
  for name in ("train", "valid"):
    batch = loaded.splits[name]
    shape = (len(seeds), 3, len(batch.present), 2)
    outputs = jnp.asarray(rng.normal(size=shape), jnp.float32)
    splits.append(types.Split(batch, outputs))
  logs = []
  best = loop.fit(
    trainer, choices, seeds, *splits, num_epochs=num_epochs,
    callbacks=loop.Callbacks(
      on_epoch=lambda epoch, log: logs.append(log), **callbacks
    ),
    checkpoints=checkpoints,
  )  # fmt: skip
  return logs, jax.device_get(best)


def _predict(loaded, trainer, best):
  """Predicts the test split with the models of the first setting."""
  batch = loaded.splits["test"]
  outputs = np.random.default_rng(1).normal(size=(1, 3, len(batch.present), 2))
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(trainer.rule, CHOICES), 0
  )
  kept = [
    vectorized_runs.select_setting(x, 0)
    for x in (best.params, best.unseen_prior)
  ]
  split = types.Split(batch, jnp.asarray(outputs, jnp.float32))
  return predictor.Predictor(trainer)(cell, *kept, split)


def _close(a, b):
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5), a, b
  )


@pytest.mark.slow
def test_training_from_disk_is_training_from_memory(folder):
  outcomes = []
  for how in ("memory", "stream"):
    loaded = _load(folder, how, average=False)
    on_disk = isinstance(loaded.splits["train"], batch_source.DiskBatches)
    assert on_disk == (how == "stream")
    trainer = _trainer(loaded, refresh_every=2)
    logs, best = _train(loaded, trainer, (0,), 3)
    outcomes.append((logs, best, _predict(loaded, trainer, best)))
  _close(*outcomes)
  # The weights are refreshed after the first epoch and after the last.
  first, second, third = (log["weights"][0, 0] for log in outcomes[1][0])
  np.testing.assert_array_equal(first, second)
  assert np.any(second != third)


@pytest.mark.slow
def test_min_max_weights_stream_too(folder):
  outcomes = []
  for how in ("memory", "stream"):
    loaded = _load(folder, how, average=False)
    trainer = _trainer(loaded)
    rule = dataclasses.replace(trainer.rule, normalise="minmax")
    trainer = dataclasses.replace(trainer, rule=rule)
    logs, best = _train(loaded, trainer, (0,), 2)
    outcomes.append((logs, best, _predict(loaded, trainer, best)))
  _close(*outcomes)
  assert np.all(outcomes[1][1].unseen_prior.information["max_divergence"] > 0)


@pytest.mark.slow
def test_an_epoch_goes_on_at_the_batch_where_it_was_stopped(
  folder, tmp_path, monkeypatch
):
  """The run stops twice in one epoch and once in the next."""
  monkeypatch.setattr(streaming_lib, "_STEPS_BETWEEN_CHECKS", 1)
  loaded = _load(folder, "stream", average=True)
  trainer = _trainer(loaded)
  sizes = dataclasses.replace(trainer.network.sizes, dropout=0.3)
  trainer = dataclasses.replace(
    trainer, network=trainer.network.clone(sizes=sizes)
  )
  uninterrupted = _train(loaded, trainer, (0, 1), 3)
  logs, resumed = [], []
  # `should_stop` is asked after three of four batches and after the epoch.
  for asked_before in (1, 0, 2, 99):
    answers = iter([False] * asked_before + [True])
    keep = train_checkpoints.TrainCheckpoints(
      tmp_path, "multimodal", seconds=1e9
    )
    trained = _train(
      loaded, trainer, (0, 1), 3, checkpoints=keep,
      should_stop=lambda: next(answers),
      on_resume=lambda *behind: resumed.append(behind),
    )  # fmt: skip
    logs += trained[0]
  assert resumed == [(0, 0), (0, 2), (0, 3), (1, 2)]
  jax.tree.map(np.testing.assert_array_equal, (logs, trained[1]), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name, value", [("gblend", 2.0), ("modality_dropout", 0.4), ("mla", 0.5)]
)
def test_a_method_that_balances_streams_and_resumes(
  folder, tmp_path, monkeypatch, name, value
):
  """A stop within an epoch keeps what the method has summed up so far."""
  monkeypatch.setattr(streaming_lib, "_STEPS_BETWEEN_CHECKS", 1)
  choices = (
    vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance=name, value=value),
  )

  def prepared(how):
    loaded = _load(folder, how, average=True)
    plain = dataclasses.replace(
      _trainer(loaded), rule=weighting_rule.Rule(), batch_size=6
    )
    method = balance_catalog.load(name)
    setup = base.Setup(3, plain.network.sizes.embedding_dim)
    network = method.network(plain.network, plain.task)
    hook = method.make(setup)
    return loaded, dataclasses.replace(plain, network=network, hook=hook)

  def train(how, **more):
    loaded, trainer = prepared(how)
    return _train(loaded, trainer, (0, 1), 4, choices=choices, **more)

  undisturbed = train("stream")
  # On disk, all seeds read the batches of the first one.
  first, in_memory = (
    jax.tree.map(lambda x: x[:, :1], outcome)
    for outcome in (undisturbed, train("memory"))
  )
  _close(first, in_memory)
  logs = []
  # Two batches make an epoch: stops after the first and after the fourth.
  for asked_before in (0, 2, 99):
    answers = iter([False] * asked_before + [True])
    keep = train_checkpoints.TrainCheckpoints(tmp_path, name, seconds=1e9)
    part, best = train(
      "stream", checkpoints=keep, should_stop=lambda: next(answers)
    )
    logs += part
  jax.tree.map(np.testing.assert_array_equal, (logs, best), undisturbed)


@pytest.mark.slow
def test_the_gate_and_information_of_validation_stream_too(folder):
  closing = vectorized_runs.RunSpec("gate", 1.0, 1.0, (True, False, True))
  plain = weighting_rule.Rule()
  outcomes = []
  for how in ("memory", "stream"):
    loaded = _load(folder, how, average=False)
    trainer = _trainer(loaded)
    informed = dataclasses.replace(trainer.rule, information_from="valid")
    for rule, choices in ((plain, [closing]), (informed, CHOICES[:1])):
      outcomes.append(
        _train(
          loaded,
          dataclasses.replace(trainer, rule=rule),
          (0,),
          2,
          choices=choices,
        )
      )
  _close(outcomes[:2], outcomes[2:])


def test_buckets_change_no_prediction(folder):
  """Equal parameters give equal outputs with any number of buckets."""
  memory = _load(folder, "memory", average=False)
  trainer = _trainer(memory)
  split = types.Split(memory.splits["train"], None)
  placed = placement.place(split, plans.SlotLayout(12, 3))
  params = vectorized_runs.init(trainer, 1, jnp.arange(2), placed)[
    0
  ].train.params
  params = vectorized_runs.select_setting(params, 0)
  cell = vectorized_runs.select_setting(
    vectorized_runs.stack_params(trainer.rule, CHOICES), 1
  )
  expected = predictor.Predictor(trainer)(cell, params, None, split)
  disk = _load(folder, "stream", average=False, num_buckets=3)
  source = disk.splits["train"]
  assert len(source.buckets.num_steps) > 1
  split = types.Split(source, None)
  _close(predictor.Predictor(trainer)(cell, params, None, split), expected)


@pytest.mark.slow
def test_seeds_of_a_stream_differ_but_read_once(folder, monkeypatch):
  loaded = _load(folder, "stream", average=True, seeds=(0, 1))
  assert len(loaded.scalers) == 1
  read = []
  read_batch = batch_source.DiskBatches.batch
  monkeypatch.setattr(
    batch_source.DiskBatches, "batch",
    lambda self, planned: read.append(planned) or read_batch(self, planned),
  )  # fmt: skip
  logs, best = _train(loaded, _trainer(loaded), (0, 1), 1)
  losses = logs[-1]["train_loss"]
  assert losses.shape[:2] == (len(CHOICES), 2)
  assert np.all(losses[:, 0] != losses[:, 1])
  assert np.all(np.isfinite(jax.tree.leaves(best.params)[0]))
  # 12 training examples make four batches of 3; other reads are larger.
  steps = [p for p in read if p.rows.shape == (3, 1)]
  assert len(steps) == 4


def test_what_does_not_fit_is_streamed(folder, monkeypatch):
  free = [10**12]
  monkeypatch.setattr(loading, "free_bytes", lambda: free[0])
  assert not isinstance(
    _load(folder, "auto", average=True).splits["train"],
    batch_source.DiskBatches,
  )
  free[0] = 10**6
  assert isinstance(
    _load(folder, "auto", average=True).splits["train"],
    batch_source.DiskBatches,
  )
  assert not isinstance(
    _load(folder, "memory", average=True).splits["train"],
    batch_source.DiskBatches,
  )


def test_a_constant_modality_on_disk_is_refused(tmp_path):
  for split, n in (("train", 8), ("valid", 4), ("test", 4)):
    np.savez(
      tmp_path / f"{split}.npz", y=np.arange(n) % 2, x_a=np.ones((n, 2)),
      x_b=np.random.default_rng(0).normal(size=(n, 2)),
    )  # fmt: skip
  dataset_files.prepare("npz", tmp_path, tmp_path / "out")
  options = catalog.Options(data_dir=str(tmp_path / "out"))
  for how in ("memory", "stream"):
    with pytest.raises(ValueError, match="modality 'a' is constant over the"):
      _read("tfds:npz", options, loading.Reading(how))
