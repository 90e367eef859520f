"""The diagnosis of 569 breast tumours, malignant or benign.

Three modalities describe cell nuclei in images. The data is scikit-learn's copy
of the UCI "Breast Cancer Wisconsin (Diagnostic)" set (Street, Wolberg &
Mangasarian, 1993); nothing is downloaded.
"""

import numpy as np
from sklearn import datasets

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import splitting

# Each of ten measures of a nucleus has three statistics over the nuclei of an
# image; each statistic is a modality.
_VIEWS = ("mean", "error", "worst")


def load(*, seed: int = 0) -> dataset_lib.LoadedSplits:
  """Loads the mean, standard error and worst value of each measure.

  The split of 60% train, 20% validation and 20% test is stratified by class.
  """
  table = datasets.load_breast_cancer()
  views = dict(zip(_VIEWS, np.split(table.data, 3, axis=1), strict=True))
  examples = dataset_lib.complete(views, table.target, name="breast_cancer")
  rows = splitting.three_ways(len(examples), table.target, seed=seed)
  return dataset_lib.LoadedSplits(
    {s: examples.take(r) for s, r in rows.items()}, "binary"
  )
