import jax
import numpy as np
import pytest

from btw_jax.analysis import pid
from btw_jax.data.questions import tasks as tasks_lib
from btw_jax.data.questions import world as world_lib
from btw_jax.pipeline.language import interactions_grid as grid_lib
from btw_jax.pipeline.language import truth as truth_lib


def _drawn(task, num_values=40):
  questions = world_lib.make("test", 2000, 3, tasks=[task], audio="tones")
  truth = truth_lib.make(task)
  return questions, truth, grid_lib.draw(questions, truth, num_values, seed=0)


@pytest.mark.parametrize(
  "task", ["shown", "arithmetic", "add", "spoken", "same"]
)
def test_pairs_of_latents_weigh_as_in_the_world(task):
  questions, truth, grid = _drawn(task)
  weights = np.zeros(truth.joint.shape[:2])
  of_first, of_second = truth.strata(questions)
  for row, i in enumerate(grid.first):
    for column, j in enumerate(grid.second):
      weights[of_first[i], of_second[j]] += grid.weights[row, column]
  np.testing.assert_allclose(weights, truth.joint.sum(axis=-1), atol=1e-12)


def test_values_differ_and_every_latent_has_as_many():
  questions, _, grid = _drawn("same")
  assert grid.shape == (2, 40, 40)
  assert len(np.unique(questions.images[grid.first], axis=0)) == 40
  assert len(np.unique(questions.audio[grid.second], axis=0)) == 40
  assert len(np.unique(questions.tokens[grid.control], axis=0)) == 2
  np.testing.assert_array_equal(np.bincount(questions.shown[grid.first]), 4)
  np.testing.assert_array_equal(np.bincount(questions.spoken[grid.second]), 4)


def test_a_latent_without_a_question_is_refused():
  questions, truth, _ = _drawn("add")
  with pytest.raises(ValueError, match="latent 4: no question has it"):
    grid_lib.draw(questions.take(questions.parameter != 4), truth, 40, seed=0)


def test_questions_are_recombined_with_the_second_source_fastest():
  questions, _, grid = _drawn("both_sum", 20)
  recombined = grid_lib.recombine(questions, grid, seed=0)
  shape = (2, 20, 20)
  assert grid.shape == shape
  for place, (k, i, j) in enumerate(np.ndindex(*shape)):
    text, image = grid.control[k], grid.first[i]
    sound = grid.second[j]
    np.testing.assert_array_equal(
      recombined.tokens[place], questions.tokens[text]
    )
    np.testing.assert_array_equal(
      recombined.images[place], questions.images[image]
    )
    np.testing.assert_array_equal(
      recombined.audio[place], questions.audio[sound]
    )


def test_the_image_of_a_question_about_sound_is_any():
  questions, _, grid = _drawn("spoken")
  recombined = grid_lib.recombine(questions, grid, seed=0)
  assert len(np.unique(recombined.shown)) == 10


_SOLVE = jax.jit(lambda x: pid.broja(x, num_iterations=1000))


def _tables():
  """Returns two random joints of different shapes, the last with L = 2."""
  rng = np.random.default_rng(0)
  return [
    rng.dirichlet(np.full(np.prod(shape[-3:]), 0.3), shape[:-3]).reshape(shape)
    for shape in ((2, 1, 3, 5, 2), (2, 2, 5, 4, 3))
  ]


@pytest.mark.training
def test_tables_of_all_shapes_are_solved_together():
  tables = _tables()
  for table, solved in zip(tables, grid_lib.solve(tables), strict=True):
    alone = _SOLVE(table.reshape(-1, *table.shape[-3:]))
    expected = np.stack(alone[:4], axis=-1).reshape(*table.shape[:2], 4)
    np.testing.assert_allclose(solved.atoms, expected.mean(axis=1), atol=3e-4)
    assert solved.gap.shape == (2,)
    assert np.all(solved.gap < 3e-4)
    np.testing.assert_allclose(
      solved.shares.sum(axis=(-2, -1)), solved.atoms, atol=1e-5
    )


@pytest.mark.training
def test_shares_are_the_first_order_influence_on_atoms():
  table = _tables()[1][:, 0]
  rng = np.random.default_rng(1)
  first, second = rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 4)
  # More of some values of each source and less of others, as in a resample.
  more = 0.1 * (first[:, None] + second)
  shares = grid_lib.solve([table[:, None]])[0].shares
  after = []
  for sign in (1, -1):
    changed = table * (1 + sign * more)[..., None]
    after.append(np.stack(_SOLVE(changed)[:4], axis=-1))
  # Atoms do not depend on the sum of a table, which changes here.
  growth = np.sum(table * more[..., None], axis=(1, 2, 3))[:, None]
  atoms = shares.sum(axis=(-2, -1))
  predicted = (shares * more).sum(axis=(-2, -1)) - growth * atoms
  np.testing.assert_allclose((after[0] - after[1]) / 2, predicted, atol=2e-4)
  assert np.abs(predicted).max() > 2e-3


def test_intervals_have_the_spread_of_means():
  rng = np.random.default_rng(0)
  # The share of a value is its part in an atom; four atoms differ in scale.
  values = rng.normal(size=30) * np.array([1, 2, 0, 4])[:, None] / 30
  shares = np.repeat(values[..., None], 5, axis=-1) / 5
  strata = np.repeat(np.arange(3), 10), np.zeros(5, int)
  ends = grid_lib.intervals(shares, strata, num_resamples=20_000, seed=0)
  within = values.reshape(4, 3, 10).var(axis=-1).sum(axis=-1)
  width = 2 * 1.96 * np.sqrt(10 * within)
  np.testing.assert_allclose(ends[:, 1] - ends[:, 0], width, rtol=0.04)
  np.testing.assert_allclose(
    ends.mean(axis=1), values.sum(axis=1), atol=0.05 * width.max()
  )


def test_values_are_resampled_within_their_latent():
  # Values differ between latents only: every resample has the same atoms.
  strata = np.repeat(np.arange(2), 3), np.repeat(np.arange(2), 2)
  of_latents = np.array([[0.1, 0.3], [0.2, 0.5]])
  shares = np.tile(of_latents[np.ix_(*strata)], (4, 1, 1))
  ends = grid_lib.intervals(shares, strata, num_resamples=100, seed=0)
  np.testing.assert_allclose(ends, shares.sum(axis=(1, 2))[:, None] + [0, 0])


def test_padded_pairs_do_not_count():
  shares = np.ones((4, 3, 2)) / 6
  strata = np.zeros(3, int), np.zeros(2, int)
  padded = np.pad(shares, [(0, 0), (0, 2), (0, 1)])
  ends = grid_lib.intervals(padded, strata, num_resamples=100, seed=0)
  np.testing.assert_allclose(ends, 1.0)


def test_every_open_task_has_a_grid():
  for task in tasks_lib.TASKS:
    if truth_lib.is_open(task):
      _, truth, grid = _drawn(task)
      # All latents are there, in a table of at most 40 values a side.
      assert max(grid.shape) <= 40
      for strata, size in zip(grid.strata, truth.joint.shape, strict=False):
        assert set(strata) == set(range(size))
