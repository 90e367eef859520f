import numpy as np
import pytest

from btw_jax.data.questions import vocabulary as vocabulary_lib
from btw_jax.pipeline import files
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import run as audit_run
from btw_jax.pipeline.language import interactions
from btw_jax.pipeline.language import interactions_masked as masked_lib
from btw_jax.pipeline.language import truth as truth_lib
from support import ideal_answers

_TASKS = ("compare", "shown_choice", "same")
_SEEDS = (0.9, 0.6)


@pytest.fixture(scope="module")
def run():
  return ideal_answers.run(_SEEDS, tasks=_TASKS)


@pytest.fixture(scope="module")
def measured(run):
  options = interactions.Options(num_questions=300)
  return interactions.measure_masked(run, options)


def test_arrays_hold_the_three_passes(run):
  questions = run.setup.questions("test", 300)
  answered = masked_lib.passes(run, questions, questions, seed=0)
  rows = questions.tasks == "shown_choice"
  of_task = questions.take(rows)
  arrays = masked_lib.to_arrays(
    {masked: x[0, rows] for masked, x in answered.items()},
    of_task,
    truth_lib.sources("shown_choice"),
    run.setup.world.vocabulary,
  )
  assert list(arrays["options"]) == ["a", "b", "c", "d"]
  certain = 0.9 + 0.1 / 4
  right = np.arange(4) == of_task.labels[:, None]
  np.testing.assert_allclose(
    np.exp(arrays["both"]), np.where(right, certain, 0.1 / 4)
  )
  # Neither the image nor the text alone tells the letter.
  np.testing.assert_allclose(np.exp(arrays["image"]), 0.25)
  np.testing.assert_allclose(np.exp(arrays["text"]), 0.25)
  np.testing.assert_array_equal(arrays["ids"], of_task.ids)


def test_the_pass_of_a_source_masks_the_other_one(run):
  questions = run.setup.questions("test", 300)
  rows = questions.tasks == "compare"
  of_task = questions.take(rows)
  answered = masked_lib.passes(run, questions, questions, seed=0)
  arrays = masked_lib.to_arrays(
    {masked: x[0, rows] for masked, x in answered.items()},
    of_task,
    truth_lib.sources("compare"),
    run.setup.world.vocabulary,
  )
  # A digit d is above d of nine thresholds, a threshold t below 9 - t digits.
  yes = {
    "image": of_task.shown / 9,
    "text": (9 - of_task.parameter) / 10,
  }
  for name, chance in yes.items():
    np.testing.assert_allclose(
      np.exp(arrays[name][:, 1]), 0.9 * chance + 0.1 / 2
    )


def test_options_that_are_not_offered_are_marked():
  run = ideal_answers.run(tasks=("compare", "shown"))
  questions = run.setup.questions("test", 100)
  # One question offers one option only.
  rows = questions.tasks == "compare"
  of_task = questions.take(rows)
  options = of_task.options.copy()
  options[3, 1] = vocabulary_lib.PAD
  arrays = masked_lib.to_arrays(
    dict.fromkeys((None, 0, 1), np.zeros((rows.sum(), options.shape[1]))),
    of_task._replace(options=options),
    truth_lib.sources("compare"),
    run.setup.world.vocabulary,
  )
  assert arrays["both"].shape == (rows.sum(), 2)
  assert np.argwhere(np.isnan(arrays["both"])).tolist() == [[3, 1]]


@pytest.mark.training
@pytest.mark.parametrize("task", _TASKS)
def test_an_audit_of_the_files_finds_the_same_atoms(measured, task, tmp_path):
  of_tasks, answers = measured
  audited = []
  for seed in range(len(_SEEDS)):
    path = tmp_path / f"{seed}.npz"
    files.write_arrays(path, answers[f"{task}_seed{seed}"])
    control = masked_lib.CONTROL if task == "same" else ""
    options = options_lib.Options(control=control, num_permutations=19)
    read = audit_run.read({"": str(path)}, options)
    (row,) = audit_run.run(read, options).content["interactions"]
    audited.append([atom["mean"] for atom in row["atoms"].values()])
    assert row["num_questions"] == 100
    assert row["accuracy"]["both"] == 1
  np.testing.assert_allclose(
    of_tasks[task].bits, np.array(audited) / np.log(2), rtol=1e-12
  )


@pytest.mark.training
def test_one_seed_has_the_interval_of_an_audit(run, measured, tmp_path):
  _, answers = measured
  one = masked_lib.decompose(answers["compare_seed0"])
  atoms, ends = masked_lib.mean([one])
  assert atoms.shape == (1, 4)
  np.testing.assert_allclose(
    ends, [atom["interval"] for atom in one.row["atoms"].values()]
  )
  # Equal seeds are no more examples.
  np.testing.assert_allclose(masked_lib.mean([one, one])[1], ends)


@pytest.mark.training
def test_questions_are_compared_within_their_wording(measured):
  _, answers = measured
  row = masked_lib.decompose(answers["same_seed0"]).row
  assert row["control"] == "text"
  assert row["num_controls"] == 2
