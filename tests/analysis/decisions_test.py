"""The joint distributions of decisions are compared with loops and SciPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax import predictions
from btw_jax import types
from btw_jax.analysis import decisions
from btw_jax.analysis import pid

GROUPS = ((0, 2),)


def _split(num_seeds=0):
  """Returns a split in which modalities 0 and 2 also have sequences."""
  rng = np.random.default_rng(0)
  axes = (num_seeds,) if num_seeds else ()
  n, length = 7, rng.integers(1, 5, (*axes, 7, 2))
  values = rng.normal(size=(*axes, n, 2, 4, 3))
  values *= (np.arange(4) < length[..., None])[..., None]
  batch = types.Batch(
    jnp.asarray(rng.normal(size=(*axes, n, 3, 5))),
    jnp.asarray(rng.random((*axes, n, 3)) < 0.8),
    jnp.arange(n),
    (types.Steps(jnp.asarray(values), jnp.asarray(length)),),
  )
  return types.Split(batch, jnp.asarray(rng.normal(size=(2, 3, n, 4))))


@pytest.mark.parametrize("num_seeds", [0, 2])
def test_crossed_examples_take_each_modality_from_its_row(num_seeds):
  split = _split(num_seeds)
  rows = np.array([[0, 1, 2], [6, 6, 6], [3, 0, 5]])
  recombined = decisions.recombine(split, rows, GROUPS)
  assert recombined.batch.target is None
  for i, row in enumerate(rows):
    for m, example in enumerate(row):
      np.testing.assert_array_equal(
        recombined.batch.features[..., i, m, :],
        split.batch.features[..., example, m, :],
      )
      np.testing.assert_array_equal(
        recombined.batch.present[..., i, m],
        split.batch.present[..., example, m],
      )
      np.testing.assert_array_equal(
        recombined.unimodal[:, m, i], split.unimodal[:, m, example]
      )
    for place, m in enumerate(GROUPS[0]):
      (steps,), (source_steps,) = (
        recombined.batch.sequences,
        split.batch.sequences,
      )
      np.testing.assert_array_equal(
        steps.values[..., i, place, :, :],
        source_steps.values[..., row[m], place, :, :],
      )
      np.testing.assert_array_equal(
        steps.length[..., i, place], source_steps.length[..., row[m], place]
      )


def test_a_product_is_every_choice():
  rows = decisions.cartesian_rows(
    4, ((1,), [5, 6]), ((0, 3), [7]), ((2,), [1, 2, 3])
  )
  expected = [
    (7, a, c, 7) for a, c in itertools.product([5, 6], [1, 2, 3])
  ]  # fmt: skip
  np.testing.assert_array_equal(rows, expected)


@pytest.mark.training
def test_a_grid_is_what_a_model_decides_of_every_cross():
  """The grid recovers the atoms of XOR, copy and an irrelevant modality."""
  rng = np.random.default_rng(0)
  bits = np.stack([np.arange(6) % 2, np.arange(6) // 3, rng.integers(0, 2, 6)])
  others, broja = [0, 3, 4], jax.jit(pid.broja)
  rows = decisions.cartesian_rows(
    3, ((0,), range(6)), ((1,), range(6)), ((2,), others)
  )
  taken = np.stack([bits[m][rows[:, m]] for m in range(3)])
  for answer, expected in (
    (taken[0] ^ taken[1], (0, 0, 0, np.log(2))),
    (taken[1], (0, 0, np.log(2), 0)),
    (taken[2], (0, 0, 0, 0)),
  ):
    joint = decisions.grid(jnp.eye(2)[answer], 6, 6)
    np.testing.assert_allclose(joint.sum(-1), np.full((6, 6), 1 / 36))
    np.testing.assert_allclose(broja(joint)[:4], expected, atol=1e-4)


def test_decisions_on_a_quantity_are_intervals():
  rng = np.random.default_rng(0)
  mean, std = rng.normal(size=(50,)), rng.uniform(0.5, 2, 50)
  for kind, law in (
    (predictions.Gaussian, stats.norm), (predictions.Laplace, stats.laplace)
  ):  # fmt: skip
    prediction = kind(jnp.asarray(mean), jnp.asarray(std))
    edges = decisions.edges(prediction, 4)
    np.testing.assert_allclose(
      edges, np.quantile(mean, [0.25, 0.5, 0.75]), atol=1e-6
    )
    actual = decisions.probabilities(prediction, edges)
    ends = np.concatenate([[-np.inf], edges, [np.inf]])
    for c in range(4):
      mass = law.cdf(ends[c + 1], mean, std) - law.cdf(ends[c], mean, std)
      np.testing.assert_allclose(actual[:, c], mass, atol=1e-6)


def test_decisions_on_classes_and_labels_are_their_probabilities():
  logits = jnp.asarray([[0.0, np.log(3.0)], [2.0, 2.0]])
  np.testing.assert_allclose(
    decisions.probabilities(predictions.Categorical(logits)),
    [[1 / 4, 3 / 4], [1 / 2, 1 / 2]], rtol=1e-6,
  )  # fmt: skip
  actual = decisions.probabilities(predictions.Bernoulli(logits[:1]))
  np.testing.assert_allclose(
    actual, [[[1 / 2, 1 / 2], [1 / 4, 3 / 4]]], rtol=1e-6
  )


def test_soft_joints_are_means_of_outer_products():
  rng = np.random.default_rng(0)
  one, two, three, target = rng.dirichlet(np.ones(3), (4, 2, 9))
  for sources in ([one, two], [one, two, three]):
    actual = decisions.soft(sources, target)
    for s in range(2):
      expected = 0.0
      for distributions in zip(
        *(x[s] for x in (*sources, target)), strict=True
      ):
        outer = 1.0
        for probs in distributions:
          outer = np.multiply.outer(outer, probs)
        expected = expected + outer / 9
      np.testing.assert_allclose(actual[s], expected, atol=1e-6)


@pytest.mark.training
def test_scores_of_examples_average_to_the_atoms():
  rng = np.random.default_rng(0)
  one, two, target = rng.dirichlet(np.full(3, 0.3), (3, 40))
  joint = decisions.soft([one, two], target)
  atoms, decomposed = (jax.jit(f)(joint) for f in (pid.pointwise, pid.broja))
  for atom, expected in zip(atoms, decomposed, strict=False):
    scores = decisions.scores(atom, one, two, target)
    assert scores.shape == (40,)
    np.testing.assert_allclose(scores.mean(), expected, atol=2e-6)
