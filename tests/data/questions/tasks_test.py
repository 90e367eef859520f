import numpy as np
import pytest

from btw_jax.data.questions import tasks
from btw_jax.data.questions import world

_OPEN = [name for name, task in tasks.TASKS.items() if not task.num_choices]


@pytest.mark.parametrize("name", _OPEN)
def test_the_truth_is_what_the_world_draws(name):
  task = tasks.TASKS[name]
  audio = "tones" if task.has_audio else "none"
  questions = world.make("test", 20_000, tasks=(name,), audio=audio)
  with_sound = {"image", "audio"} <= set(task.relevant)
  first = questions.spoken if name == "spoken" else questions.shown
  second = np.maximum(questions.parameter, 0)
  if with_sound:
    second = questions.spoken
  truth = tasks.truth(name)
  np.testing.assert_allclose(truth.sum(), 1.0)
  counts = np.zeros_like(truth)
  np.add.at(counts, (first, second, questions.labels), 1)
  # Answers that cannot be are never given; frequencies agree.
  assert not counts[truth == 0].any()
  error = np.abs(counts / 20_000 - truth)
  assert np.all(error < 5 * np.sqrt(truth / 20_000) + 1e-12)


def test_half_of_the_pairs_are_the_same():
  weights = tasks.pair_weights("same")
  np.testing.assert_allclose(np.trace(weights), 0.5)
  np.testing.assert_allclose(weights.sum(), 1.0)
