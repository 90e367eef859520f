"""Passes of a model decompose as the joint that they come from."""

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid
from support import oracles

pytestmark = pytest.mark.training
DECOMPOSE = jax.jit(
  passes_lib.decompose, static_argnames=("num_iterations", "tolerance")
)
DECOMPOSE_ANSWERS = jax.jit(
  passes_lib.decompose_answers, static_argnames=("num_options", "num_shuffles")
)
PROJECT = jax.jit(passes_lib.project)


@jax.jit
def DISTANCE(log_probs, p_y, where):
  projected = passes_lib.project(log_probs, p_y, where)
  return passes_lib.distance(log_probs, projected, where)


BROJA = jax.jit(pid.broja)
ATOMS = ("redundant", "unique1", "unique2", "synergistic")
NUM_VALUES, NUM_OPTIONS, SIZE = 4, 3, 64


def _softmax(logits):
  return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def _world(seed, size=SIZE):
  """Draws p(y | v, t) and how often v and t occur together.

  Returns the joint `[V, T, Y]`, and the three passes of `size` examples that
  have exactly these frequencies.
  """
  rng = np.random.default_rng(seed)
  answers = _softmax(2 * rng.normal(size=(NUM_VALUES, NUM_VALUES, NUM_OPTIONS)))
  v, t = rng.integers(NUM_VALUES, size=(2, size))
  counts = np.zeros((NUM_VALUES, NUM_VALUES))
  np.add.at(counts, (v, t), 1)
  joint = counts[:, :, None] * answers / size
  of_v = joint.sum(1) / np.maximum(joint.sum((1, 2)), 1e-30)[:, None]
  of_t = joint.sum(0) / np.maximum(joint.sum((0, 2)), 1e-30)[:, None]
  return joint, passes_lib.Passes(
    *(np.log(x).astype("f") for x in (answers[v, t], of_v[v], of_t[t]))
  )


def _means(atoms, where):
  return [float(np.mean(getattr(atoms, a)[where])) for a in ATOMS]


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(max_examples=20, deadline=None)
def test_the_means_are_the_atoms_of_the_exact_joint(seed):
  joint, passes = _world(seed)
  where = np.ones(SIZE, bool)
  p_y = passes_lib.marginal(passes.both, where)
  atoms = DECOMPOSE(passes, where)
  exact = BROJA(joint)
  np.testing.assert_allclose(
    _means(atoms, where),
    [getattr(exact, a) for a in ATOMS],
    atol=float(atoms.gap + exact.gap) + 2e-6,
  )
  for one in passes:
    nats, variation = DISTANCE(one, p_y, where)
    assert abs(nats) < 1e-6
    assert variation < 1e-6


def test_both_sources_are_treated_alike():
  _, passes = _world(2, 40)
  where = np.ones(40, bool)
  one = DECOMPOSE(passes, where)
  other = DECOMPOSE(
    passes._replace(first=passes.second, second=passes.first), where
  )
  # The atoms of every example, not only their means.
  np.testing.assert_allclose(one.unique1, other.unique2, atol=2e-3)
  np.testing.assert_allclose(one.synergistic, other.synergistic, atol=2e-3)
  assert np.ptp(one.synergistic) > 0.1


def test_padding_changes_nothing():
  _, passes = _world(0, 50)
  alone = DECOMPOSE(passes, np.ones(50, bool))
  # Padding rows hold another example's passes, as a batch from indices does.
  rows = np.concatenate([np.arange(50), np.zeros(14, int)])
  padded = DECOMPOSE(
    passes_lib.Passes(*(x[rows] for x in passes)), np.arange(64) < 50
  )
  for atom in ATOMS:
    values = getattr(padded, atom)
    np.testing.assert_allclose(values[:50], getattr(alone, atom), atol=2e-5)
    np.testing.assert_array_equal(values[50:], 0)


def test_an_option_that_nobody_is_offered_changes_nothing():
  _, passes = _world(1, 50)
  where = np.ones(50, bool)
  wider = passes_lib.Passes(
    *(
      np.pad(x, [(0, 0), (0, 1)], constant_values=-np.inf).astype("f")
      for x in passes
    )
  )
  results = []
  for one in (passes, wider):
    results.append(_means(DECOMPOSE(one, where), where))
  np.testing.assert_allclose(*results, atol=2e-6)


def test_questions_may_offer_fewer_options():
  """A pass whose third option is missing for some has the same definition."""
  rng = np.random.default_rng(2)
  offered = np.ones((16, 3), bool)
  offered[:6, 2] = False
  probs = [_softmax(rng.normal(size=(16, 3))) * offered for _ in range(3)]
  probs = [p / p.sum(axis=1, keepdims=True) for p in probs]
  p_y = probs[0].mean(axis=0)
  logs = passes_lib.Passes(
    *(np.log(p, where=p > 0, out=np.full_like(p, -np.inf)) for p in probs)
  )
  where = np.ones(16, bool)
  atoms = DECOMPOSE(logs, where, num_iterations=2000)
  first, second = (oracles.project(p, p_y) for p in probs[1:])
  expected = oracles.pass_atoms(probs[0], first, second, p_y)
  assert np.all(np.isfinite(expected))
  np.testing.assert_allclose(_means(atoms, where), expected, atol=1e-3)


def test_atoms_agree_with_the_definition_of_the_public_code():
  """Batches of passes that share no P(Y), against the published estimator.

  It measures each pass against the mean of the pass with both, and projects
  nothing; the audit projects. The difference is within the spread over batches.
  """
  rng = np.random.default_rng(3)
  signal = rng.normal(size=(6, 24, NUM_OPTIONS))
  probs = [
    _softmax(scale * signal + rng.normal(size=signal.shape))
    for scale in (2.0, 1.0, 0.7)
  ]
  p_y = probs[0].mean(axis=(0, 1))
  where = np.ones(24, bool)
  ours, theirs = [], []
  for batch in range(6):
    passes = [p[batch] for p in probs]
    atoms = DECOMPOSE(
      passes_lib.Passes(*(np.log(p).astype("f") for p in passes)),
      where,
      p_y.astype("f"),
      num_iterations=1000,
    )
    ours.append(_means(atoms, where))
    theirs.append(oracles.pass_atoms(*passes, p_y, num_steps=300))
  spread = np.std(theirs, axis=0, ddof=1)
  difference = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
  assert np.all(np.abs(difference) < spread), (difference, spread)


def test_information_is_measured_against_the_reference():
  """A batch with other frequencies than the set tells of the set's P(Y)."""
  _, passes = _world(3, 40)
  where = np.ones(40, bool)
  reference = np.array([0.5, 0.3, 0.2], "f")
  own = DECOMPOSE(passes, where)
  other = DECOMPOSE(passes, where, reference)
  p_y = np.exp(passes.both).mean(axis=0)
  change = np.array(_means(other, where)) - _means(own, where)
  shift = oracles.categorical_kl(p_y, reference)
  np.testing.assert_allclose(change, [shift, 0, 0, 0], atol=1e-5)
  both = [oracles.categorical_kl(p, reference) for p in np.exp(passes.both)]
  np.testing.assert_allclose(
    sum(getattr(other, atom) for atom in ATOMS), both, atol=1e-5
  )


@hypothesis.given(st.integers(0, 10**6))
@hypothesis.settings(max_examples=10, deadline=None)
def test_a_projection_has_the_mean_and_is_that_of_scaling(seed):
  rng = np.random.default_rng(seed)
  probs = _softmax(rng.normal(size=(20, 4)))
  p_y = rng.dirichlet(np.full(4, 3.0))
  where = np.arange(20) < 17
  projected = np.exp(PROJECT(np.log(probs).astype("f"), p_y.astype("f"), where))
  np.testing.assert_allclose(projected[:17].mean(axis=0), p_y, atol=1e-5)
  np.testing.assert_allclose(
    projected[:17], oracles.project(probs[:17], p_y, 500), atol=1e-4
  )


def test_a_distance_is_the_divergence_and_the_variation():
  rng = np.random.default_rng(4)
  probs = _softmax(rng.normal(size=(30, 3)))
  p_y = np.array([0.6, 0.3, 0.1])
  projected = oracles.project(probs, p_y, 2000)
  nats, variation = DISTANCE(
    np.log(probs).astype("f"), p_y.astype("f"), np.ones(30, bool)
  )
  expected = np.mean(
    [
      oracles.categorical_kl(p, q)
      for p, q in zip(projected, probs, strict=True)
    ]
  )
  np.testing.assert_allclose(nats, expected, rtol=1e-3)
  np.testing.assert_allclose(
    variation, np.abs(probs.mean(axis=0) - p_y).sum() / 2, rtol=1e-4
  )


def test_certain_passes_stay_finite():
  """A pass that is certain of one option has probabilities of exactly 0."""
  certain = np.full((40, 3), -np.inf, "f")
  certain[np.arange(40), np.arange(40) % 2] = 0
  offered = np.ones((40, 3), bool)
  raised = passes_lib.raise_floor(certain, offered)
  np.testing.assert_allclose(
    np.exp(raised).min(axis=1), passes_lib.FLOOR, rtol=1e-3
  )
  other = np.log(_softmax(np.random.default_rng(5).normal(size=(40, 3))))
  passes = passes_lib.Passes(other.astype("f"), raised, raised)
  atoms = DECOMPOSE(passes, np.ones(40, bool))
  assert all(np.isfinite(getattr(atoms, a)).all() for a in ATOMS)
  hidden = passes_lib.raise_floor(certain, np.arange(3) < 2)
  assert np.isneginf(hidden[:, 2]).all()


def test_shuffles_remove_what_chance_gives_to_hard_answers():
  # y is v if a coin says so, else anything: 0.9 nats at most, R and U2 are 0.
  joint = np.zeros((4, 4, 4))
  for v in range(4):
    joint[v, :, :] += 0.5 / 64
    joint[v, :, v] += 0.5 / 16
  exact = [float(getattr(BROJA(joint), a)) for a in ATOMS]
  errors = []
  for seed in range(6):
    rng = np.random.default_rng(seed)
    cells = rng.choice(64, size=150, p=joint.ravel())
    first, second, both = np.unravel_index(cells, (4, 4, 4))
    result = DECOMPOSE_ANSWERS(
      both, first, second, jax.random.key(seed), num_options=4, num_shuffles=20
    )
    observed = np.array([getattr(result.observed, a) for a in ATOMS])
    chance = np.array([getattr(result.null_mean, a) for a in ATOMS])
    errors.append([observed - exact, observed - chance - exact])
  raw, corrected = np.mean(errors, axis=0)
  # Of the bias of synergy, which is the largest, two thirds are gone.
  assert raw[3] > 0.1
  assert abs(corrected[3]) < raw[3] / 3
  # What the answers tell is not subtracted.
  assert exact[1] > 0.3
  assert abs(corrected[1]) < exact[1] / 4


def test_hard_answers_are_counted():
  """Enough answers without noise give the atoms of their table."""
  first, second = np.repeat(np.indices((2, 2)).reshape(2, -1), 100, axis=1)
  result = DECOMPOSE_ANSWERS(
    jnp.asarray(first ^ second),
    jnp.asarray(first),
    jnp.asarray(second),
    jax.random.key(0),
    num_options=2,
    num_shuffles=2,
  )
  np.testing.assert_allclose(
    [getattr(result.observed, a) for a in ATOMS],
    [0, 0, 0, np.log(2)],
    atol=1e-4,
  )
