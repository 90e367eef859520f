import numpy as np
import pytest

from btw_jax.data import assembly
from btw_jax.data import catalog


def test_measures_of_nuclei_come_as_three_views():
  dataset = assembly.load("breast_cancer", catalog.Options())
  assert (dataset.task, dataset.num_classes) == ("binary", 1)
  assert dict(zip(dataset.modalities, dataset.widths, strict=True)) == {
    "mean": 10, "error": 10, "worst": 10,
  }  # fmt: skip
  assert [len(e) for e in dataset.splits.values()] == [341, 114, 114]
  ids = [i for e in dataset.splits.values() for i in e.ids]
  assert len(set(ids)) == 569
  for examples in dataset.splits.values():
    assert examples.target.mean() == pytest.approx(357 / 569, abs=0.01)
    # The worst of an image is the mean of its three largest nuclei.
    worst, mean = (examples.features[m] for m in ("worst", "mean"))
    assert np.all(worst >= mean)
