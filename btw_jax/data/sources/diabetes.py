"""Progression of diabetes in 442 patients, as three modalities.

scikit-learn's copy of the data of Efron et al. (2004), "Least angle
regression". Nothing is downloaded.
"""

from sklearn import datasets

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import splitting


def load(*, seed: int = 0) -> dataset_lib.LoadedSplits:
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
  rows = splitting.three_ways(len(examples), seed=seed)
  return dataset_lib.LoadedSplits(
    {s: examples.take(r) for s, r in rows.items()}, "regression"
  )
