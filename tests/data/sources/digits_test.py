import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog


def test_embedded_sets_have_the_stated_views():
  dataset = assembly.load("digits", catalog.Options(noise_modalities=2))
  widths = dict(zip(dataset.modalities, dataset.widths, strict=True))
  assert widths == {
    "pixels": 64, "fourier": 40, "profiles": 16, "gradients": 12,
    "noise0": 64, "noise1": 64,
  }  # fmt: skip
  sizes = [len(e) for e in dataset.splits.values()]
  assert sizes == [320, 80, 1397]
  ids = [i for e in dataset.splits.values() for i in e.ids]
  assert len(set(ids)) == 1797
  pixels = dataset.splits["test"].features["pixels"].reshape(-1, 8, 8)
  profiles = dataset.splits["test"].features["profiles"]
  np.testing.assert_allclose(profiles[:, :8], pixels.sum(1))
  np.testing.assert_allclose(
    dataset.splits["test"].features["fourier"].reshape(-1, 8, 5)[:, 0, 0],
    pixels.sum((1, 2)),
    rtol=1e-5,
  )
  diabetes = assembly.load("diabetes", catalog.Options())
  assert diabetes.widths == (3, 1, 6)
  assert diabetes.task == "regression"
  with pytest.raises(errors.InputError, match="--num_train=1797: give 20 to"):
    assembly.load("digits", catalog.Options(num_train=1797))
