"""A refresh of the weights in pandas and scikit-learn, row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import feature_selection

from btw_jax import weighting


def make(
  pd: Any,
  p_mean: np.ndarray,
  p_std: np.ndarray,
  q_mean: np.ndarray,
  q_std: np.ndarray,
) -> Callable[[], Any]:
  """Returns the refresh of Gaussian predictions, merged by example id.

  Args:
    pd: the module pandas.
    p_mean: means of the unimodal predictions, `[M, N]`.
    p_std: standard deviations of the unimodal predictions, `[M, N]`.
    q_mean: means of the multimodal predictions, `[N]`.
    q_std: standard deviations of the multimodal predictions, `[N]`.

  Returns:
    A function that computes the moving average of the weights.
  """
  rng = np.random.default_rng(2)
  size, num_modalities = len(q_mean), len(p_mean)
  multimodal = pd.DataFrame(
    {"id": np.arange(size), "q_mean": q_mean, "q_std": q_std}
  )
  unimodal = []
  for mean, std in zip(p_mean, p_std, strict=True):
    table = pd.DataFrame({"id": np.arange(size), "p_mean": mean, "p_std": std})
    unimodal.append(table.sample(frac=1.0, random_state=rng))
  names = [f"weight{m}" for m in range(num_modalities)]
  start = pd.DataFrame({"id": np.arange(size)})
  start[names] = 1.0 / num_modalities

  def kl(row):
    ratio = row["q_std"] / row["p_std"]
    second = row["p_std"] ** 2 + (row["p_mean"] - row["q_mean"]) ** 2
    return np.log(ratio) + second / (2 * row["q_std"] ** 2) - 0.5

  def refresh():
    weights, information = multimodal[["id"]], []
    for name, table in zip(names, unimodal, strict=True):
      both = multimodal.merge(table, on="id")
      both[name] = both.apply(kl, axis=1).clip(lower=weighting.FLOOR)
      information.append(
        feature_selection.mutual_info_regression(
          both[["p_mean"]], both["q_mean"], n_neighbors=3, random_state=0
        )[0]
      )
      weights = weights.merge(both[["id", name]], on="id")
    total = np.maximum(information, weighting.FLOOR)
    weights[names] = weights[names] * (total / total.sum())
    weights[names] = weights[names].div(weights[names].sum(axis=1), axis=0)
    merged = start.merge(weights, on="id", suffixes=("_old", "_new"))
    for name in names:
      merged[name] = 0.5 * merged[f"{name}_old"] + 0.5 * merged[f"{name}_new"]
    return merged[["id", *names]]

  return refresh
