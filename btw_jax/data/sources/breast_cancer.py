"""Malignant or benign, from cell nuclei in 569 fine-needle aspirates.

scikit-learn's copy of the UCI "Breast Cancer Wisconsin (Diagnostic)" set
(Street, Wolberg & Mangasarian, 1993). Nothing is downloaded.
"""

import numpy as np
from sklearn import datasets

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import splitting

# Ten measures of a nucleus, each as three numbers over the nuclei of an image.
_VIEWS = ("mean", "error", "worst")


def load(*, seed: int = 0) -> dataset_lib.LoadedSplits:
  """Mean, standard error and worst of each measure.

  Args:
    seed: of the split, 60% train, 20% validation, 20% test, with the classes in
      equal shares.

  Returns:
    The splits, and the task.
  """
  table = datasets.load_breast_cancer()
  views = dict(zip(_VIEWS, np.split(table.data, 3, axis=1), strict=True))
  examples = dataset_lib.complete(views, table.target, name="breast_cancer")
  rows = splitting.three_ways(len(examples), table.target, seed=seed)
  return dataset_lib.LoadedSplits(
    {s: examples.take(r) for s, r in rows.items()}, "binary"
  )
