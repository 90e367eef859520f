"""Mutual information under a Gaussian copula."""

import chex
import jax
import jax.numpy as jnp

from btw_jax.mutual_information import transforms


def gaussian_copula(
  x: chex.Array, y: chex.Array, *, where: chex.Array | None = None
) -> chex.Array:
  """Information of the Gaussian that has the samples' ranks, in nats.

  `½ log(|Σ_x| |Σ_y| / |Σ_xy|)` of the normal scores of `transforms.rank`, exact
  where the copula is Gaussian, whatever the margins, and a lower bound of the
  information elsewhere, up to its spread. Ince et al. (2017), "A statistical
  framework for neuroimaging data analysis based on mutual information
  estimated via a Gaussian copula".

  No bias is corrected: independent x and y of D_x and D_y columns give about
  `D_x D_y / (2N)`. The gradient is 0, ranks being constant between ties.

  Args:
    x: `[N]` or `[N, D]` samples.
    y: `[N]` or `[N, D]` samples, row by row with `x`; its D may differ.
    where: `[N]` bool, the samples that count; all by default.

  Returns:
    Scalar in nats, at least 0 up to rounding. Columns that are constant add
    nothing; those that repeat another one (or its ranks) give a large finite
    number, of order ½ log(1/ε) with ε the resolution of the dtype.

  Raises:
    ValueError: if the numbers of rows differ.
  """
  n, m = jnp.shape(x)[0], jnp.shape(y)[0]
  if n != m:
    raise ValueError(f"x has {n} rows and y {m}: give as many.")
  scores = [_normal_scores(v, where) for v in (x, y)]
  joint = jnp.concatenate(scores, axis=1)
  correlation = _correlation(joint)
  split = scores[0].shape[1]
  return 0.5 * (
    _log_det(correlation[:split, :split])
    + _log_det(correlation[split:, split:])
    - _log_det(correlation)
  )


def _normal_scores(x, where):
  x = jax.lax.stop_gradient(jnp.asarray(x))
  x = x if x.ndim == 2 else x[:, None]
  return transforms.standardise(transforms.rank(x, where=where), where=where)


def _correlation(scores):
  """Of standardised columns, those that are constant independent of all."""
  products = scores.T @ scores
  squares = jnp.diag(products)
  constant = jnp.diag((squares == 0).astype(products.dtype))
  return products / jnp.maximum(jnp.max(squares), 1) + constant


def _log_det(matrix):
  """Of a correlation matrix; variances below its resolution count as that."""
  size = matrix.shape[0]
  floor = size * jnp.finfo(matrix.dtype).eps
  return jnp.sum(jnp.log(jnp.maximum(jnp.linalg.eigvalsh(matrix), floor)))
