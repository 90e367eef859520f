"""The progression of diabetes in 442 patients, as three modalities.

The data is scikit-learn's copy of that of Efron et al. (2004), "Least angle
regression"; nothing is downloaded.
"""

from sklearn import datasets

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import splitting


def load(*, seed: int = 0) -> dataset_lib.LoadedSplits:
  """Loads demographics (age, sex, bmi), blood pressure and six serum values.

  The split is random: 60% train, 20% validation and 20% test.
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
