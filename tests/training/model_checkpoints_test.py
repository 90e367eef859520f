import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp
import pytest

from btw_jax import errors
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from support import problems

pytestmark = pytest.mark.training


def test_checkpoints_give_back_what_was_saved(tmp_path):
  train, valid = problems.splits()
  trainer = problems.trainer(rule=problems.RULE)
  best, _ = problems.fit(trainer, problems.WEIGHTED[:1], [0], train, valid)
  model_checkpoints.save(tmp_path, "kl+mi", best)
  back = model_checkpoints.load(tmp_path, "kl+mi", best)
  assert jax.tree.structure(back) == jax.tree.structure(best)
  for a, b in problems.leaves(best, back):
    np.testing.assert_array_equal(a, b)
  with pytest.raises(errors.InputError, match="checkpoints/mi: no such checkp"):
    model_checkpoints.load(tmp_path, "mi", best)
  other = jax.tree.map(lambda x: np.zeros((2, *x.shape), x.dtype), best)
  with pytest.raises(
    errors.InputError, match="does not fit this configuration"
  ):
    model_checkpoints.load(tmp_path, "kl+mi", other)


def test_names_on_disk_are_those_of_earlier_versions(tmp_path):
  arrays = [jnp.zeros(2), jnp.ones(3)]
  models = model_checkpoints.Multimodal(
    params={"dense": jnp.ones((2, 2))},
    unseen_prior=state_lib.UnseenPrior(*arrays, {"mi": jnp.zeros(3)}),
    run_params=state_lib.RunParams(*map(jnp.float32, range(3))),
  )
  model_checkpoints.save(tmp_path, "mi", models)
  on_disk = ocp.load(tmp_path / "checkpoints/mi")
  assert set(on_disk) == {"params", "guide", "cell"}
  assert set(on_disk["guide"]) == {"prior", "alpha", "information"}
  assert set(on_disk["cell"]) == {"variant", "strength", "scale"}
  loaded = model_checkpoints.load(tmp_path, "mi", models)
  assert loaded.run_params == models.run_params


def test_a_flipped_bit_of_a_value_is_found(tmp_path):
  """One bit in each of 24 places of the files that hold the values."""
  rng = np.random.default_rng(0)
  models = model_checkpoints.Unimodal(
    params={"dense": rng.normal(size=(40, 50)).astype(np.float32)},
    scalers=[rng.normal(size=30)],
  )
  model_checkpoints.save(tmp_path, "unimodal", models)
  folder = tmp_path / "checkpoints/unimodal/state/ocdbt.process_0/d"
  (file,) = (f for f in folder.iterdir() if f.stat().st_size > 4000)
  content = file.read_bytes()
  reasons = []
  for place in rng.integers(0, len(content), 24):
    damaged = bytearray(content)
    damaged[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(damaged)
    with pytest.raises(errors.InputError, match="checkpoints/unimodal") as info:
      model_checkpoints.load(tmp_path, "unimodal", models)
    reasons.append(str(info.value))
  assert sum("is damaged (the checksum of params/" in r for r in reasons) > 10
  file.write_bytes(content)
  loaded = model_checkpoints.load(tmp_path, "unimodal", models)
  np.testing.assert_array_equal(loaded.scalers[0], models.scalers[0])


def test_checkpoints_of_earlier_versions_are_read(tmp_path):
  """They have no checksums, and their scalers are float32."""
  scaler = np.float32([1.5, 2.5])
  arrays = {"params": {"w": np.ones(3, np.float32)}, "scalers": [scaler]}
  ocp.save(tmp_path / "checkpoints/unimodal", arrays)
  shapes = model_checkpoints.Unimodal({"w": np.zeros(3, "f")}, [np.zeros(2)])
  loaded = model_checkpoints.load(tmp_path, "unimodal", shapes)
  np.testing.assert_array_equal(loaded.scalers[0], [1.5, 2.5])
