"""Every estimator against nine distributions whose information is known.

  python -m experiments.benchmarks.estimator_accuracy

The one-dimensional tasks of Czyż et al. (2023), "Beyond Normal: On the
Evaluation of Mutual Information Estimators", arXiv 2306.11078, written from
their definitions.
"""

from collections.abc import Callable, Mapping
import functools
import pathlib

from absl import flags
import jax
import numpy as np
from scipy import special

from btw_jax.mutual_information import binned
from btw_jax.mutual_information import copula
from btw_jax.mutual_information import correlation
from btw_jax.mutual_information import knn
from btw_jax.mutual_information import transforms
from btw_jax.pipeline import files
from btw_jax.reports import tables as tables_lib
from experiments import app

_SAMPLES = flags.DEFINE_integer("num_samples", 1284, "samples of each task", 5)
_SEEDS = flags.DEFINE_integer("num_seeds", 10, "sets of samples", 1)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")

_RHO = 0.75
_NUM_BINS = 10

Array = np.ndarray
Pair = tuple[Array, Array]


def main() -> None:
  """Prints the mean estimate of every task, and the mean absolute error."""
  note = (
    f"N = {_SAMPLES.value}, mean of {_SEEDS.value} seeds, nats; MAE: mean"
    " absolute error over tasks and seeds"
  )
  found = {"note": note, "rows": rows(_SAMPLES.value, _SEEDS.value)}
  print(tables_lib.measured(found))
  if _OUTPUT.value:
    files.write_json(pathlib.Path(_OUTPUT.value), found)


def rows(num_samples: int, num_seeds: int) -> list[dict[str, str]]:
  """The truth, and a row per estimator and transform.

  Args:
    num_samples: N.
    num_seeds: sets of samples.

  Returns:
    Heading -> cell.
  """
  truth = np.array([truth for truth, _ in TASKS.values()])

  def row(name, transform, values, error):
    cells = {task: f"{v:.3f}" for task, v in zip(TASKS, values, strict=True)}
    return {"estimator": name, "transform": transform, **cells, "MAE": error}

  table = [row("truth", "", truth, "")]
  x, y = samples(num_samples, num_seeds)
  for name, (_, which) in ESTIMATORS.items():
    for transform in which:
      values = estimates(name, transform, x, y)
      error = np.mean(np.abs(values - truth))
      table.append(row(name, transform, values.mean(0), f"{error:.4f}"))
  return table


def samples(num_samples: int, num_seeds: int) -> Pair:
  """Samples of every task.

  Args:
    num_samples: N.
    num_seeds: S sets of samples.

  Returns:
    x and y, `[S, tasks, N]`.
  """
  pairs = [
    [
      draw(np.random.default_rng([seed, t]), num_samples)
      for t, (_, draw) in enumerate(TASKS.values())
    ]
    for seed in range(num_seeds)
  ]
  x, y = np.moveaxis(np.asarray(pairs, np.float32), 2, 0)
  return x, y


def estimates(estimator: str, transform: str, x: Array, y: Array) -> Array:
  """What an estimator makes of every task.

  Args:
    estimator: its name.
    transform: name of what is done to the samples before.
    x: samples, `[S, tasks, N]`.
    y: likewise.

  Returns:
    `[S, tasks]` nats.
  """
  of, change = ESTIMATORS[estimator][0], transforms.TRANSFORMS[transform]
  mapped = jax.vmap(jax.vmap(lambda x, y: of(change(x), change(y))))
  return np.asarray(jax.jit(mapped)(x, y))


def _gaussian(x, y):
  return correlation.gaussian_information(correlation.pearson(x, y))


# name -> (estimator, transforms that change what it finds)
ESTIMATORS: Mapping[str, tuple[Callable, tuple[str, ...]]] = {
  "knn.ksg, k = 3": (knn.ksg, ("none", "standardise", "rank")),
  "copula.gaussian_copula": (copula.gaussian_copula, ("none",)),
  f"binned.binned, {_NUM_BINS} bins": (
    functools.partial(binned.binned, num_bins=_NUM_BINS),
    ("none", "rank"),
  ),
  "correlation, Gaussian": (_gaussian, ("none", "rank")),
}


def _normal(rng: np.random.Generator, n: int) -> Pair:
  x, noise = rng.normal(size=(2, n))
  return x, _RHO * x + np.sqrt(1 - _RHO**2) * noise


def _mapped(of_x: Callable, of_y: Callable) -> Callable:
  """Normal pairs whose margins are mapped: the information stays."""

  def draw(rng, n):
    x, y = _normal(rng, n)
    return of_x(x), of_y(y)

  return draw


def _additive(width: float) -> Callable:
  def draw(rng, n):
    x = rng.uniform(size=n)
    return x, x + rng.uniform(-width, width, size=n)

  return draw


def _student(rng: np.random.Generator, n: int) -> Pair:
  """One degree of freedom, identity dispersion: uncorrelated, yet dependent."""
  x, y = rng.normal(size=(2, n)) / np.sqrt(rng.chisquare(1, size=n))
  return x, y


def _asinh_student(rng: np.random.Generator, n: int) -> Pair:
  x, y = _student(rng, n)
  return np.arcsinh(x), np.arcsinh(y)


def _mixture_quantile(weight: float, first: float, second: float) -> Callable:
  """Maps normals to a mixture of two unit normals, through quantiles."""
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
  """Of two uncorrelated variables of a bivariate Student distribution."""

  def term(v):
    return special.gammaln(v / 2) - v / 2 * special.digamma(v / 2)

  return term(degrees) + term(degrees + 2) - 2 * term(degrees + 1)


_NORMAL = -0.5 * np.log(1 - _RHO**2)

# name -> (information in nats, sampler)
TASKS = {
  "normal": (_NORMAL, _normal),
  "normal CDF": (_NORMAL, _mapped(special.ndtr, special.ndtr)),
  # log(1 / 2w) + w where the noise is narrower than the signal, else 1 / 4w.
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


if __name__ == "__main__":
  app.run(main, {"Estimators": ["num_samples", "num_seeds", "output"]})
