"""Progression of diabetes in 442 patients, as three modalities.

scikit-learn's copy of the data of Efron et al. (2004), "Least angle
regression". Nothing is downloaded.
"""

import numpy as np
from sklearn import datasets
from sklearn import model_selection

from btw_jax.data import dataset as dataset_lib

_SHARE_TRAIN = 0.6


def load(*, seed: int = 0) -> dataset_lib.Found:
  """Demographics (age, sex, bmi), blood pressure, six serum measurements.

  Args:
    seed: of the split, 60% train, 20% validation, 20% test.

  Returns:
    The splits, and the task.
  """
  table = datasets.load_diabetes(scaled=False)
  views = {
    "demographics": table.data[:, :3],
    "vitals": table.data[:, 3:4],
    "serum": table.data[:, 4:],
  }
  examples = dataset_lib.complete(views, table.target, name="diabetes")
  train, rest = model_selection.train_test_split(
    np.arange(len(examples)), train_size=_SHARE_TRAIN, random_state=seed
  )
  valid, test = model_selection.train_test_split(
    rest, train_size=0.5, random_state=seed
  )
  rows = {"train": train, "valid": valid, "test": test}
  return dataset_lib.Found(
    {s: examples.take(np.sort(r)) for s, r in rows.items()}, "regression"
  )
