"""Mutual information under a Gaussian copula."""

import chex
import jax
import jax.numpy as jnp

from btw_jax.mutual_information import samples
from btw_jax.mutual_information import transforms


def gaussian_copula(
  x: chex.Array, y: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Estimates mutual information from the ranks of the samples.

  The formula is `½ log(|Σ_x| |Σ_y| / |Σ_xy|)`, with the covariances of the
  normal scores of `transforms.rank`. It is consistent if the copula is
  Gaussian, for any margins; otherwise it tends to a lower bound. Ince et al.
  (2017), "A statistical framework for neuroimaging data analysis based on
  mutual information estimated via a Gaussian copula".

  The bias is not corrected: independent x and y with D_x and D_y columns give
  about `D_x D_y / (2N)`. The gradient is 0, because ranks are piecewise
  constant.

  Args:
    x: `[N]` or `[N, D]` samples.
    y: `[N]` or `[N, D]` samples, paired with those of `x`; its D may differ.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    Scalar in nats, at least 0 up to rounding. Constant columns add nothing.
    Two columns with equal ranks give a large finite number, of order
    ½ log(1/ε) with ε the resolution of the dtype.

  Raises:
    ValueError: if `x` and `y` have different numbers of rows, or the dtype of
      the computation cannot tell most samples apart.
  """
  n, m = jnp.shape(x)[0], jnp.shape(y)[0]
  if n != m:
    raise ValueError(f"x has {n} rows and y {m}: give the same number.")
  pair = samples.convert({"x": x, "y": y}, where=where, rescale=True)
  scores = [_normal_scores(v, where) for v in pair]
  joint = jnp.concatenate(scores, axis=1)
  correlation = _correlation(joint)
  split = scores[0].shape[1]
  return 0.5 * (
    _log_det(correlation[:split, :split])
    + _log_det(correlation[split:, split:])
    - _log_det(correlation)
  )


def _normal_scores(x, where):
  """Returns `[N, D]` standardised normal scores, 0 where a row is excluded."""
  x = jax.lax.stop_gradient(x)
  x = x if x.ndim == 2 else x[:, None]
  return transforms.standardise(transforms.rank(x, where=where), where=where)


def _correlation(scores):
  """Returns the `[D, D]` correlation; constant columns are independent."""
  products = scores.T @ scores
  squares = jnp.diag(products)
  # A constant column has a variance of 0: a 1 on its diagonal keeps the matrix
  # invertible and makes the column independent of the others.
  constant = jnp.diag((squares == 0).astype(products.dtype))
  return products / jnp.maximum(jnp.max(squares), 1) + constant


def _log_det(matrix):
  """Returns the log-determinant; eigenvalues have a floor, so it is finite."""
  size = matrix.shape[0]
  floor = size * jnp.finfo(matrix.dtype).eps
  return jnp.sum(jnp.log(jnp.maximum(jnp.linalg.eigvalsh(matrix), floor)))
