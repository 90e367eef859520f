import pathlib

import numpy as np
import pytest

from btw_jax.reports import prediction_file
from btw_jax.reports import study


def _read(folder, task, *rows):
  pathlib.Path(folder, "predictions.csv").write_text("\n".join(rows))
  results = {"task": task, "modalities": ["sight"]}
  run = study.RunFiles("made", pathlib.Path(folder), {}, results, {})
  return prediction_file.read(run)


def test_classes_are_compared_as_words(tmp_path):
  table = _read(
    tmp_path, "multiclass",
    "id,target,weighting,seed,prediction,p_1,p_NA,p_true,weight_sight",
    "a,1,kl,3,1,0.7,0.2,0.1,1",
    "b,NA,kl,3,true,0.1,0.3,0.6,1",
    "c,NA,kl,4,NA,0.1,0.8,0.1,0.5",
  )  # fmt: skip
  np.testing.assert_array_equal(table["score"], [[1], [0], [1]])
  np.testing.assert_allclose(table["certainty"], [[0.7], [0.6], [0.8]])
  np.testing.assert_array_equal(table["seed"], [3, 3, 4])
  np.testing.assert_allclose(table["weights"], [[1], [1], [0.5]])


def test_each_of_several_labels_is_a_decision(tmp_path):
  table = _read(
    tmp_path, "multilabel",
    "id,target,weighting,seed,prediction,p_0,p_1,weight_sight",
    "a,1 0,kl,0,0 0,0.4,0.2,1",
  )  # fmt: skip
  np.testing.assert_array_equal(table["score"], [[0, 1]])
  np.testing.assert_allclose(table["certainty"], [[0.6, 0.8]])


def test_a_regression_has_errors(tmp_path):
  table = _read(
    tmp_path, "regression",
    "id,target,weighting,seed,prediction,mean,std,weight_sight",
    "a,10,kl,0,12.5,12.5,2,1",
  )  # fmt: skip
  values = [table[name].item() for name in ("target", "mean", "std", "score")]
  assert values == pytest.approx([10, 12.5, 2, 2.5])
