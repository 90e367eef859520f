"""Nine joint distributions whose mutual information is known.

These are the one-dimensional tasks of Czyż et al. (2023), "Beyond Normal: On
the Evaluation of Mutual Information Estimators", arXiv 2306.11078, written from
their definitions.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

_RHO = 0.75

Pair = tuple[np.ndarray, np.ndarray]


def samples(num_samples: int, num_seeds: int) -> Pair:
  """Draws x and y of every task, each `[S, tasks, N]`."""
  pairs = [
    [
      draw(np.random.default_rng([seed, t]), num_samples)
      for t, (_, draw) in enumerate(TASKS.values())
    ]
    for seed in range(num_seeds)
  ]
  x, y = np.moveaxis(np.asarray(pairs, np.float32), 2, 0)
  return x, y


def _normal(rng: np.random.Generator, n: int) -> Pair:
  x, noise = rng.normal(size=(2, n))
  return x, _RHO * x + np.sqrt(1 - _RHO**2) * noise


def _mapped(map_x: Callable, map_y: Callable) -> Callable:
  """Maps the margins of normal pairs, which keeps the information."""

  def draw(rng, n):
    x, y = _normal(rng, n)
    return map_x(x), map_y(y)

  return draw


def _additive(width: float) -> Callable:
  def draw(rng, n):
    x = rng.uniform(size=n)
    return x, x + rng.uniform(-width, width, size=n)

  return draw


def _student(rng: np.random.Generator, n: int) -> Pair:
  """Draws from one degree of freedom and identity dispersion.

  x and y are uncorrelated, yet dependent: they share the chi-square variable.
  """
  x, y = rng.normal(size=(2, n)) / np.sqrt(rng.chisquare(1, size=n))
  return x, y


def _asinh_student(rng: np.random.Generator, n: int) -> Pair:
  x, y = _student(rng, n)
  return np.arcsinh(x), np.arcsinh(y)


def _mixture_quantile(weight: float, first: float, second: float) -> Callable:
  """Maps normals to a mixture of two unit normals, through quantiles."""
  # Beyond nine standard deviations the CDF is 0 or 1 in float64. The grid is so
  # fine that linear interpolation is enough to invert the CDF.
  grid = np.linspace(min(first, second) - 9, max(first, second) + 9, 200_001)
  cdf = weight * special.ndtr(grid - first)
  cdf += (1 - weight) * special.ndtr(grid - second)
  return lambda z: np.interp(special.ndtr(z), cdf, grid)


def _half_cube(x: np.ndarray) -> np.ndarray:
  return x * np.sqrt(np.abs(x))


def _wiggly_x(x: np.ndarray) -> np.ndarray:
  return (
    x
    + 0.4 * np.sin(x)
    + 0.2 * np.sin(1.7 * x + 1)
    + 0.03 * np.sin(3.3 * x - 2.5)
  )


def _wiggly_y(y: np.ndarray) -> np.ndarray:
  return (
    y
    - 0.4 * np.sin(0.4 * y)
    + 0.17 * np.sin(1.3 * y + 3.5)
    + 0.02 * np.sin(4.3 * y - 2.5)
  )


def _student_information(degrees: float) -> float:
  """Computes the information of an uncorrelated bivariate Student, in nats."""

  def term(v):
    return special.gammaln(v / 2) - v / 2 * special.digamma(v / 2)

  return term(degrees) + term(degrees + 2) - 2 * term(degrees + 1)


_NORMAL = -0.5 * np.log(1 - _RHO**2)

# name -> (information in nats, sampler)
TASKS = {
  "normal": (_NORMAL, _normal),
  "normal CDF": (_NORMAL, _mapped(special.ndtr, special.ndtr)),
  # log(1 / 2w) + w if the noise is narrower than the signal, else 1 / 4w.
  "additive .1": (np.log(1 / 0.2) + 0.1, _additive(0.1)),
  "additive .75": (1 / (4 * 0.75), _additive(0.75)),
  "bimodal": (
    _NORMAL,
    _mapped(_mixture_quantile(0.3, 0, 5), _mixture_quantile(0.5, -1, 3)),
  ),
  "wiggly": (_NORMAL, _mapped(_wiggly_x, _wiggly_y)),
  "half-cube": (_NORMAL, _mapped(_half_cube, _half_cube)),
  "Student": (_student_information(1), _student),
  "asinh Student": (_student_information(1), _asinh_student),
}
