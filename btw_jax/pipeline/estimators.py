"""Estimators with the habits of scikit-learn: `Classifier`, `Regressor`."""

from typing import Any

import numpy as np
from sklearn import base
from sklearn.utils import validation

from btw_jax.pipeline import api
from btw_jax.pipeline import arrays
from btw_jax.pipeline import modalities as modalities_lib
from btw_jax.pipeline import settings as settings_lib

# The arguments of `fit` that are no settings.
_OF_FIT = ("verbose", "valid", "test", "workdir")


class _Estimator(base.BaseEstimator):
  """The common part of both estimators.

  Attributes:
    result_: the `Result` of `fit`.
  """

  def __init__(self, **settings: Any):
    """Keeps the settings of `btw_jax.fit`, by the names of the flags."""
    self._settings = settings

  def get_params(self, deep: bool = True) -> dict[str, Any]:
    """Returns the settings."""
    del deep
    return dict(self._settings)

  def set_params(self, **settings: Any) -> "_Estimator":
    """Changes settings, and returns the estimator.

    Raises:
      InputError: a `ValueError`, if a setting is unknown.
    """
    settings_lib.make_config(
      {k: v for k, v in settings.items() if k not in _OF_FIT}
    )
    self._settings |= settings
    return self

  def _fit(self, modalities, labels, task):
    settings = {"verbose": False, "task": task} | self._settings
    self.result_ = api.fit(modalities, labels, **settings)
    return self


class Classifier(base.ClassifierMixin, _Estimator):
  """A classifier of modalities, for scikit-learn's tools.

    scores = cross_val_score(btw_jax.Classifier(weighting="auto"),
                             btw_jax.Modalities({"text": text}), labels)

  scikit-learn counts the entries of a mapping, not its examples: give it
  `Modalities`. The methods take a mapping too.

  Attributes:
    classes_: the labels, in the order of the probabilities.
  """

  def fit(
    self, modalities: modalities_lib.ModalitiesLike, labels: Any
  ) -> "Classifier":
    """Trains, as `btw_jax.fit` does; returns the estimator."""
    given = modalities_lib.convert(modalities)
    target = arrays.read_labels("labels", labels, len(given))
    if target.ndim == 2:
      self.classes_ = np.arange(target.shape[1])
      return self._fit(given, target, "multilabel")
    self.classes_ = np.unique(target)
    is_binary = len(self.classes_) <= 2
    return self._fit(given, target, "binary" if is_binary else "multiclass")

  def predict_proba(
    self, modalities: modalities_lib.ModalitiesLike
  ) -> np.ndarray:
    """Returns the probability of each class, `[N, C]`."""
    validation.check_is_fitted(self, "result_")
    return self.result_.predict_proba(modalities)

  def predict(self, modalities: modalities_lib.ModalitiesLike) -> np.ndarray:
    """Returns the label of each example `[N]`, or 0 and 1 `[N, C]`."""
    validation.check_is_fitted(self, "result_")
    if self.result_.results["task"] == "multilabel":
      return self.result_.decide(modalities)
    probs = self.predict_proba(modalities)
    return self.classes_[probs.argmax(axis=1)]


class Regressor(base.RegressorMixin, _Estimator):
  """A regression on modalities, for scikit-learn's tools; see `Classifier`."""

  def fit(
    self, modalities: modalities_lib.ModalitiesLike, labels: Any
  ) -> "Regressor":
    """Trains, as `btw_jax.fit` does; returns the estimator."""
    return self._fit(modalities, labels, "regression")

  def predict(
    self, modalities: modalities_lib.ModalitiesLike, return_std: bool = False
  ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Returns the means `[N]`, and the standard deviations if asked for."""
    validation.check_is_fitted(self, "result_")
    values = self.result_.predict(modalities)
    return tuple(values) if return_std else values.mean
