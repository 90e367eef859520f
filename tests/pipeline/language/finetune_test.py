import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import errors
from btw_jax import types
from btw_jax.analysis import gap_score
from btw_jax.data.questions import vocabulary
from btw_jax.data.questions import world
from btw_jax.models.language import lora
from btw_jax.parallel import device_map
from btw_jax.pipeline.audit import batches
from btw_jax.pipeline.language import finetune
from btw_jax.pipeline.language import finetune_network
from btw_jax.pipeline.language import finetune_training
from btw_jax.pipeline.language import finetune_weights
from btw_jax.pipeline.language import interactions_masked
from btw_jax.pipeline.language import truth
from btw_jax.reports import statistics
from btw_jax.training import loop
from btw_jax.training import model_groups
from btw_jax.training import state as state_lib
from support import language_runs

_BATCH_SIZE, _RATE = 32, 0.5
_OPTIONS = finetune_training.Options(
  num_seeds=3, num_epochs=2, batch_size=_BATCH_SIZE, rank=2
)


@functools.cache
def _run():
  """Returns two models before their first step, and 80 questions."""
  run = language_runs.untrained()
  return run, run.setup.questions("train", 80)


def _steep(trainer):
  """Returns a trainer whose steps are the gradient, times a rate."""
  optimizer = optax.partition(
    {"factors": optax.sgd(_RATE), "base": optax.set_to_zero()},
    {"factors": "factors", "base": "base"},
  )
  return dataclasses.replace(trainer, optimizer=optimizer, max_norm=None)


def _fit(trainer, questions, seeds, num_epochs):
  """Returns the last epoch of all seeds and models, `[S, U, ...]`."""
  split = types.Split(questions.to_batch(), None)
  setting = finetune_training.setting(len(trainer.factors), num_epochs)
  best = loop.fit(
    trainer, [setting], seeds, split, split, num_epochs=num_epochs
  )
  return jax.tree.map(lambda x: x[0], best)


def _init(trainer, questions, num_seeds):
  """Returns the parameters `[S, ...]` before the first step."""
  first = jax.tree.map(lambda x: x[:1], questions.to_batch())
  return jax.jit(
    jax.vmap(lambda seed: trainer.init(seed, types.Split(first, None)))
  )(jnp.arange(num_seeds)).train.params


@functools.partial(jax.jit, static_argnums=0)
def _logits(apply, params, batch):
  """Returns the logits `[S, B, V]` of models `[S, ...]`."""
  return jax.vmap(
    lambda params: apply({"params": params}, batch, None, train=True)[0][0]
  )(params)


@pytest.mark.parametrize(("num_layers", "changed"), [(1, 1), (4, 1), (10, 2)])
def test_the_last_fifth_of_the_layers_changes(num_layers, changed):
  layers = finetune_network.changed_layers(num_layers)
  assert list(layers) == list(range(num_layers))[-changed:]


def test_adapters_change_nothing_at_the_start():
  run, questions = _run()
  trainer = finetune_training.make_trainer(run, np.ones((1, 3, 80)), _OPTIONS)
  params, turns = _init(trainer, questions, 3), np.arange(3) % 2
  # Seeds start from the models in turn, with factors of their own.
  models = jax.tree.map(lambda x: x[turns], run.params)
  batch = questions.to_batch()
  adapted = _logits(trainer.network.apply, params, batch)
  plain = _logits(run.setup.trainer.network.apply, models, batch)
  np.testing.assert_allclose(adapted, plain, atol=1e-6)
  assert np.all(np.abs(plain[0] - plain[1]).max(axis=-1) > 0.01)
  query = params["factors"]["layers_1"]["attention"]["query"].a
  assert np.all(query[0] != query[2])


def test_the_language_network_gets_no_gradient():
  run, questions = _run()
  trainer = finetune_training.make_trainer(run, np.ones((1, 3, 80)), _OPTIONS)
  batch = questions.take(np.arange(4)).to_batch()
  params = jax.tree.map(lambda x: x[0], _init(trainer, questions, 1))

  @jax.jit
  @jax.grad
  def gradient(params):
    logits, _ = trainer.network.apply(
      {"params": params}, batch, None, train=True
    )
    return jnp.sum(trainer.task.loss(logits, batch.target))

  gradients = gradient(params)
  assert all(np.all(x == 0) for x in jax.tree.leaves(gradients["base"]))
  assert np.any(gradients["factors"]["layers_1"]["attention"]["value"].b != 0)


@pytest.mark.training
def test_one_example_counts_and_gives_its_gradient():
  """The factors are 0 but for one example, another one for each model."""
  run, questions = _run()
  questions = questions.take(np.arange(_BATCH_SIZE))
  counted = np.array([[3, 17], [8, 30]])
  factors = np.zeros((2, 2, _BATCH_SIZE))
  np.put_along_axis(factors, counted[..., None], 2.0, axis=2)
  trainer = _steep(finetune_training.make_trainer(run, factors, _OPTIONS))
  best = _fit(trainer, questions, [0, 1], num_epochs=1)

  @jax.jit
  def gradient(factors, model, batch):
    def loss(factors):
      merged = lora.merge(model, factors, 1.0)
      logits, _ = run.setup.trainer.network.apply(
        {"params": merged}, batch, None, train=True
      )
      return -jax.nn.log_softmax(logits[0, 0])[batch.target[0]]

    return jax.grad(loss)(factors)

  starts = _init(trainer, questions, 2)
  for model, seed in np.ndindex(2, 2):

    def of_model(x, u=model, s=seed):
      return x[s, u]

    alone = questions.take(counted[model, seed, None]).to_batch()
    start = jax.tree.map(of_model, starts["factors"])
    base = jax.tree.map(lambda x, s=seed: x[s], starts["base"])
    # The mean over the batch of an example that counts twice.
    expected = jax.tree.map(
      lambda x, g: x - _RATE * 2.0 * g / _BATCH_SIZE,
      start,
      gradient(start, base, alone),
    )
    trained = jax.tree.map(of_model, best.params["factors"])
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
      trained,
      expected,
    )
    moved = trained["layers_1"]["mlp"]["down"].b
    assert np.abs(moved).max() > 1e-4


@pytest.mark.training
def test_only_the_factors_change_in_one_program():
  run, questions = _run()
  factors = np.ones((2, 3, 80))
  factors[1, :, :40] = 3.0
  trainer = finetune_training.make_trainer(run, factors, _OPTIONS)
  traced = []

  def loss(outputs, targets):
    traced.append(outputs.shape)
    return trainer.task.loss(outputs, targets)

  counting = dataclasses.replace(trainer, task=trainer.task._replace(loss=loss))
  best = _fit(counting, questions, [0, 1, 2], num_epochs=3)
  # The steps and the validation of all runs and epochs: each is traced once,
  # and the steps once more by the loop that scans them.
  steps = [shape for shape in traced if shape[1] == _BATCH_SIZE]
  assert len(traced) - len(steps) == 1
  assert len(steps) <= 2
  # The last epoch is kept.
  assert np.all(best.epoch == 2)
  turns = np.arange(3) % 2
  jax.tree.map(
    lambda x, model: np.testing.assert_array_equal(x, model[turns]),
    best.params["base"],
    run.params,
  )
  changed = best.params["factors"]
  assert list(changed) == ["layers_1"]
  for b in (changed["layers_1"]["attention"]["value"].b,
            changed["layers_1"]["mlp"]["gate"].b):  # fmt: skip
    assert np.all(np.abs(b).max(axis=(2, 3)) > 0)
    assert np.any(b[:, 0] != b[:, 1])


def test_gradients_are_clipped_model_by_model():
  """The gradient of one model does not change how far another one moves."""
  run, questions = _run()
  trainer = finetune_training.make_trainer(run, np.ones((2, 1, 80)), _OPTIONS)
  params = jax.tree.map(lambda x: x[0], _init(trainer, questions, 1))
  owners = trainer.network.model_ids(params)
  small = jax.tree.map(jnp.zeros_like, params)
  small["factors"] = jax.tree.map(
    lambda x: x.at[0].set(1e-4).at[1].set(10.0), small["factors"]
  )
  clipped = model_groups.clip(small, 1.0, owners, 2)["factors"]
  for before, after in zip(
    *map(jax.tree.leaves, (small["factors"], clipped)), strict=True
  ):
    np.testing.assert_array_equal(after[0], before[0])
    assert np.all(after[1] < 1)


def test_every_device_gets_the_factors_of_its_examples():
  run, _ = _run()
  factors = np.arange(2 * 3 * 80.0).reshape(2, 3, 80)
  trainer = finetune_training.make_trainer(run, factors, _OPTIONS)

  train = state_lib.TrainState(jnp.int32(0), {}, {}, jnp.int32(2))
  state = state_lib.RunState(train, None, None)
  of_devices = jax.vmap(
    lambda _: trainer.importance(state, None), axis_name=device_map.AXIS
  )(jnp.arange(2))
  # Slot j of a batch has the examples j, j + 32 and j + 64; 16 slots a device.
  for device in range(2):
    slots = device * 16 + np.arange(16)
    rows = slots[:, None] + np.array([0, 32, 64])
    filled = rows.ravel() < 80
    np.testing.assert_array_equal(
      of_devices[device][filled], factors[:, 2, rows.ravel()[filled]].T
    )


def _profile():
  rng = np.random.default_rng(0)
  scores = gap_score.GapScore(*rng.uniform(0.1, 1, size=(4, 2, 50)))
  return finetune_weights.Profile(
    scores, rng.random((2, 50)) < 0.7, rng.normal(size=(2, 50))
  )


def test_the_variants_weigh_what_they_say():
  profiled = _profile()
  weights = finetune_weights.variants(profiled, 5, 3)
  assert list(weights) == [
    "uniform", "GapScore", "random", "accuracy", "ablation",
  ]  # fmt: skip
  assert all(x.shape == (3, 50) for x in weights.values())
  np.testing.assert_array_equal(weights["uniform"], 1)
  for seed in range(3):
    model = seed % 2
    by_score = weights["GapScore"][seed]
    top = np.argsort(-profiled.scores.gap_score[model])[:5]
    assert set(np.flatnonzero(by_score == 3)) == set(top)
    assert np.sum(by_score == 0.5) == 5
    shuffled = weights["random"][seed]
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(by_score))
    assert np.sum(shuffled != by_score) > 5
    np.testing.assert_array_equal(
      weights["accuracy"][seed], np.where(profiled.is_right[model], 1, 3)
    )
    top = np.argsort(-profiled.lost[model])[:5]
    assert set(np.flatnonzero(weights["ablation"][seed] == 3)) == set(top)
    assert weights["ablation"][seed].sum() == 45 + 5 * 3
  # Each seed has its own random weights, also from the same model.
  assert np.any(weights["random"][0] != weights["random"][2])


def test_questions_that_lose_nothing_are_not_raised():
  profiled = _profile()
  lost = np.where(np.arange(50) < 3, 0.5, -0.1) * np.ones((2, 1))
  weights = finetune_weights.variants(profiled._replace(lost=lost), 5, 2)
  np.testing.assert_array_equal(
    weights["ablation"], np.where(np.arange(50) < 3, 3, 1) * np.ones((2, 1))
  )


def test_the_shares_of_weights_are_counted():
  weights = {"some": np.array([[3.0, 1, 1, 1], [0.5, 1, 1, 1]])}
  assert finetune_weights.shares(weights) == [
    {"weights": "some", "count 3, %": "12.5", "count 1, %": "75.0",
     "count 0.5, %": "12.5"}
  ]  # fmt: skip


def _answered(questions, num_models):
  """Returns random answers of models, without and with masks."""
  rng = np.random.default_rng(0)
  offered = questions.options != vocabulary.PAD
  logits = 2 * rng.normal(size=(4, num_models, *offered.shape))
  log_probs = np.asarray(jax.nn.log_softmax(np.where(offered, logits, -np.inf)))
  return dict(zip((None, 0, 1, 2), log_probs, strict=True))


@pytest.mark.training
def test_scores_are_those_of_an_audit_of_each_model_and_task():
  tasks = ("compare", "same", "shown_choice")
  questions = world.make("train", 180, tasks=tasks, audio="tones")
  answered = _answered(questions, 2)
  programs = batches._solve_chunk._cache_size()
  scores = finetune_weights.scores(answered, questions, seed=0)
  # Batches are the questions of two tasks, and of each wording of "same". One
  # program for each padded size serves all numbers of options.
  is_same = questions.tasks == "same"
  wordings = np.bincount(questions.wordings[is_same])
  others = np.unique(questions.tasks[~is_same], return_counts=True)[1]
  padded = np.searchsorted(batches._SIZES, [*others, *wordings])
  assert batches._solve_chunk._cache_size() - programs == len(set(padded))
  words = world.describe("tones").vocabulary
  for task in tasks:
    rows, sources = questions.tasks == task, truth.sources(task)
    for model in range(2):
      arrays = interactions_masked.to_arrays(
        {masked: x[model, rows] for masked, x in answered.items()},
        questions.take(rows),
        sources,
        words,
      )
      atoms = interactions_masked.decompose(arrays).atoms
      expected = gap_score.score(
        atoms,
        *(
          np.where(np.isnan(arrays[name]), -np.inf, arrays[name])
          for name in (
            "both",
            sources.condition(sources.first),
            sources.condition(sources.second),
          )
        ),
      )
      for ours, audited in zip(scores, expected, strict=True):
        # Means are exact up to 5e-4; those of examples vary a little more.
        np.testing.assert_allclose(ours[model, rows], audited, atol=0.03)
      assert np.std(scores.gap_score[model, rows]) > 0.03


def test_groups_differences_and_likelihoods_are_in_the_table():
  labels = np.array([0, 1, 1, 0])
  right = np.log([[0.9, 0.6, 0.8, 0.3], [0.5, 0.4, 0.8, 0.6]])
  wrong = np.log(1 - np.exp(right))
  log_probs = np.where(
    labels[:, None] == np.arange(2), right[..., None], wrong[..., None]
  )
  questions = type(
    "", (), {"labels": labels, "relevant": np.array([[1, 1], [0, 1]] * 2)}
  )
  uniform = finetune._score(log_probs, questions)
  np.testing.assert_array_equal(uniform.is_right[0], [1, 1, 1, 0])
  np.testing.assert_allclose(uniform.nll, -right)
  better = uniform._replace(is_right=np.ones((2, 4), bool))
  comparison = finetune.Comparison(
    {"before fine-tuning": uniform, "uniform": uniform, "GapScore": better},
    {"uniform": np.ones((2, 6))},
    finetune._groups(questions),
    np.array([0.5]),
  )
  rows = finetune.table(comparison)
  assert [row["test questions"] for row in rows] == (
    ["all"] * 3 + ["need two modalities"] * 3
  )
  # Of 4 questions, the seeds answer 3 and 2 right (a tie goes to option 0).
  means = uniform.is_right.mean(axis=1)
  assert rows[1]["accuracy, %"].startswith(f"{100 * means.mean():.2f} ± ")
  assert rows[1]["accuracy − uniform"] == ""
  assert rows[0]["accuracy − uniform"] == "+0.00 ± 0.00 (p = 1.000)"
  gain, p_value = 1 - means, statistics.paired_p_value(1 - means)
  assert rows[2]["accuracy − uniform"].startswith(f"+{100 * gain.mean():.2f} ±")
  assert rows[2]["accuracy − uniform"].endswith(
    f"(p = {p_value:.3f})".replace("0.", ".")
  )
  # The questions 0 and 2 need both modalities.
  nll = -right[:, [0, 2]].mean()
  assert rows[4]["NLL, nats"].startswith(f"{nll:.4f} ± ")
  note = finetune.describe(comparison)
  assert "2 runs of fine-tuning with 6 questions, from 1 model that" in note
  assert "answer 50.0 % of these questions right before; 4 test" in note
  assert "not independent" in note


def test_settings_that_do_not_fit_are_refused():
  run, _ = _run()
  number = run.setup.config.num_train
  options = finetune.Options(num_train=number + 1)
  with pytest.raises(
    errors.InputError,
    match=f"--num_train={number + 1}: the run has {number} training questions",
  ):
    finetune.compare(run, options)
  with pytest.raises(
    errors.InputError,
    match="--batch_size=128: give a multiple of the 1 devices that is at most"
    " the number of questions, 100",
  ):
    finetune.compare(run, finetune.Options(num_train=100))
