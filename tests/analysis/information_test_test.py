import numpy as np
import pytest

from btw_jax import predictions
from btw_jax import tasks
from btw_jax.analysis import information_test


@pytest.mark.training
@pytest.mark.parametrize(
  ("name", "per_seed"),
  [
    ("multiclass", False),
    ("multiclass", True),
    ("binary", True),
    pytest.param("regression", False, marks=pytest.mark.slow),
  ],
)
def test_only_the_modality_of_noise_is_not_above_its_null(name, per_seed):
  task = tasks.make(name, 3)
  rng = np.random.default_rng(0)
  signal = rng.normal(size=(2, 200, task.num_outputs))
  noise = rng.normal(size=(3, 2, 200, task.num_outputs))
  unimodal = np.stack(
    [signal + 0.5 * noise[0], noise[1], signal + noise[2]], axis=1
  )
  present = rng.random((200, 3)) < 0.9
  # The outputs of an absent modality would reveal the label.
  unimodal = np.where(
    present.T[None, :, :, None], unimodal, signal[:, None]
  ).astype("f")
  if per_seed:
    present = np.stack([present, present])
  test = information_test.information_tests(
    task,
    unimodal,
    signal.astype("f"),
    present,
    [3, 4],
    num_permutations=99,
  )
  assert test.p_value.shape == (2, 3)
  assert np.all(test.p_value[:, [0, 2]] < 0.05)
  assert np.all(test.p_value[:, 1] > 0.05)
  np.testing.assert_allclose(
    test.value[1, 0],
    predictions.information(
      task.predict(unimodal[1, 0]),
      task.predict(signal[1].astype("f")),
      where=present[..., 0].reshape(-1, 200)[0],
    ),
    atol=1e-5,
  )


@pytest.mark.training
def test_seeds_draw_permutations_of_their_own():
  task = tasks.make("regression", 1)
  signal = np.random.default_rng(0).normal(size=(80, task.num_outputs))
  unimodal = np.broadcast_to(signal, (2, 1, *signal.shape)).astype("f")
  test = information_test.information_tests(
    task,
    unimodal,
    unimodal[:, 0],
    np.ones((80, 1), bool),
    [0, 1],
    num_permutations=9,
  )
  assert test.value[0, 0] == test.value[1, 0]
  assert test.null_mean[0, 0] != test.null_mean[1, 0]
