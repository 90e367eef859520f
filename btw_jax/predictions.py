"""Predictive distributions, and what each tells about another of its kind.

A prediction is a NamedTuple of arrays, hence a pytree: `vmap` it over
modalities, index it with `jax.tree.map`, return it from `jit`. Event axes come
last (classes of `Categorical`, labels of `Bernoulli`), examples before them.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import divergences
from btw_jax.mutual_information import correlation as correlation_lib
from btw_jax.mutual_information import discrete
from btw_jax.mutual_information import knn


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


def divergence(p: Prediction, q: Prediction) -> chex.Array:
  """`KL(p || q)` per example, in nats.

  Labels of a `Bernoulli` are independent, so their divergences add up.

  Args:
    p: predictions `[...]` (before the event axis).
    q: predictions of the same kind, broadcast against `p`.

  Returns:
    `[...]` nats.

  Raises:
    ValueError: if the two are not predictions of one kind.
  """
  return _of_one_kind(p, q, _DIVERGENCE)(p, q)


def information(
  p: Prediction, q: Prediction, *, where: chex.Array | None = None
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

  Returns:
    Scalar in nats.

  Raises:
    ValueError: if the two are not predictions of one kind.
  """
  return _of_one_kind(p, q, _INFORMATION)(p, q, where)


def correlation(
  p: Prediction, q: Prediction, *, where: chex.Array | None = None
) -> chex.Array:
  """Pearson correlation between two models' predictions over a set.

  Of the point predictions; for classes and labels, of the probabilities,
  averaged over classes.

  Args:
    p: predictions of N examples.
    q: predictions of the same kind for the same examples.
    where: `[N]` bool, the examples that count; all by default.

  Returns:
    Scalar in [−1, 1].

  Raises:
    ValueError: if the two are not predictions of one kind.
  """
  return _of_one_kind(p, q, _CORRELATION)(p, q, where)


def _of_one_kind(p, q, table):
  if type(p) is not type(q) or type(p) not in table:
    kinds = ", ".join(kind.__name__ for kind in table)
    raise ValueError(
      f"got {type(p).__name__} and {type(q).__name__}: give two predictions"
      f" of one kind, of {kinds}."
    )
  return table[type(p)]


def _categorical_divergence(p, q):
  return divergences.categorical_kl(
    jax.nn.log_softmax(p.logits), jax.nn.log_softmax(q.logits)
  )


def _bernoulli_divergence(p, q):
  return jnp.sum(divergences.bernoulli_kl(p.logits, q.logits), axis=-1)


def _categorical_information(p, q, where):
  joint = discrete.soft_contingency(
    jax.nn.softmax(p.logits), jax.nn.softmax(q.logits), where=where
  )
  return discrete.from_joint(joint)


def _bernoulli_information(p, q, where):
  def of_label(p_logits, q_logits):
    both = (jnp.stack([-v, v], axis=-1) for v in (p_logits, q_logits))
    p_probs, q_probs = (jax.nn.sigmoid(v) for v in both)
    joint = discrete.soft_contingency(p_probs, q_probs, where=where)
    return discrete.from_joint(joint)

  return jnp.sum(jax.vmap(of_label, (-1, -1))(p.logits, q.logits))


def _columnwise_correlation(p_probs, q_probs, where):
  def of_column(x, y):
    return correlation_lib.pearson(x, y, where=where)

  return jnp.mean(jax.vmap(of_column, (-1, -1))(p_probs, q_probs))


_DIVERGENCE = {
  Categorical: _categorical_divergence,
  Bernoulli: _bernoulli_divergence,
  Gaussian: lambda p, q: divergences.gaussian_kl(*p, *q),
  Laplace: lambda p, q: divergences.laplace_kl(*p, *q),
}

_INFORMATION = {
  Categorical: _categorical_information,
  Bernoulli: _bernoulli_information,
  Gaussian: lambda p, q, where: knn.ksg(p.mean, q.mean, where=where),
  Laplace: lambda p, q, where: knn.ksg(p.loc, q.loc, where=where),
}

_CORRELATION = {
  Categorical: lambda p, q, where: _columnwise_correlation(
    jax.nn.softmax(p.logits), jax.nn.softmax(q.logits), where
  ),
  Bernoulli: lambda p, q, where: _columnwise_correlation(
    jax.nn.sigmoid(p.logits), jax.nn.sigmoid(q.logits), where
  ),
  Gaussian: lambda p, q, where: correlation_lib.pearson(
    p.mean, q.mean, where=where
  ),
  Laplace: lambda p, q, where: correlation_lib.pearson(
    p.loc, q.loc, where=where
  ),
}
