import numpy as np
import pytest

from btw_jax import errors
from btw_jax.reports import routing
from support import dataset_files

RUNS = (("uniform", 0.0), ("mi", 0.5), ("mi", 1.0))


MODALITIES = ("sight", "sound", "noise0", "noise1")


def _values(seed=0):
  rng = np.random.default_rng(seed)
  return rng.dirichlet(np.ones(5), (3, 2, 4))


def test_the_last_epoch_of_the_run_asked_for_is_read(tmp_path):
  path = tmp_path / "routing.csv"
  dataset_files.write_routing(path, _values(), modalities=MODALITIES, runs=RUNS)
  shares = routing.read(path, "mi", 0.5)
  assert shares.modalities == MODALITIES
  np.testing.assert_allclose(shares.values, _values())
  with pytest.raises(
    errors.InputError, match="--run=kl: .*: use some of uniform, mi"
  ):
    routing.read(path, "kl", 1.0)
  with pytest.raises(
    errors.InputError, match=r"--strength=2.0: .*: use some of 0.5, 1.0"
  ):
    routing.read(path, "mi", 2.0)


def test_the_gate_is_read_from_its_own_stage(tmp_path):
  path = tmp_path / "routing.csv"
  dataset_files.write_routing(
    path, _values(), modalities=MODALITIES, runs=[("gate", 1.0)], stage="gate"
  )
  shares = routing.read(path, "gate", 1.0)
  # The helper rolls the shares of all runs but one.
  np.testing.assert_allclose(shares.values, np.roll(_values(), 1, axis=-1))


def test_a_balanced_run_is_read_but_not_what_was_tried_before(tmp_path):
  path = tmp_path / "routing.csv"
  tables = []
  # Only the helper's run ("mi", 0.5) has the shares that it was given.
  for stage, run in (
    ("scale", "mi"), ("rate", "mi"), ("refit_ogm", "mi"), ("ogm", "ogm@0.3")
  ):  # fmt: skip
    dataset_files.write_routing(
      path, _values(), modalities=MODALITIES, runs=[(run, 0.5)], stage=stage
    )
    tables.append(path.read_text().splitlines())
  head, *_ = tables[0]
  path.write_text("\n".join([head, *(x for rows in tables for x in rows[1:])]))
  shares = routing.read(path, "ogm@0.3", 0.5)
  np.testing.assert_allclose(shares.values, np.roll(_values(), 1, axis=-1))
  with pytest.raises(errors.InputError, match="--run=mi: .*: use some of ogm"):
    routing.read(path, "mi", 0.5)


def test_overlap_is_one_minus_half_the_distance():
  values = _values()
  overlaps = routing.overlaps(values)
  for s, layer, a, b in np.ndindex(3, 2, 4, 4):
    distance = np.abs(values[s, layer, a] - values[s, layer, b]).sum() / 2
    np.testing.assert_allclose(overlaps[s, layer, a, b], 1 - distance)
  shuffled = values[..., np.random.default_rng(1).permutation(5)]
  np.testing.assert_allclose(routing.overlaps(shuffled), overlaps)


def test_kinds_that_share_no_expert_are_told_apart():
  values = np.zeros((2, 1, 4, 4))
  values[:, :, :2, :2] = 0.5
  values[:, :, 2, 2] = 1.0
  values[:, :, 3, 2:] = 0.5
  (layer,) = routing.compare(
    routing.Shares(MODALITIES, values), ["noise0", "noise1"]
  )
  np.testing.assert_allclose(layer["within apart"], 0.5)
  np.testing.assert_allclose(layer["within others"], 1.0)
  np.testing.assert_allclose(layer["between"], 0.0)
  shares = routing.Shares(MODALITIES, values)
  with pytest.raises(
    errors.InputError, match="--apart=smell: no modality 'smell': use some"
  ):
    routing.compare(shares, ["smell"])
  with pytest.raises(errors.InputError, match="name two modalities or more"):
    routing.compare(shares, ["noise0"])


@pytest.mark.training
def test_the_picture_shows_the_shares(tmp_path):
  """Different shares give different pixels, and equal shares equal pixels."""
  paths = [tmp_path / f"{i}.png" for i in range(3)]
  for path, seed in zip(paths, (0, 0, 1), strict=True):
    routing.picture(routing.Shares(MODALITIES, _values(seed)), path)
  first, again, other = (path.read_bytes() for path in paths)
  assert first.startswith(b"\x89PNG")
  assert first == again
  assert first != other
