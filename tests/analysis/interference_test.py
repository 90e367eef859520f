"""The effects of interventions equal closed forms on linear models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy import stats

from btw_jax import interventions
from btw_jax import predictions
from btw_jax import tasks
from btw_jax.analysis import interference

WIDTHS = {"one": 3, "two": 4, "none": 2}
TASK = tasks.make("multiclass", 3)
REGRESSION = tasks.make("regression", 1)
KEY = jax.random.key(0)
KINDS = ("noise", "zero", "mean", "shuffle", "mismatch")


@functools.cache
def _problem(num_outputs=3, n=400):
  """Returns inputs and a linear model that ignores the last modality."""
  rng = np.random.default_rng(0)
  inputs = {
    name: jnp.asarray(rng.normal(1, 2, (n, width)), jnp.float32)
    for name, width in WIDTHS.items()
  }
  params = {
    name: jnp.asarray(rng.normal(size=(width, num_outputs)), jnp.float32)
    for name, width in WIDTHS.items()
  }
  params["none"] *= 0
  return inputs, params, rng.integers(0, 3, n)


def linear(params, inputs):
  return sum(inputs[name] @ params[name] for name in inputs)


@functools.cache
def _found(**options):
  inputs, params, target = _problem()
  return interference.diagnose(
    linear, params, inputs, target, task=TASK, key=KEY, **options
  )


def _kl(before, after):
  p = special.log_softmax(before, axis=-1)
  q = special.log_softmax(after, axis=-1)
  return np.sum(np.exp(p) * (p - q), axis=-1)


@pytest.mark.training
def test_effects_on_a_linear_model_are_known():
  inputs, params, target = jax.tree.map(np.asarray, _problem())
  before = linear(params, inputs)
  for name in ("one", "two"):
    share = inputs[name] @ params[name]
    for kind, instead in (
      ("zero", 0.0), ("mean", inputs[name].mean(0) @ params[name])
    ):  # fmt: skip
      after, effect = before - share + instead, _found()[name][kind]
      np.testing.assert_allclose(
        effect.divergence, _kl(before, after), rtol=1e-3, atol=1e-5
      )
      np.testing.assert_array_equal(effect.before, before.argmax(-1) == target)
      np.testing.assert_array_equal(effect.after, after.argmax(-1) == target)
      np.testing.assert_array_equal(
        effect.flipped, before.argmax(-1) != after.argmax(-1)
      )


@pytest.mark.training
def test_what_a_model_ignores_has_exactly_no_effect():
  for kind in KINDS:
    effect = _found()["none"][kind]
    for values in (
      effect.divergence,
      effect.flipped,
      effect.before - effect.after,
    ):
      np.testing.assert_array_equal(values, 0.0)
    # The model does use modality "one".
    assert np.mean(_found()["one"][kind].divergence) > 0.1


def test_noise_moves_a_linear_quantity_by_its_deviation():
  """`w·x` changes by `w·(noise − x)`: normal, with twice its variance."""
  inputs, _, _ = _problem()
  rng = np.random.default_rng(1)
  weights = rng.normal(size=3).astype(np.float32)
  target = jnp.zeros(400)

  def apply(params, inputs):
    mean = inputs["one"] @ params
    return jnp.stack([mean, jnp.zeros_like(mean)], axis=-1)

  used_inputs = {"one": inputs["one"]}
  feature_stats = {
    "one": interventions.FeatureStats(jnp.ones(3), 2 * jnp.ones(3), 0.0)
  }
  effect = interference.diagnose(
    apply, weights, used_inputs, target, task=REGRESSION, key=KEY,
    feature_stats=feature_stats, kinds=("noise",),
  )["one"]["noise"]  # fmt: skip
  law = stats.foldnorm(
    c=abs(weights.sum()) / (2 * np.linalg.norm(weights)),
    scale=2 * np.linalg.norm(weights),
  )
  for errors in (effect.before, effect.after):
    assert stats.kstest(np.asarray(errors), law.cdf).pvalue > 0.001
  # Two independent draws lie apart by KL = Δ² / 2σ², of variance 2·4|w|².
  spread = np.log1p(np.exp(0.0)) + 1e-2
  expected = 8 * np.sum(weights**2) / (2 * spread**2)
  mean, error = np.mean(effect.divergence), stats.sem(effect.divergence)
  assert abs(mean - expected) < 4 * error
  assert stats.pearsonr(effect.before, effect.after).pvalue > 0.001


@pytest.mark.training
def test_others_of_a_linear_model():
  """The model adds up modalities: without the others, one decides alone."""
  inputs, params, target = jax.tree.map(np.asarray, _problem())
  effects = _found(others=True, kinds=("zero",))
  for name in ("one", "two"):
    alone = (inputs[name] @ params[name]).argmax(-1)
    np.testing.assert_array_equal(effects[name]["zero"].after, alone == target)


def test_others_are_shuffled_each_on_its_own():
  """Two equal modalities differ after they are shuffled."""
  column = jnp.arange(30.0)[:, None]
  effect = interference.diagnose(
    lambda _, inputs: jnp.hstack([inputs["a"] - inputs["b"], inputs["c"]]),
    None, {"a": column, "b": column, "c": 0 * column}, jnp.zeros(30),
    task=REGRESSION, key=KEY, kinds=("shuffle",), others=True,
  )["c"]["shuffle"]  # fmt: skip
  np.testing.assert_array_equal(effect.before, 0.0)
  assert np.mean(effect.after > 0) > 0.8


def test_missing_and_unknown_interventions():
  inputs, params, target = _problem()

  def apply(params, inputs):
    return linear(params, {k: v for k, v in inputs.items() if v is not None})

  diagnosis = interference.diagnose(
    apply, params, inputs, target, task=TASK, key=KEY,
    kinds=("missing", "zero"),
  )  # fmt: skip
  for effects in diagnosis.values():
    np.testing.assert_allclose(*(e.divergence for e in effects.values()))
  with pytest.raises(ValueError, match="kinds='blur': use some of noise, "):
    interference.diagnose(
      linear, params, inputs, target, task=TASK, key=KEY, kinds=("blur",)
    )


@pytest.mark.training
@pytest.mark.parametrize("name", tasks.NAMES)
def test_effects_of_every_task(name):
  rng = np.random.default_rng(0)
  task = tasks.make(name, 3)
  before, change = rng.normal(size=(2, 20, task.num_outputs)).astype("f")
  after = before + 0.6 * change
  target = {
    "regression": rng.normal(size=20),
    "binary": rng.integers(0, 2, 20),
    "multiclass": rng.integers(0, 3, 20),
    "multilabel": rng.integers(0, 2, (20, 3)),
  }[name]
  compare = jax.jit(interference.effect, static_argnames=("task", "kind"))
  effect = compare(task, before, after, target, kind="js")
  flipped = {
    "regression": (before[:, 0] > 0) != (after[:, 0] > 0),
    "binary": (before[:, 0] > 0) != (after[:, 0] > 0),
    "multiclass": before.argmax(-1) != after.argmax(-1),
    "multilabel": ((before > 0) != (after > 0)).any(-1),
  }[name]
  np.testing.assert_array_equal(effect.flipped, flipped)
  assert 0 < flipped.sum() < 20
  np.testing.assert_allclose(effect.after, task.score(after, target), rtol=1e-5)
  expected = predictions.divergence(
    task.predict(before), task.predict(after), kind="js"
  )
  np.testing.assert_allclose(effect.divergence, expected, rtol=1e-5, atol=1e-7)
  unchanged = compare(task, before, before, target)
  np.testing.assert_array_equal(unchanged.flipped, 0.0)
  np.testing.assert_array_equal(unchanged.divergence, 0.0)


def test_classes_are_what_should_be_decided():
  """The decisions of a model that is always right equal the classes."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, (30, 40))
  # Two examples differ in only one of the last labels.
  labels[1] = labels[0]
  labels[1, 35] ^= 1
  for name, target, outputs in (
    ("multiclass", (c := rng.integers(0, 3, 30)), np.eye(3)[c]),
    ("binary", (c := rng.integers(0, 2, 30)), 2.0 * c[:, None] - 1),
    ("multilabel", labels, 2.0 * labels - 1),
    ("regression", (c := rng.normal(size=30)), np.stack([c, c], -1)),
  ):
    task = tasks.make(name, 40 if name == "multilabel" else 3)
    classes, decided = task.classes(target), task.decide(outputs)
    assert classes.shape == (30,)
    np.testing.assert_array_equal(classes, decided)
    _, expected = np.unique(
      target > 0 if name == "regression" else target, axis=0,
      return_inverse=True,
    )  # fmt: skip
    same = np.equal.outer(np.asarray(classes), np.asarray(classes))
    np.testing.assert_array_equal(same, np.equal.outer(expected, expected))


def test_intervals_cover_the_mean_as_often_as_they_say():
  rng = np.random.default_rng(0)
  covered = []
  for trial in range(200):
    values = np.stack([rng.exponential(size=120), rng.random(120) < 0.8])
    ends = interference.interval(
      values, level=0.9, num_resamples=400, seed=trial
    )
    # The interval is as wide as the central limit theorem says.
    width = 2 * stats.norm.ppf(0.95) * values.std(axis=1) / np.sqrt(120)
    np.testing.assert_allclose(ends[:, 1] - ends[:, 0], width, rtol=0.25)
    covered.append((ends[:, 0] <= (1, 0.8)) & (ends[:, 1] >= (1, 0.8)))
  assert np.all(np.abs(np.mean(covered, axis=0) - 0.9) < 0.06)
  constant = interference.interval([np.zeros(5), np.full(5, 2.0)])
  np.testing.assert_array_equal(constant, [[0, 0], [2, 2]])
  np.testing.assert_array_equal(interference.interval([[3.0]]), [[3, 3]])


def test_groups_are_resampled_together():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(2, 60))
  alone = interference.interval(values, groups=np.arange(60))
  # Copies of an example in one group tell nothing more than the example.
  copies = interference.interval(
    np.repeat(values, 3, axis=1), groups=np.repeat(np.arange(60), 3)
  )
  np.testing.assert_allclose(copies, alone, atol=1e-12)
  # As many examples that do not belong together tell more.
  apart = interference.interval(
    np.repeat(values, 3, axis=1), groups=np.arange(180)
  )
  ratio = np.ptp(apart, axis=1) / np.ptp(alone, axis=1)
  np.testing.assert_allclose(ratio, 3**-0.5, rtol=0.15)


def test_groups_of_different_sizes_keep_the_mean():
  # Two groups: the mean of the examples is not that of the groups' means.
  ends = interference.interval([[1.0, 0, 0, 0]], groups=["a", "b", "b", "b"])
  # A resample holds both groups, one of them twice, or the other one twice.
  np.testing.assert_array_equal(ends, [[0, 1]])
  middle = interference.interval(
    [[1.0, 0, 0, 0]], groups=["a", "b", "b", "b"], level=0.0
  )
  np.testing.assert_array_equal(middle, [[0.25, 0.25]])
  same = interference.interval([[1.0, 0, 0, 0]], groups=["a"] * 4)
  np.testing.assert_array_equal(same, [[0.25, 0.25]])
