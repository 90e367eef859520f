"""Predictive distributions, and measures between two of the same kind.

A prediction is a NamedTuple of arrays, hence a pytree: `vmap` it over
modalities, index it with `jax.tree.map`, return it from `jit`. The event axis,
if any, is the last (classes of `Categorical`, labels of `Bernoulli`).
"""

import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import divergences
from btw_jax import types
from btw_jax.mutual_information import correlation as correlation_lib
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import knn
from btw_jax.mutual_information import transforms


class Categorical(NamedTuple):
  """A distribution over classes. `logits`: `[..., C]`, unnormalised."""

  logits: chex.Array


class Bernoulli(NamedTuple):
  """A distribution over independent labels. `logits`: `[..., C]` log-odds."""

  logits: chex.Array


class Gaussian(NamedTuple):
  """A normal distribution. `mean`, `std`: `[...]`, `std` positive."""

  mean: chex.Array
  std: chex.Array


class Laplace(NamedTuple):
  """A Laplace distribution. `loc`, `scale`: `[...]`, `scale` positive."""

  loc: chex.Array
  scale: chex.Array


Prediction = Categorical | Bernoulli | Gaussian | Laplace
# Kinds whose information is estimated from nearest neighbours.
CONTINUOUS = (Gaussian, Laplace)


def divergence(p: Prediction, q: Prediction, *, kind: str = "kl") -> chex.Array:
  """Computes the divergence between p and q for each example.

  The divergences of the labels of a `Bernoulli` are added up. For "js" this sum
  is not the divergence of the joint distributions.

  Args:
    p: predictions `[...]`, without the event axis.
    q: predictions of the same kind, broadcast against `p`.
    kind: a name of `DIVERGENCES`, static: "kl", `KL(p‖q)`; "reverse_kl",
      `KL(q‖p)`; "jeffreys", their sum; "js", Jensen–Shannon.

  Returns:
    `[...]` divergence in nats.

  Raises:
    ValueError: if p and q are not of one kind, or `kind` is unknown.
  """
  if kind not in DIVERGENCES:
    raise ValueError(
      f"divergence {kind!r} is unknown: use one of {', '.join(DIVERGENCES)}."
    )
  return _for_kind(p, q, DIVERGENCES[kind])(p, q)


def information(
  p: Prediction,
  q: Prediction,
  *,
  where: chex.Array | None = None,
  transform: str = "none",
  axis_name: str | None = None,
) -> chex.Array:
  """Estimates the mutual information of two models' predictions.

  For `Categorical` it is the plug-in information of the soft contingency table;
  for `Bernoulli`, the sum of this over labels; for `Gaussian` and `Laplace`,
  the nearest-neighbour estimate (k = 3) of the two means, by `knn.adaptive`:
  predictions may have ties, as those of a modality that is often all zeros.
  This last estimate may be slightly negative: estimates are not clipped.

  Args:
    p: predictions of N examples.
    q: predictions of the same kind for the same examples.
    where: `[N]` bool, the examples that count; all by default.
    transform: a name of `transforms.TRANSFORMS`, static, applied to the means
      of `Gaussian` and `Laplace`; not used by the other kinds.
    axis_name: a mapped axis over which the examples are sharded; not sharded
      by default.

  Returns:
    Scalar in nats.

  Raises:
    ValueError: if p and q are not of one kind, or `transform` is unknown.
  """
  if transform not in transforms.TRANSFORMS:
    raise ValueError(
      f"transform {transform!r} is unknown: use one of"
      f" {', '.join(transforms.TRANSFORMS)}."
    )
  return _for_kind(p, q, _INFORMATION)(p, q, where, transform, axis_name)


def correlation(
  p: Prediction,
  q: Prediction,
  *,
  where: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Computes the Pearson correlation of two models' predictions.

  For `Gaussian` and `Laplace` it is the correlation of the means; for the other
  kinds, that of the probabilities, averaged over classes or labels.

  Args:
    p: predictions of N examples.
    q: predictions of the same kind for the same examples.
    where: `[N]` bool, the examples that count; all by default.
    axis_name: a mapped axis over which the examples are sharded; not sharded
      by default.

  Returns:
    Scalar in [−1, 1].

  Raises:
    ValueError: if p and q are not of one kind.
  """
  return _for_kind(p, q, _CORRELATION)(p, q, where, axis_name)


def pool(p: Prediction, where: chex.Array) -> Prediction:
  """Pools the predictions of M models: the mean of their log-probabilities.

  This is the geometric mean of the distributions, normalised. For `Gaussian` it
  is a `Gaussian` whose precision is the mean precision. For `Laplace` the same
  is done with `1 / scale`, as an approximation.

  Args:
    p: predictions with leading axes M, N.
    where: `[N, M]` bool, the models that count for each example.

  Returns:
    Predictions of N examples; those without any model count all.
  """
  where = where | ~jnp.any(where, axis=-1, keepdims=True)
  shares = where / jnp.sum(where, axis=-1, keepdims=True)
  if isinstance(p, CONTINUOUS):
    location, spread = p
    power = 2 if isinstance(p, Gaussian) else 1
    precision = jnp.einsum("nm,mn->mn", shares, spread**-power)
    total = jnp.sum(precision, axis=0)
    location = jnp.sum(precision * location, axis=0) / total
    return type(p)(location, total ** (-1 / power))
  logits = p.logits
  if isinstance(p, Categorical):
    logits = jax.nn.log_softmax(logits)
  return type(p)(jnp.einsum("nm,mnc->nc", shares, logits))


def with_std(p: Prediction, std: float) -> Prediction:
  """Replaces the standard deviations of `Gaussian` and `Laplace` predictions.

  A `Laplace` of scale b has the standard deviation √2·b. Predictions of the
  other kinds have none and are returned as they are.

  Args:
    p: predictions.
    std: in the units of the predictions, positive.

  Returns:
    Predictions with the same means.
  """
  if not isinstance(p, CONTINUOUS):
    return p
  spread = std if isinstance(p, Gaussian) else std / math.sqrt(2.0)
  return type(p)(p[0], jnp.full_like(p[1], spread))


def _for_kind(p, q, table):
  """Returns the entry of a table by kind that applies to both p and q."""
  if type(p) is not type(q) or type(p) not in table:
    kinds = ", ".join(kind.__name__ for kind in table)
    raise ValueError(
      f"got {type(p).__name__} and {type(q).__name__}: give two predictions"
      f" of one kind, of {kinds}."
    )
  return table[type(p)]


def _on_classes(measure):
  """Makes a divergence of log-probabilities one of `Categorical`s."""
  return lambda p, q: measure(
    jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
  )


def _on_labels(measure):
  """Makes a divergence of logits one of `Bernoulli`s: sums over labels."""
  return lambda p, q: jnp.sum(measure(p.logits, q.logits), axis=-1)


def _on_parameters(measure):
  """Makes a divergence of two parameters each one of predictions."""
  return lambda p, q: measure(*p, *q)


def _reversed(kl):
  return lambda p, q: kl(q, p)


def _jeffreys(kl):
  return lambda p, q: divergences.jeffreys(kl, (p,), (q,))


def _categorical_information(p, q, where, transform, axis_name):
  del transform
  joint = _joint(jax.nn.softmax, p.logits, q.logits, where, axis_name)
  return discrete.from_joint(joint)


def _bernoulli_information(p, q, where, transform, axis_name):
  del transform

  def both_outcomes(logits):
    return jax.nn.sigmoid(jnp.stack([-logits, logits], axis=-1))

  def label_information(p_logits, q_logits):
    joint = _joint(both_outcomes, p_logits, q_logits, where, axis_name)
    return discrete.from_joint(joint)

  return jnp.sum(jax.vmap(label_information, (-1, -1))(p.logits, q.logits))


def _joint(probabilities, p_logits, q_logits, where, axis_name):
  """Computes the `[C, K]` soft contingency table, chunk by chunk."""
  if where is None:
    where = jnp.ones(p_logits.shape[0], bool)

  def sum_chunk(examples, mask):
    p, q, where = examples
    where &= mask
    table = discrete.soft_contingency(
      probabilities(p), probabilities(q), where=where
    )
    count = jnp.sum(where)
    return table * count, count

  sums = chunked.sum_chunks(sum_chunk, (p_logits, q_logits, where))
  table, count = types.psum_over(sums, axis_name)
  return table / jnp.maximum(count, 1)


def _point_information(p, q, where, transform, axis_name):
  # The first field, `mean` or `loc`, is the point prediction.
  p, q = p[:1], q[:1]
  if axis_name is not None:
    where = jnp.ones(jnp.shape(q[0]), bool) if where is None else where
    p, q, where = jax.lax.all_gather((p, q, where), axis_name, tiled=True)
  x, y = (transforms.TRANSFORMS[transform](v[0], where=where) for v in (p, q))
  return knn.adaptive(x, y, where=where)


def _class_correlation(probabilities):
  """Returns a function that averages the correlations of all classes."""

  def correlate(p, q, where, axis_name):
    def correlate_column(x, y):
      return correlation_lib.pearson(x, y, where=where, axis_name=axis_name)

    columns = probabilities(p.logits), probabilities(q.logits)
    return jnp.mean(jax.vmap(correlate_column, (-1, -1))(*columns))

  return correlate


def _point_correlation(p, q, where, axis_name):
  return correlation_lib.pearson(p[0], q[0], where=where, axis_name=axis_name)


_KL = {
  Categorical: _on_classes(divergences.categorical_kl),
  Bernoulli: _on_labels(divergences.bernoulli_kl),
  Gaussian: _on_parameters(divergences.gaussian_kl),
  Laplace: _on_parameters(divergences.laplace_kl),
}

# Name -> kind of prediction -> divergence.
DIVERGENCES = {
  "kl": _KL,
  "reverse_kl": {kind: _reversed(kl) for kind, kl in _KL.items()},
  "jeffreys": {kind: _jeffreys(kl) for kind, kl in _KL.items()},
  "js": {
    Categorical: _on_classes(divergences.categorical_js),
    Bernoulli: _on_labels(divergences.bernoulli_js),
    Gaussian: _on_parameters(divergences.gaussian_js),
    Laplace: _on_parameters(divergences.laplace_js),
  },
}

_INFORMATION = {
  Categorical: _categorical_information,
  Bernoulli: _bernoulli_information,
  Gaussian: _point_information,
  Laplace: _point_information,
}

_CORRELATION = {
  Categorical: _class_correlation(jax.nn.softmax),
  Bernoulli: _class_correlation(jax.nn.sigmoid),
  Gaussian: _point_correlation,
  Laplace: _point_correlation,
}
