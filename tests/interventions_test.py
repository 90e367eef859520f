"""Interventions change the chosen modality, and nothing else."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax import interventions
from btw_jax import types
from support import problems

# The second and third modality come in four steps of two features.
GROUPS = ((1, 2),)
KINDS = tuple(interventions.KINDS)
INTERVENE = jax.jit(
  interventions.intervene, static_argnames=("kinds", "groups", "axis_name")
)
SHUFFLED = jax.jit(interventions.shuffled)
MISMATCHED = jax.jit(interventions.mismatched)


@functools.cache
def _batch():
  """Returns a vector and two sequences, some of them missing."""
  rng = np.random.default_rng(0)
  features = np.zeros((60, 3, 5), np.float32)
  features[:, 0, :4] = rng.normal(size=(60, 4))
  present = rng.random((60, 3)) < 0.8
  present[:, 0] |= ~present.any(1)
  length = rng.integers(1, 5, (60, 2))
  valid = np.arange(4) < length[..., None]
  valid &= present[:, 1:, None]
  observed = rng.random((60, 2, 4, 2)) < 0.7
  values = rng.normal(size=(60, 2, 4, 2)) * (valid[..., None] & observed)
  times = np.sort(rng.random((60, 2, 4)), axis=-1)
  steps = types.Steps(values, length, times, observed)
  features *= present[..., None]
  batch = types.Batch(features, present, rng.integers(0, 3, 60), (steps,))
  return jax.tree.map(jnp.asarray, batch)


def _feature_stats():
  """Returns feature statistics; the last feature of a modality is constant."""
  std = np.ones((3, 5), np.float32)
  std[0, 3:] = std[1:, 1:] = 0
  rng = np.random.default_rng(1)
  mean, zero = rng.normal(size=(2, 3, 5)).astype(np.float32)
  mean[0, 4:] = zero[0, 4:] = 0
  return interventions.FeatureStats(mean, std, zero)


def _on(kind, modality, batch=None, key=0):
  """Intervenes on one modality of all examples."""
  batch = _batch() if batch is None else batch
  chosen = np.where(np.arange(3) == modality, KINDS.index(kind), -1)
  return INTERVENE(
    batch,
    np.broadcast_to(chosen, batch.present.shape),
    jax.random.key(key),
    _feature_stats(),
    classes=batch.target,
    groups=GROUPS if batch.sequences else (),
  )


def _parts(batch):
  """Returns the arrays of each modality, including presence."""
  (steps,) = batch.sequences
  sequences = [
    [x[:, g] for x in (steps.values, steps.length, steps.times, steps.observed)]
    for g in range(2)
  ]
  present = np.moveaxis(np.asarray(batch.present), 1, 0)
  return [
    [present[0], batch.features[:, 0]],
    [present[1], *sequences[0]],
    [present[2], *sequences[1]],
  ]


@pytest.mark.training
@pytest.mark.parametrize("modality", range(3))
def test_only_the_modality_changes(modality):
  before = _parts(_batch())
  for kind in KINDS:
    changed = _on(kind, modality)
    np.testing.assert_array_equal(changed.target, _batch().target)
    # A sequence modality has no other features.
    np.testing.assert_array_equal(changed.features[:, 1:], 0.0)
    for m, (old, new) in enumerate(zip(before, _parts(changed), strict=True)):
      same = [np.array_equal(*pair) for pair in zip(old, new, strict=True)]
      assert all(same) == (m != modality), (kind, m)
      # Absent modalities stay absent, and their values do not matter.
      absent = ~np.asarray(old[0])
      assert not np.any(new[0][absent]) and np.any(absent)
      np.testing.assert_array_equal(new[1][absent], 0.0)


def test_values_are_replaced_where_there_are_some():
  feature_stats = _feature_stats()
  (steps,) = _batch().sequences
  for kind in ("zero", "mean"):
    expected = getattr(feature_stats, kind)
    replaced = _on(kind, 0)
    valid = np.asarray(replaced.present[:, 0])
    np.testing.assert_array_equal(
      replaced.features[valid, 0],
      np.broadcast_to(expected[0], (valid.sum(), 5)),
    )
    (changed,) = _on(kind, 2).sequences
    valid = np.arange(4) < np.asarray(steps.length[:, 1, None])
    valid = valid[..., None] & steps.observed[:, 1]
    valid &= np.asarray(_batch().present[:, 2, None, None])
    np.testing.assert_array_equal(
      changed.values[:, 1], np.where(valid, expected[2, :2], 0.0)
    )


def test_noise_is_as_training_is():
  feature_stats, draws = (
    _feature_stats(),
    [_on("noise", 0, key=key) for key in range(40)],
  )
  valid = np.asarray(_batch().present[:, 0])
  values = np.stack([draw.features[valid, 0] for draw in draws])
  for d in range(3):
    scaled = (
      values[..., d].ravel() - feature_stats.mean[0, d]
    ) / feature_stats.std[0, d]
    assert stats.kstest(scaled, "norm").pvalue > 0.001
  np.testing.assert_array_equal(values[..., 3], feature_stats.mean[0, 3])
  np.testing.assert_array_equal(values[..., 4], 0.0)
  # Noise differs between draws, examples and features.
  assert len(np.unique(values[..., :3])) > 0.99 * values[..., :3].size


def test_missing_is_nothing():
  changed = _on("missing", 1)
  assert not np.any(changed.present[:, 1])
  np.testing.assert_array_equal(changed.sequences[0].values[:, 0], 0.0)


def test_every_example_is_taken_once_and_none_keeps_its_own():
  rng = np.random.default_rng(0)
  seen = set()
  for key in range(20):
    present = rng.random(50) < 0.6
    rows = np.asarray(SHUFFLED(jax.random.key(key), present))
    np.testing.assert_array_equal(np.sort(rows), np.arange(50))
    numbers = np.arange(50)
    np.testing.assert_array_equal(rows[~present], numbers[~present])
    assert np.all(rows[present] != numbers[present])
    assert np.all(present[rows[present]])
    seen.add(tuple(rows))
  assert len(seen) == 20
  np.testing.assert_array_equal(
    SHUFFLED(jax.random.key(0), numbers == 7), numbers
  )


def test_a_mismatch_is_any_example_of_another_class():
  rng = np.random.default_rng(0)
  classes, present = rng.integers(0, 3, 24), rng.random(24) < 0.8
  draw = jax.jit(jax.vmap(interventions.mismatched, (0, None, None)))
  keys = jax.random.split(jax.random.key(0), 4000)
  rows = np.asarray(draw(keys, classes, present))
  for i in range(24):
    counts = np.bincount(rows[:, i], minlength=24)
    if not present[i]:
      assert counts[i] == 4000
      continue
    others = present & (classes != classes[i])
    assert counts[~others].sum() == 0
    assert stats.chisquare(counts[others]).pvalue > 1e-5
  # Every example has its own choice.
  assert len({tuple(row) for row in rows}) > 3900


def test_where_all_are_of_one_class_nothing_mismatches():
  rows = MISMATCHED(jax.random.key(0), np.zeros(24, int), np.ones(24, bool))
  np.testing.assert_array_equal(rows, np.arange(24))


def test_others_are_those_of_the_rows():
  """All values of a mismatched modality come from one other example."""
  batch = _batch()
  changed = _on("mismatch", 2)
  old, new = _parts(batch)[2], _parts(changed)[2]
  classes = np.asarray(batch.target)
  for i in np.flatnonzero(old[0]):
    same = np.all(
      [np.all((x == y[i]).reshape(60, -1), axis=1)
       for x, y in zip(old, new, strict=True)], axis=0,
    )  # fmt: skip
    assert np.any(same & (classes != classes[i]))


@pytest.mark.training
def test_shares_of_a_batch_are_as_the_whole():
  """The result does not depend on the number of shards."""
  batch = _batch()
  rng = np.random.default_rng(0)
  chosen = rng.integers(-1, len(KINDS), batch.present.shape)
  full = INTERVENE(
    batch, chosen, jax.random.key(0), _feature_stats(), classes=batch.target,
    groups=GROUPS,
  )  # fmt: skip

  def of_share(batch, chosen):
    return interventions.intervene(
      batch, chosen, jax.random.key(0), _feature_stats(), classes=batch.target,
      groups=GROUPS, axis_name="devices",
    )  # fmt: skip

  shares = jax.jit(jax.vmap(of_share, axis_name="devices"))(
    *jax.tree.map(lambda x: x.reshape(4, 15, *x.shape[1:]), (batch, chosen))
  )
  for a, b in problems.leaves(shares, full):
    np.testing.assert_array_equal(a.reshape(b.shape), b)
  # Every kind was chosen for an example that it changes.
  changed = np.any(np.asarray(full.features != batch.features), axis=-1)
  assert set(chosen[:, 0][changed[:, 0]]) == set(range(len(KINDS)))


@pytest.mark.training
def test_kinds_draw_the_same_whichever_others_there_are():
  batch = _batch()
  for kind in ("noise", "shuffle", "mismatch"):
    alone = INTERVENE(
      batch, np.zeros(batch.present.shape, int), jax.random.key(0),
      _feature_stats(), kinds=(kind,), classes=batch.target, groups=GROUPS,
    )  # fmt: skip
    np.testing.assert_array_equal(
      alone.features[:, 0], _on(kind, 0).features[:, 0]
    )


@pytest.mark.training
def test_modalities_of_any_model():
  rng = np.random.default_rng(0)
  values = {
    "words": jnp.asarray(rng.integers(0, 9, (40, 6))),
    "weights": jnp.asarray(rng.normal(2, 3, (40, 6)), jnp.float32),
  }
  classes, key = np.arange(40) % 2, jax.random.key(0)
  feature_stats = interventions.feature_stats(values)
  for kind in ("shuffle", "mismatch"):
    new = interventions.of_modality(kind, key, values, feature_stats, classes)
    draw = {"shuffle": SHUFFLED, "mismatch": MISMATCHED}[kind]
    everyone = np.ones(40, bool)
    rows = (
      draw(key, everyone) if kind == "shuffle" else draw(key, classes, everyone)
    )
    for name, x in values.items():
      np.testing.assert_array_equal(new[name], x[rows])
  with pytest.raises(
    ValueError, match="'noise' cannot .* int32: use 'shuffle'"
  ):
    interventions.of_modality("noise", key, values, feature_stats, classes)
  only, of_it = values["weights"], jax.tree.map(
    lambda x: x["weights"], feature_stats, is_leaf=lambda x: isinstance(x, dict)
  )  # fmt: skip
  mean = interventions.of_modality("mean", key, only, of_it, classes)
  np.testing.assert_allclose(mean, np.tile(only.mean(0), (40, 1)), rtol=1e-6)
  zero = interventions.of_modality("zero", key, only, of_it, classes)
  np.testing.assert_array_equal(zero, np.zeros((40, 6)))
  noise = interventions.of_modality("noise", key, only, of_it, classes)
  scaled = (noise - only.mean(0)) / np.std(only, axis=0)
  assert stats.kstest(np.ravel(scaled), "norm").pvalue > 0.001
  assert interventions.of_modality("missing", key, only, of_it, classes) is None
