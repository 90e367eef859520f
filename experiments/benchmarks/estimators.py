"""Speed of the estimators: against scikit-learn, and pandas for a refresh."""

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
from experiments.benchmarks import timing

_NUM_MODALITIES = 3
_SIZES = (1024, 4096, 16_384, 65_536)
_REFRESH_SIZE = 16_384
_GROWTH = (4096, 65_536)
_NUM_CLASSES = 4
# Large enough to be in no cache.
_KL_SIZE = 1 << 24


def run(rounds: int) -> list[dict[str, str]]:
  """Each estimator, the refresh of the weights, growth and bandwidth.

  Args:
    rounds: turns of each side.

  Returns:
    Rows of a table.
  """
  rows, ours = [], {}
  for size in _SIZES:
    first, ours[size], ratio = timing.compare(*_ksg(size), rounds)
    name = f"scikit-learn / ksg, {_NUM_MODALITIES} modalities, N = {size:,}"
    target = "at least 3" if size == _REFRESH_SIZE else ""
    rows.append(timing.row(name, first, ours[size], ratio, target))
  measured = timing.compare(*_mixed(_REFRESH_SIZE), rounds)
  name = f"scikit-learn / mixed, N = {_REFRESH_SIZE:,}"
  rows.append(timing.row(name, *measured, ""))
  if pair := _refresh(_REFRESH_SIZE):
    measured = timing.compare(*pair, rounds)
    name = f"pandas / weight refresh, N = {_REFRESH_SIZE:,}"
    rows.append(timing.row(name, *measured, "at least 50"))
  rows.append(_growth(ours))
  measured = timing.compare(*_bandwidth(), rounds)
  rows.append(timing.row("copy / Gaussian KL, same bytes", *measured, ""))
  return rows


def _growth(ours: dict[int, float]) -> dict[str, str]:
  small, large = _GROWTH
  exponent = math.log(ours[large] / ours[small]) / math.log(large / small)
  name = f"growth exponent of ksg, N = {small:,} to {large:,}"
  return timing.row(name, ours[small], ours[large], exponent, "below 1.6")


def _samples(size):
  """Point predictions of three modalities, and of the multimodal model."""
  rng = np.random.default_rng(0)
  q = rng.normal(size=size)
  share = np.array([0.9, 0.5, 0.0])[:, None]
  noise = rng.normal(size=(_NUM_MODALITIES, size))
  p = share * q + np.sqrt(1 - share**2) * noise
  return p.astype(np.float32), q.astype(np.float32)


def _ksg(size):
  p, q = _samples(size)

  def theirs():
    feature_selection.mutual_info_regression(
      p.T, q, n_neighbors=3, random_state=0
    )

  mapped = jax.jit(jax.vmap(knn.ksg, (0, None)))
  return theirs, _ready(mapped, p, q)


def _mixed(size):
  p, q = _samples(size)
  labels = np.digitize(q, [-0.7, 0.0, 0.7]).astype(np.int32)

  def theirs():
    feature_selection.mutual_info_classif(
      p.T, labels, n_neighbors=3, random_state=0
    )

  def ours(x, labels):
    return knn.mixed(x, labels, num_classes=_NUM_CLASSES)

  return theirs, _ready(jax.jit(jax.vmap(ours, (0, None))), p, labels)


def _bandwidth():
  """A copy that moves as many bytes as the divergence, and the divergence."""
  rng = np.random.default_rng(0)
  columns = jnp.asarray(rng.uniform(0.5, 1.5, (4, _KL_SIZE)), jnp.float32)
  # The divergence reads four arrays and writes one; a copy does each half.
  copied = jnp.ravel(columns)[: 5 * _KL_SIZE // 2]
  copy = jax.jit(lambda x: x + 1.0)
  kl = jax.jit(lambda c: divergences.gaussian_kl(*c))
  return _ready(copy, copied), _ready(kl, columns)


def _refresh(size):
  """A whole refresh in pandas and scikit-learn, and ours; None without it."""
  pd = timing.library("pandas")
  if pd is None:
    return None
  p_mean, q_mean = _samples(size)
  rng = np.random.default_rng(1)
  p_std = rng.uniform(0.5, 1.5, p_mean.shape).astype(np.float32)
  q_std = rng.uniform(0.5, 1.5, size).astype(np.float32)
  theirs = _pandas_refresh(pd, p_mean, p_std, q_mean, q_std)

  def refresh(state, unimodal, multimodal):
    weights = weighting.weigh(unimodal, multimodal, variant="kl+mi")
    return weighting.update(state, weights, jnp.float32(1.0))

  ours = _ready(
    jax.jit(refresh),
    weighting.init(size, _NUM_MODALITIES),
    predictions.Gaussian(p_mean, p_std),
    predictions.Gaussian(q_mean, q_std),
  )
  return theirs, ours


def _pandas_refresh(pd: Any, p_mean, p_std, q_mean, q_std):
  """The rule row by row, tables merged by the id of the example."""
  rng = np.random.default_rng(2)
  size = len(q_mean)
  multimodal = pd.DataFrame(
    {"id": np.arange(size), "q_mean": q_mean, "q_std": q_std}
  )
  unimodal = []
  for mean, std in zip(p_mean, p_std, strict=True):
    table = pd.DataFrame({"id": np.arange(size), "p_mean": mean, "p_std": std})
    unimodal.append(table.sample(frac=1.0, random_state=rng))
  names = [f"weight{m}" for m in range(_NUM_MODALITIES)]
  start = pd.DataFrame({"id": np.arange(size)})
  start[names] = 1.0 / _NUM_MODALITIES

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


def _ready(function: Callable, *arguments: Any) -> Callable[[], None]:
  """Calls with arguments on the device, and waits."""
  arguments = jax.tree.map(jnp.asarray, arguments)
  return lambda: jax.block_until_ready(function(*arguments))
