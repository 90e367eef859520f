import json

import numpy as np
import pytest

from btw_jax.pipeline.language import config as config_lib
from btw_jax.pipeline.language import interactions
from btw_jax.pipeline.language import interactions_tables
from btw_jax.pipeline.language import truth as truth_lib
from support import ideal_answers

pytestmark = pytest.mark.training

_OPTIONS = interactions.Options(num_questions=2400, num_resamples=200)


@pytest.fixture(scope="module")
def measured():
  """Decomposes a model that is right, and one that guesses."""
  return interactions.measure(ideal_answers.run((1.0, 0.0)), _OPTIONS)


def test_the_grid_of_an_ideal_model_has_the_true_atoms(measured):
  assert list(measured.grid) == [
    t for t in config_lib.TASKS if truth_lib.is_open(t)
  ]
  for task, atoms in measured.grid.items():
    np.testing.assert_allclose(
      atoms.bits[0], measured.truth[task], atol=1e-3, err_msg=task
    )
    np.testing.assert_allclose(atoms.bits[1], 0, atol=1e-4)
    # The last layer answers; the model guesses before it.
    np.testing.assert_array_equal(atoms.layers[:, -1], atoms.bits)
    np.testing.assert_allclose(atoms.layers[:, 0], 0, atol=1e-4)
    # Images, sounds and texts of one meaning get the same answers, and the
    # intervals are those of the mean over seeds.
    np.testing.assert_allclose(
      atoms.intervals, atoms.bits.mean(axis=0)[:, None] + [0, 0], atol=1e-3
    )
    assert atoms.gap < 1e-3


def test_masks_of_an_ideal_model_have_the_true_atoms(measured):
  assert list(measured.masked) == list(config_lib.TASKS)
  for task, atoms in measured.masked.items():
    # 200 questions do not have each answer equally often: all information is
    # the entropy of their answers, and each atom is near the true one.
    labels = measured.answers[f"{task}_seed0"]["labels"]
    shares = np.bincount(labels) / len(labels)
    entropy = -np.sum(shares * np.log2(np.where(shares > 0, shares, 1)))
    if truth_lib.sources(task).control is None:
      np.testing.assert_allclose(sum(atoms.bits[0]), entropy, atol=1e-3)
    np.testing.assert_allclose(
      atoms.bits[0], measured.truth[task], atol=0.2, err_msg=task
    )
    np.testing.assert_allclose(atoms.bits[1], 0, atol=1e-4)
    assert atoms.moved < 0.15
    # Both models have the same questions.
    lower, upper = atoms.intervals.T
    mean = atoms.bits.mean(axis=0)
    assert np.all((lower <= mean + 1e-6) & (mean <= upper + 1e-6))


def test_answers_have_a_name_for_each_seed(measured):
  assert set(measured.answers) == {
    f"{task}_seed{seed}" for task in config_lib.TASKS for seed in (0, 1)
  }


def test_tables_show_the_atoms_beside_the_truth(measured):
  tables = interactions_tables.tables(measured)
  (row,) = [row for row in tables["grid"] if row["task"] == "add"]
  # The mean of a right model and of one that guesses.
  assert row == {
    "task": "add",
    "sources": "image, text",
    "R": "0.35 (0.35 to 0.35)",
    "R true": "0.71",
    "U1": "0.00 (0.00 to 0.00)",
    "U1 true": "0.00",
    "U2": "0.00 (0.00 to 0.00)",
    "U2 true": "0.00",
    "S": "1.66 (1.66 to 1.66)",
    "S true": "3.32",
    "largest error": "1.66",
  }
  assert [row["task"] for row in tables["masked"]] == list(config_lib.TASKS)
  assert "P(Y) moved" in tables["masked"][0]
  layers = [row for row in tables["layers"] if row["task"] == "same"]
  assert layers[3] == {
    "task": "same", "atom": "S", "layer 0": "0.00", "layer 1": "0.50",
    "true": "1.00",
  }  # fmt: skip
  numbers = json.loads(json.dumps(interactions_tables.to_json(measured)))
  np.testing.assert_allclose(
    numbers["masked"]["same"]["bits"], measured.masked["same"].bits
  )


def test_a_run_of_choices_has_no_grid():
  run = ideal_answers.run(tasks=("compare_choice",), audio="none")
  options = interactions.Options(num_questions=240)
  measured = interactions.measure(run, options)
  assert not measured.grid
  assert list(measured.answers) == ["compare_choice"]
  assert list(interactions_tables.tables(measured)) == ["masked"]
  assert not interactions_tables.profiles(measured)
  (kinds,) = interactions_tables.bars(measured).values()
  assert list(kinds) == ["masked", "truth"]
