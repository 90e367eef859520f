import csv
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.pipeline.language import run as run_lib
from support import language_runs

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Trains a small run, and returns its configuration and results."""
  config = language_runs.config(tmp_path_factory.mktemp("run") / "small")
  return config, run_lib.train(config)


def _metrics(folder):
  with open(f"{folder}/metrics.csv", encoding="utf-8") as file:
    return list(csv.DictReader(file))


def test_a_run_leaves_metrics_results_and_models(finished):
  config, results = finished
  rows = _metrics(config.workdir)
  assert len(rows) == 2 * 2 * 2
  # Models learn: the training loss of each seed falls.
  for seed in ("0", "1"):
    losses = [
      float(row["loss"])
      for row in rows
      if row["seed"] == seed and row["split"] == "train"
    ]
    assert losses[1] < losses[0] - 0.3
  scores = results["accuracies"]["test"]
  assert list(scores) == list(config.tasks)
  assert all(len(of_task) == 2 for of_task in scores.values())
  assert [row["task"] for row in results["rows"]] == list(config.tasks)


def test_loaded_models_answer_as_the_results_say(finished):
  config, results = finished
  run = run_lib.load(config.workdir)
  again = run_lib.accuracies(run, run.setup.questions("test"))
  for task, scores in results["accuracies"]["test"].items():
    np.testing.assert_allclose(again[task], scores)


def test_a_finished_run_is_not_trained_again(finished, caplog):
  config, results = finished
  with caplog.at_level("INFO", logger="absl"):
    again = run_lib.train(config)
  assert again == json.loads(json.dumps(results))
  assert "the run is finished, nothing is trained" in caplog.text


def test_a_folder_of_another_run_is_refused(finished):
  config, _ = finished
  other = dataclasses.replace(config, learning_rate=1.0, num_layers=1)
  with pytest.raises(
    errors.InputError, match="another --learning_rate, --num_layers"
  ):
    run_lib.train(other)


def test_a_run_that_lost_its_last_epoch_trains_it_again(finished, tmp_path):
  """Random numbers are those of the step: the same models come out."""
  config, results = finished
  folder = tmp_path / "again"
  shutil.copytree(config.workdir, folder)
  (folder / "results.json").unlink()
  shutil.rmtree(folder / "checkpoints")
  config = dataclasses.replace(config, workdir=str(folder))
  again = run_lib.train(config)
  assert again["accuracies"] == results["accuracies"]
  assert len(_metrics(folder)) == len(_metrics(finished[0].workdir))


def test_a_run_may_start_from_another_one(finished, tmp_path):
  """With a learning rate of 0, it ends with the models that it started from."""
  config, results = finished
  other = dataclasses.replace(
    config, workdir=str(tmp_path), start=config.workdir, num_epochs=1,
    learning_rate=0.0,
  )  # fmt: skip
  assert run_lib.train(other)["accuracies"] == results["accuracies"]
  wrong = dataclasses.replace(other, workdir=str(tmp_path / "x"), seed=1)
  with pytest.raises(errors.InputError, match="trained with another --num_se"):
    run_lib.train(wrong)


def test_folders_without_a_run_are_refused(tmp_path):
  with pytest.raises(errors.InputError, match="no such file: set --workdir"):
    run_lib.load(tmp_path)
  (tmp_path / "config.json").write_text('{"config": {}}', encoding="utf-8")
  with pytest.raises(errors.InputError, match="is not a run of the language"):
    run_lib.load(tmp_path)


@pytest.mark.parametrize(
  "settings",
  [
    {"mitigation": ("heuristic", "adversarial", "consistency")},
    {"balance": "ogm_ge", "mask_share": 0.0},
    {"tied": False, "parallelism": "shard_map"},
  ],
)
def test_every_kind_of_training_learns(tmp_path, settings):
  config = language_runs.config(
    tmp_path, num_seeds=1, tasks=("arithmetic", "shown"), **settings
  )
  run_lib.train(config)
  losses = [
    float(row["loss"]) for row in _metrics(tmp_path) if row["split"] == "valid"
  ]
  assert losses[-1] < losses[0]
  assert np.isfinite(losses).all()


def test_masked_models_do_not_see_the_modality(finished):
  """Without the image, two questions that differ in it have one answer."""
  run = run_lib.load(finished[0].workdir)
  questions = run.setup.questions("test", 60)
  other = questions._replace(images=questions.images[::-1])
  stats = run.statistics(questions)
  masked = {"masked": [1], "stats": stats, "seed": 3}
  np.testing.assert_array_equal(
    run.log_probs(questions, **masked), run.log_probs(other, **masked)
  )
  assert np.any(run.log_probs(questions) != run.log_probs(other))


def test_the_last_layer_answers_as_the_model_does(finished):
  run = run_lib.load(finished[0].workdir)
  questions = run.setup.questions("test", 60)
  layers = run.log_probs(questions, layers=True)
  assert layers.shape == (2, 60, 3, questions.options.shape[1])
  np.testing.assert_allclose(
    jax.nn.softmax(layers[:, :, -1]),
    jax.nn.softmax(run.log_probs(questions)),
    atol=1e-5,
  )
