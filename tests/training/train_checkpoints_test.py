import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.training import loop
from btw_jax.training import train_checkpoints
from btw_jax.training import vectorized_runs
from support import balances
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


def test_a_flipped_bit_of_a_value_is_found(tmp_path, caplog):
  _fit(tmp_path, 3)
  folder = tmp_path / "snapshots/multimodal"
  largest = max(
    (folder / "3/state/ocdbt.process_0").glob("d/*"),
    key=lambda file: file.stat().st_size,
  )
  content = bytearray(largest.read_bytes())
  content[len(content) // 2] ^= 4
  largest.write_bytes(content)
  assert _fit(tmp_path, 4)[0] == [2, 3]
  assert "multimodal/3: cannot be read (" in caplog.text
  assert (folder / "3.unreadable").is_dir()


def test_what_stands_beside_the_newest_snapshots_can_be_read(tmp_path):
  assert train_checkpoints.read_about(tmp_path) == {}
  for stage, numbers in (("unimodal", (9, 10)), ("multimodal", (1,))):
    for number in numbers:
      ocp.save(
        tmp_path / "snapshots" / stage / str(number),
        {"w": np.zeros(2)},
        custom_metadata={"data": f"{stage} {number}"},
      )
  about = train_checkpoints.read_about(tmp_path)
  assert {path.name: x["data"] for path, x in about.items()} == {
    "10": "unimodal 10", "1": "multimodal 1",
  }  # fmt: skip


def test_names_on_disk_are_those_of_earlier_versions(tmp_path):
  _, best = _fit(tmp_path, 2)
  (saved,) = (tmp_path / "snapshots/multimodal").glob("2")
  tree = ocp.load(saved)["run"]["best"]
  assert set(tree) == {"loss", "epoch", "params", "guide", "crossfit"}
  np.testing.assert_array_equal(tree["guide"]["prior"], best.unseen_prior.prior)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name, value", [("gblend", 2.0), ("modality_dropout", 0.4)]
)
def test_a_resumed_run_goes_on_with_the_state_of_its_method(
  tmp_path, name, value
):
  """G-Blend's losses before the stop decide about its weights after it."""
  train, valid = problems.splits((0, 1))
  trainer = balances.trainer(name)
  spec = vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance=name, value=value)

  def fit(num_epochs, folder):
    logs = []
    best = loop.fit(
      trainer, [spec], [0, 1], train, valid, num_epochs=num_epochs,
      callbacks=loop.Callbacks(on_epoch=lambda epoch, log: logs.append(log)),
      checkpoints=train_checkpoints.TrainCheckpoints(folder, name),
    )  # fmt: skip
    return logs, jax.device_get(best)

  undisturbed = fit(6, tmp_path / "undisturbed")
  first, _ = fit(3, tmp_path / "stopped")
  second, best = fit(6, tmp_path / "stopped")
  assert len(second) == 3
  jax.tree.map(
    np.testing.assert_array_equal, (first + second, best), undisturbed
  )
  layout = {"gblend": {"weights", "sums", "counts", "before", "epoch",
                       "length"}}  # fmt: skip
  saved = ocp.load(tmp_path / "stopped/snapshots" / name / "6")["run"]["train"]
  if name in layout:
    assert set(saved["hook_state"]) == layout[name]
    # Six epochs are three super-epochs: the weights are no longer equal.
    assert np.all(saved["hook_state"]["epoch"] == 6)
    assert np.all(np.ptp(saved["hook_state"]["weights"], axis=-1) > 0.01)
