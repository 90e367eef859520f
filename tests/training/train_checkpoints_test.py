import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.training import loop
from btw_jax.training import train_checkpoints
from support import problems

pytestmark = pytest.mark.training


def _fit(tmp_path, num_epochs, scalers=()):
  """Trains up to an epoch; returns the trained epochs and the best."""
  train, valid = problems.splits()
  epochs = []
  best = loop.fit(
    problems.trainer(rule=problems.RULE), problems.WEIGHTED_AND_PLAIN, [0],
    train, valid, num_epochs=num_epochs,
    callbacks=loop.Callbacks(on_epoch=lambda epoch, log: epochs.append(epoch)),
    checkpoints=train_checkpoints.TrainCheckpoints(
      tmp_path, "multimodal", scalers=scalers
    ),
  )  # fmt: skip
  return epochs, best


def test_snapshots_of_other_data_are_refused(tmp_path):
  def fit(mean, num_epochs):
    one = scaling.Scaler(
      np.full((3, 5), mean), np.ones((3, 5)), np.ones(3), np.zeros(()),
      np.ones(()),
    )  # fmt: skip
    return _fit(tmp_path, num_epochs, [one])[0]

  assert fit(0.0, 2) == [0, 1]
  assert fit(0.0, 4) == [2, 3]
  with pytest.raises(errors.InputError, match="other data .its mean differs"):
    fit(0.1, 6)
  names = {path.name for path in tmp_path.glob("snapshots/multimodal/*")}
  assert {"3", "4"} <= names
  assert len(names) <= 3


def test_an_unreadable_checkpoint_is_kept_and_the_one_before_is_used(tmp_path):
  _fit(tmp_path, 3)
  folder = tmp_path / "snapshots/multimodal"
  for path in (folder / "3").rglob("manifest.ocdbt"):
    path.write_bytes(b"")
  assert _fit(tmp_path, 4)[0] == [2, 3]
  assert (folder / "3.unreadable").is_dir()
  names = {path.name for path in folder.iterdir()}
  assert {"3", "4"} <= names


def test_names_on_disk_are_those_of_earlier_versions(tmp_path):
  _, best = _fit(tmp_path, 2)
  (saved,) = (tmp_path / "snapshots/multimodal").glob("2")
  tree = ocp.load(saved)["run"]["best"]
  assert set(tree) == {"loss", "epoch", "params", "guide", "crossfit"}
  np.testing.assert_array_equal(tree["guide"]["prior"], best.unseen_prior.prior)
