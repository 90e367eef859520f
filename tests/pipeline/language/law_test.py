import numpy as np
import pytest
from scipy import stats

from btw_jax.pipeline.language import law
from support import ideal_answers


def _points(num_models, num_tasks, slope, seed=0):
  rng = np.random.default_rng(seed)
  number = num_models * num_tasks
  synergy = rng.uniform(size=number)
  lost = slope * synergy + 0.1 * rng.normal(size=number)
  tasks = np.tile(["add", "shown_choice"], number)[:number]
  return law.Points(
    np.repeat(np.arange(num_models), num_tasks),
    tasks,
    synergy,
    rng.uniform(size=number),
    rng.uniform(size=number),
    lost,
  )


def test_the_correlation_is_spearmans_over_all_points():
  points = _points(20, 2, 1.0)
  value, (low, high) = law.correlation(points, "synergy")
  expected = stats.spearmanr(points.synergy, points.lost).statistic
  assert value == pytest.approx(expected)
  assert low < value < high
  assert low > 0.8
  unrelated, (low, high) = law.correlation(points, "information")
  assert low < 0 < high
  assert abs(unrelated) < 0.4


def test_models_are_resampled_as_a_whole():
  """Copies of a model's points tell nothing new: the interval stays as wide."""
  points = _points(12, 1, 0.3)
  copied = law.concatenate([points] * 4)
  width = np.ptp(law.correlation(points, "synergy")[1])
  assert np.ptp(law.correlation(copied, "synergy")[1]) == pytest.approx(
    width, rel=0.15
  )


def test_choices_and_open_tasks_have_a_row_each():
  rows = law.table(_points(10, 4, 1.0))
  assert [(row["tasks"], row["points"]) for row in rows] == [
    ("multiple choice", 20), ("open", 20), ("all", 40),
  ]  # fmt: skip
  assert float(rows[0]["ρ(S, lost)"].split()[0]) > 0.8


def test_points_of_an_ideal_answerer_are_those_of_the_truth():
  """Images decide together with the options, or not at all."""
  run = ideal_answers.run(
    (1.0, 0.5), audio="none", tasks=("shown_choice", "arithmetic_choice")
  )
  questions = run.setup.questions("test", 400)
  points = law.measure(run, questions, questions, first_model=3)
  assert set(points.model.tolist()) == {3, 4}
  for model, task, synergy, text, information, lost in zip(
    *points, strict=True
  ):
    if task == "arithmetic_choice":
      assert abs(synergy) < 0.02
      assert lost == 0.0
      assert text == pytest.approx(information, abs=0.02)
    else:
      assert abs(text) < 0.02
      assert synergy == pytest.approx(information, abs=0.02)
      # Of four options, the ideal answerer guesses one without the image.
      assert lost > 0.5
    if model == 3:
      assert information == pytest.approx(np.log(4), abs=0.03)
    else:
      assert information < np.log(4) / 2
