"""Measures estimators against scikit-learn, and a refresh against pandas."""

from collections.abc import Callable
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn import feature_selection

from btw_jax import divergences
from btw_jax import predictions
from btw_jax import weighting
from btw_jax.mutual_information import knn
from experiments.benchmarks import pandas_refresh
from experiments.benchmarks import timing

_NUM_MODALITIES = 3
_SIZES = (1024, 4096, 16_384, 65_536)
_REFRESH_SIZE = 16_384
_GROWTH = (4096, 65_536)
_NUM_CLASSES = 4
# Arrays of this size fit in no cache, so that memory bandwidth is the limit.
_KL_SIZE = 1 << 24


def run(rounds: int) -> list[dict[str, str]]:
  """Measures the estimators, a weight refresh, growth with N and bandwidth."""
  rows, ksg_seconds = [], {}
  for size in _SIZES:
    pair = _neighbours(size, knn.ksg)
    first, ksg_seconds[size], ratio = timing.compare(*pair, rounds)
    name = f"scikit-learn / ksg, {_NUM_MODALITIES} modalities, N = {size:,}"
    target = "at least 20" if size == _REFRESH_SIZE else ""
    rows.append(timing.row(name, first, ksg_seconds[size], ratio, target))
  for name, pair, target in (
    ("scikit-learn / mixture", _neighbours(_REFRESH_SIZE, knn.mixture), 20),
    ("scikit-learn / mixed", _mixed(_REFRESH_SIZE), 20),
    ("three sorts of N floats / ksg", _sorts(_REFRESH_SIZE), None),
  ):
    measured = timing.compare(*pair, rounds)
    target = f"at least {target}" if target else ""
    name = f"{name}, N = {_REFRESH_SIZE:,}"
    rows.append(timing.row(name, *measured, target))
  if pair := _refresh(_REFRESH_SIZE):
    measured = timing.compare(*pair, rounds)
    name = f"pandas / weight refresh, N = {_REFRESH_SIZE:,}"
    rows.append(timing.row(name, *measured, "at least 100"))
  rows.append(_growth(ksg_seconds))
  measured = timing.compare(*_bandwidth(), rounds)
  rows.append(timing.row("copy / Gaussian KL, same bytes", *measured, ""))
  return rows


def _growth(seconds: dict[int, float]) -> dict[str, str]:
  """Computes the exponent with which the time of ksg grows with N."""
  small, large = _GROWTH
  exponent = math.log(seconds[large] / seconds[small])
  exponent /= math.log(large / small)
  name = f"growth exponent of ksg, N = {small:,} to {large:,}"
  return timing.row(name, seconds[small], seconds[large], exponent, "below 1.6")


def _samples(size):
  """Draws unimodal, `[M, N]`, and multimodal, `[N]`, point predictions."""
  rng = np.random.default_rng(0)
  q = rng.normal(size=size)
  correlation = np.array([0.9, 0.5, 0.0])[:, None]
  noise = rng.normal(size=(_NUM_MODALITIES, size))
  p = correlation * q + np.sqrt(1 - correlation**2) * noise
  return p.astype(np.float32), q.astype(np.float32)


def _neighbours(size, estimator):
  """Returns scikit-learn's estimate of continuous variables, and ours."""
  p, q = _samples(size)

  def sklearn_ksg():
    feature_selection.mutual_info_regression(
      p.T, q, n_neighbors=3, random_state=0
    )

  mapped = jax.jit(jax.vmap(estimator, (0, None)))
  return sklearn_ksg, _on_device(mapped, p, q)


def _sorts(size):
  """Returns one sort per modality in NumPy, which no estimate can avoid."""
  p, _ = _samples(size)
  _, ours = _neighbours(size, knn.ksg)
  return (lambda: np.sort(p, axis=1)), ours


def _mixed(size):
  p, q = _samples(size)
  labels = np.digitize(q, [-0.7, 0.0, 0.7]).astype(np.int32)

  def sklearn_mixed():
    feature_selection.mutual_info_classif(
      p.T, labels, n_neighbors=3, random_state=0
    )

  def mixed(x, labels):
    return knn.mixed(x, labels, num_classes=_NUM_CLASSES)

  mapped = jax.jit(jax.vmap(mixed, (0, None)))
  return sklearn_mixed, _on_device(mapped, p, labels)


def _bandwidth():
  """Returns a copy and a divergence that move the same number of bytes."""
  rng = np.random.default_rng(0)
  columns = jnp.asarray(rng.uniform(0.5, 1.5, (4, _KL_SIZE)), jnp.float32)
  # The divergence reads four arrays and writes one. A copy reads as much as it
  # writes, so it copies two and a half arrays.
  copied = jnp.ravel(columns)[: 5 * _KL_SIZE // 2]
  copy = jax.jit(lambda x: x + 1.0)
  kl = jax.jit(lambda c: divergences.gaussian_kl(*c))
  return _on_device(copy, copied), _on_device(kl, columns)


def _refresh(size):
  """Returns a refresh in pandas and ours; None without pandas."""
  pd = timing.import_optional("pandas")
  if pd is None:
    return None
  p_mean, q_mean = _samples(size)
  rng = np.random.default_rng(1)
  p_std = rng.uniform(0.5, 1.5, p_mean.shape).astype(np.float32)
  q_std = rng.uniform(0.5, 1.5, size).astype(np.float32)

  def refresh(state, unimodal, multimodal):
    weights = weighting.weigh(unimodal, multimodal, variant="kl+mi")
    return weighting.update(state, weights, jnp.float32(1.0))

  jax_refresh = _on_device(
    jax.jit(refresh),
    weighting.init(size, _NUM_MODALITIES),
    predictions.Gaussian(p_mean, p_std),
    predictions.Gaussian(q_mean, q_std),
  )
  return pandas_refresh.make(pd, p_mean, p_std, q_mean, q_std), jax_refresh


def _on_device(function: Callable, *arguments: Any) -> Callable[[], None]:
  """Binds arguments that stay on the device; a call waits for the result."""
  arguments = jax.tree.map(jnp.asarray, arguments)
  return lambda: jax.block_until_ready(function(*arguments))
