import numpy as np

from btw_jax.evaluation import evaluate
from btw_jax.pipeline import prediction_table
from btw_jax.pipeline import saved_config


def test_large_targets_keep_the_digits_that_tell_them_apart():
  shape = saved_config.DataShape(("a",), (2,), "regression", 1, (0,), 1)
  target = np.array([1_700_000_000.25, 1_700_000_003.5])
  predicted = evaluate.Predicted(target + 1, std=np.array([0.5, 2.0]))
  rows = prediction_table.rows(
    shape, "uniform", 0, ["x", "y"], target, predicted, np.ones((2, 1))
  )
  first, second = rows
  assert (first["target"], second["target"]) == (
    "1700000000.25",
    "1700000003.5",
  )
  assert (first["mean"], first["std"]) == ("1700000001.25", "0.5")
  assert second["prediction"] == "1700000004.5"
