"""Predictive distributions, and what each tells about another of its kind.

A prediction is a NamedTuple of arrays, hence a pytree: `vmap` it over
modalities, index it with `jax.tree.map`, return it from `jit`. Event axes come
last (classes of `Categorical`, labels of `Bernoulli`), examples before them.
"""

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
  """One of C classes. `logits`: `[..., C]`, any constant may be added."""

  logits: chex.Array


class Bernoulli(NamedTuple):
  """Independent yes/no labels. `logits`: `[..., C]` log-odds, C = 1 if one."""

  logits: chex.Array


class Gaussian(NamedTuple):
  """A real number. `mean`, `std`: `[...]`, `std` positive."""

  mean: chex.Array
  std: chex.Array


class Laplace(NamedTuple):
  """A real number, heavy tails. `loc`, `scale`: `[...]`, `scale` positive."""

  loc: chex.Array
  scale: chex.Array


Prediction = Categorical | Bernoulli | Gaussian | Laplace
# Kinds whose information is estimated from nearest neighbours.
POINTS = (Gaussian, Laplace)


def divergence(p: Prediction, q: Prediction, *, kind: str = "kl") -> chex.Array:
  """Divergence of p from q per example, in nats.

  Labels of a `Bernoulli` are independent: their divergences are added up,
  which for `js` is the sum over labels, not that of the joint law.

  Args:
    p: predictions `[...]` (before the event axis).
    q: predictions of the same kind, broadcast against `p`.
    kind: a name of `DIVERGENCES`, static: "kl", `KL(p‖q)`; "reverse_kl",
      `KL(q‖p)`; "jeffreys", their sum; "js", Jensen–Shannon.

  Returns:
    `[...]` nats.

  Raises:
    ValueError: if the two are not predictions of one kind, or `kind` is
      unknown.
  """
  if kind not in DIVERGENCES:
    raise ValueError(
      f"divergence {kind!r} is unknown: use one of {', '.join(DIVERGENCES)}."
    )
  return _of_one_kind(p, q, DIVERGENCES[kind])(p, q)


def information(
  p: Prediction,
  q: Prediction,
  *,
  where: chex.Array | None = None,
  transform: str = "none",
  axis_name: str | None = None,
) -> chex.Array:
  """Mutual information between two models' predictions over a set, in nats.

  Categorical: plug-in information of the soft contingency table. Bernoulli:
  the same per label, added up. Gaussian and Laplace: the k-nearest-neighbour
  estimate (k = 3) between the two point predictions. An estimate is not
  clipped: a small negative value can come from `Gaussian` and `Laplace`.

  Args:
    p: predictions of N examples.
    q: predictions of the same kind for the same examples.
    where: `[N]` bool, the examples that count; all by default.
    transform: a name of `transforms.TRANSFORMS`, static, applied to the point
      predictions before neighbours are sought; not used by the other kinds.
    axis_name: of a mapped axis over which the examples are spread: tables are
      added up over it, points are gathered; all are at hand by default.

  Returns:
    Scalar in nats.

  Raises:
    ValueError: if the two are not predictions of one kind, or `transform` is
      unknown.
  """
  if transform not in transforms.TRANSFORMS:
    raise ValueError(
      f"transform {transform!r} is unknown: use one of"
      f" {', '.join(transforms.TRANSFORMS)}."
    )
  return _of_one_kind(p, q, _INFORMATION)(p, q, where, transform, axis_name)


def correlation(
  p: Prediction,
  q: Prediction,
  *,
  where: chex.Array | None = None,
  axis_name: str | None = None,
) -> chex.Array:
  """Pearson correlation between two models' predictions over a set.

  Of the point predictions; for classes and labels, of the probabilities,
  averaged over classes.

  Args:
    p: predictions of N examples.
    q: predictions of the same kind for the same examples.
    where: `[N]` bool, the examples that count; all by default.
    axis_name: of a mapped axis over which the examples are spread; all are at
      hand by default.

  Returns:
    Scalar in [−1, 1].

  Raises:
    ValueError: if the two are not predictions of one kind.
  """
  return _of_one_kind(p, q, _CORRELATION)(p, q, where, axis_name)


def _of_one_kind(p, q, table):
  if type(p) is not type(q) or type(p) not in table:
    kinds = ", ".join(kind.__name__ for kind in table)
    raise ValueError(
      f"got {type(p).__name__} and {type(q).__name__}: give two predictions"
      f" of one kind, of {kinds}."
    )
  return table[type(p)]


def _of_classes(measure):
  """A divergence of log-probabilities as one of predictions."""
  return lambda p, q: measure(
    jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
  )


def _of_labels(measure):
  """A divergence of one label as one of all, added up."""
  return lambda p, q: jnp.sum(measure(p.logits, q.logits), axis=-1)


def _of_parameters(measure):
  return lambda p, q: measure(*p, *q)


def _turned(kl):
  return lambda p, q: kl(q, p)


def _both_ways(kl):
  return lambda p, q: divergences.jeffreys(kl, (p,), (q,))


def _categorical_information(p, q, where, transform, axis_name):
  del transform
  joint = _joint(jax.nn.softmax, p.logits, q.logits, where, axis_name)
  return discrete.from_joint(joint)


def _bernoulli_information(p, q, where, transform, axis_name):
  del transform

  def no_and_yes(logits):
    return jax.nn.sigmoid(jnp.stack([-logits, logits], axis=-1))

  def of_label(p_logits, q_logits):
    joint = _joint(no_and_yes, p_logits, q_logits, where, axis_name)
    return discrete.from_joint(joint)

  return jnp.sum(jax.vmap(of_label, (-1, -1))(p.logits, q.logits))


def _joint(probabilities, p_logits, q_logits, where, axis_name):
  """Contingency table, the probabilities of so many examples held at a time."""
  if where is None:
    where = jnp.ones(p_logits.shape[0], bool)

  def sums(examples, counts):
    p, q, where = examples
    where &= counts
    table = discrete.soft_contingency(
      probabilities(p), probabilities(q), where=where
    )
    count = jnp.sum(where)
    return table * count, count

  found = chunked.sum_chunks(sums, (p_logits, q_logits, where))
  table, count = types.total(found, axis_name)
  return table / jnp.maximum(count, 1)


def _point_information(p, q, where, transform, axis_name):
  """Both kinds of real numbers have their point prediction first."""
  p, q = p[:1], q[:1]
  if axis_name is not None:
    where = jnp.ones(jnp.shape(q[0]), bool) if where is None else where
    p, q, where = jax.lax.all_gather((p, q, where), axis_name, tiled=True)
  x, y = (transforms.TRANSFORMS[transform](v[0], where=where) for v in (p, q))
  return knn.ksg(x, y, where=where)


def _of_probabilities(probabilities):
  """The mean correlation over classes."""

  def correlated(p, q, where, axis_name):
    def of_column(x, y):
      return correlation_lib.pearson(x, y, where=where, axis_name=axis_name)

    columns = probabilities(p.logits), probabilities(q.logits)
    return jnp.mean(jax.vmap(of_column, (-1, -1))(*columns))

  return correlated


def _point_correlation(p, q, where, axis_name):
  return correlation_lib.pearson(p[0], q[0], where=where, axis_name=axis_name)


_KL = {
  Categorical: _of_classes(divergences.categorical_kl),
  Bernoulli: _of_labels(divergences.bernoulli_kl),
  Gaussian: _of_parameters(divergences.gaussian_kl),
  Laplace: _of_parameters(divergences.laplace_kl),
}

# name -> kind of prediction -> divergence
DIVERGENCES = {
  "kl": _KL,
  "reverse_kl": {kind: _turned(kl) for kind, kl in _KL.items()},
  "jeffreys": {kind: _both_ways(kl) for kind, kl in _KL.items()},
  "js": {
    Categorical: _of_classes(divergences.categorical_js),
    Bernoulli: _of_labels(divergences.bernoulli_js),
    Gaussian: _of_parameters(divergences.gaussian_js),
    Laplace: _of_parameters(divergences.laplace_js),
  },
}

_INFORMATION = {
  Categorical: _categorical_information,
  Bernoulli: _bernoulli_information,
  Gaussian: _point_information,
  Laplace: _point_information,
}

_CORRELATION = {
  Categorical: _of_probabilities(jax.nn.softmax),
  Bernoulli: _of_probabilities(jax.nn.sigmoid),
  Gaussian: _point_correlation,
  Laplace: _point_correlation,
}
