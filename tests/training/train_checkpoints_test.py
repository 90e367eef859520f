import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.training import loop
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs
from support import problems

pytestmark = pytest.mark.training

WEIGHTED = [
  vectorized_runs.RunSpec("kl+mi", 1.0, 1.0),
  vectorized_runs.RunSpec("uniform", 0.0, 1.0),
]


def test_snapshots_of_other_data_are_refused(tmp_path):
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)

  def fit(mean, num_epochs):
    one = scaling.Scaler(
      np.full((3, 5), mean), np.ones((3, 5)), np.ones(3), np.zeros(()),
      np.ones(()),
    )  # fmt: skip
    done = []
    loop.fit(
      trainer, WEIGHTED, [0], train, valid, num_epochs=num_epochs,
      callbacks=loop.Callbacks(on_epoch=lambda epoch, log: done.append(epoch)),
      checkpoints=train_checkpoints.TrainCheckpoints(
        tmp_path, "multimodal", scalers=[one]
      ),
    )  # fmt: skip
    return done

  assert fit(0.0, 2) == [0, 1]
  assert fit(0.0, 4) == [2, 3]
  with pytest.raises(errors.InputError, match="other data .its mean differs"):
    fit(0.1, 6)
  names = {path.name for path in tmp_path.glob("snapshots/multimodal/*")}
  assert {"3", "4"} <= names
  assert len(names) <= 3
