"""Interactions in a grid: every value of one source meets every other value.

Questions are recombined: the image of one with the text of another, so that the
model itself tells p(y | x1, x2) for all pairs and no modality is masked. Each
value has a latent, the digit or number that it shows. Pairs of values weigh as
much as the world lets their latents meet, hence an ideal model has exactly the
atoms of the world's truth.
"""

from collections.abc import Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.analysis import decisions
from btw_jax.analysis import pid
from btw_jax.data.questions import question_set
from btw_jax.pipeline.language import truth as truth_lib

_NUM_ITERATIONS = 1000


class Grid(NamedTuple):
  """The questions of a task whose modalities meet.

  Attributes:
    sources: the two modalities, and the control.
    control: `[L]` rows that the control is taken from; one row without it.
    first: `[n1]` rows that the first source is taken from.
    second: `[n2]` rows that the second source is taken from.
    strata: `[n1]` and `[n2]`, the position of each value's latent in the truth.
    weights: `[n1, n2]` probability of each pair, sums to 1.
  """

  sources: truth_lib.Sources
  control: np.ndarray
  first: np.ndarray
  second: np.ndarray
  strata: tuple[np.ndarray, np.ndarray]
  weights: np.ndarray

  @property
  def shape(self) -> tuple[int, int, int]:
    """Returns L, n1 and n2."""
    return len(self.control), len(self.first), len(self.second)


def draw(
  questions: question_set.QuestionSet,
  truth: truth_lib.Truth,
  num_values: int,
  seed: int,
) -> Grid:
  """Draws values of both sources, equally many of each latent.

  Args:
    questions: N questions of one task, with different images, sounds and texts.
    truth: of the task.
    num_values: about so many values of each source, at least one of each
      latent.
    seed: of the draw.

  Raises:
    ValueError: if no question has one of the latents.
  """
  rng = np.random.default_rng(seed)
  first, second, control = truth.sources
  rows, strata = [], []
  for modality, values in ((first, truth.first), (second, truth.second)):
    chosen = _stratified(
      _distinct(questions, modality),
      truth_lib.latents(questions, modality),
      values,
      max(1, num_values // len(values)),
      rng,
    )
    rows.append(np.concatenate(chosen))
    strata.append(np.repeat(np.arange(len(values)), list(map(len, chosen))))
  controls = np.zeros(1, int)
  if control is not None:
    controls = _distinct(questions, control)
  return Grid(
    truth.sources, controls, *rows, tuple(strata), _weights(truth, *strata)
  )


def recombine(
  questions: question_set.QuestionSet, grid: Grid, seed: int
) -> question_set.QuestionSet:
  """Returns the L · n1 · n2 questions of a grid, the second source fastest.

  A modality that is neither a source nor the control is of a random question.
  """
  shape = grid.shape
  rng = np.random.default_rng(seed)
  axes = np.meshgrid(grid.control, grid.first, grid.second, indexing="ij")
  by_axis = [rows.ravel() for rows in axes]
  others = rng.integers(len(questions.tasks), size=np.prod(shape))
  rows = np.repeat(others[:, None], questions.present.shape[1], axis=1)
  first, second, control = grid.sources
  rows[:, first], rows[:, second] = by_axis[1], by_axis[2]
  if control is not None:
    rows[:, control] = by_axis[0]
  return truth_lib.recombine(questions, rows)


def joint(probs: np.ndarray, grid: Grid) -> np.ndarray:
  """Returns the joint `[..., L, n1, n2, C]` of decisions `[..., L·n1·n2, C]`.

  The tables of all values of the control have the sum 1.
  """
  num_controls, *sizes = grid.shape
  shape = (*probs.shape[:-2], num_controls, -1, probs.shape[-1])
  even = decisions.grid(jnp.asarray(probs).reshape(shape), *sizes)
  return np.asarray(even) * (grid.weights * np.prod(sizes))[..., None]


def atoms(tables: np.ndarray) -> pid.Decomposition:
  """Decomposes `[..., L, n1, n2, C]`: the atoms `[...]`, means over L."""
  flat = tables.reshape(-1, *tables.shape[-3:])
  solved = _BROJA(jnp.asarray(flat))
  return jax.tree.map(
    lambda x: np.asarray(x).reshape(tables.shape[:-3]).mean(axis=-1), solved
  )


def shares(tables: np.ndarray) -> np.ndarray:
  """Returns the share `[4, ..., n1, n2]` of every pair in the four atoms.

  `tables` is `[..., L, n1, n2, C]`; the shares are means over L, and their sum
  over all pairs is the atom.
  """
  flat = jnp.asarray(tables.reshape(-1, *tables.shape[-3:]))
  of_pairs = np.stack(_SHARES(flat))
  return of_pairs.reshape(4, *tables.shape[:-1]).mean(axis=-3)


def intervals(
  shares: np.ndarray,
  strata: Sequence[np.ndarray],
  *,
  num_resamples: int,
  seed: int,
  level: float = 0.95,
) -> np.ndarray:
  """Returns bootstrap percentile intervals `[4, 2]` of atoms.

  The values of both sources are resampled, those of a latent among themselves,
  and the shares of the pairs follow: to first order, the share of a pair is its
  influence on an atom.

  Args:
    shares: `[4, n1, n2]`, of `shares`.
    strata: `[n1]` and `[n2]`, the latents of the values.
    num_resamples: number of resamples.
    seed: of the resamples.
    level: coverage of the intervals.
  """
  rng = np.random.default_rng(seed)
  first, second = (_resample(s, num_resamples, rng) for s in strata)
  drawn = np.einsum("ri,aij,rj->ra", first, shares, second, optimize=True)
  tails = (1 - level) / 2, (1 + level) / 2
  return np.quantile(drawn, tails, axis=0).T


def _resample(strata, num_resamples, rng):
  """Returns how often `[R, n]` each value is drawn, within its stratum."""
  counts = np.zeros((num_resamples, len(strata)))
  for stratum in np.unique(strata):
    (members,) = np.nonzero(strata == stratum)
    even = np.full(len(members), 1 / len(members))
    counts[:, members] = rng.multinomial(len(members), even, num_resamples)
  return counts


def _distinct(questions, modality):
  """Returns the first row of every different value of a modality."""
  values = truth_lib.values(questions, modality)
  values = values.reshape(len(values), -1)
  return np.sort(np.unique(values, axis=0, return_index=True)[1])


def _stratified(rows, latents, values, number, rng):
  """Draws up to `number` of some rows for each value of the latent."""
  chosen = []
  for value in values:
    (members,) = np.nonzero(latents[rows] == value)
    if not len(members):
      raise ValueError(f"latent {value}: no question has it: draw more.")
    chosen.append(rows[rng.permutation(members)[:number]])
  return chosen


def _weights(truth, first, second):
  """Spreads the probability of each pair of latents evenly over its pairs."""
  pairs = truth.joint.sum(axis=-1)
  counts = np.outer(np.bincount(first), np.bincount(second))
  return (pairs / counts)[np.ix_(first, second)]


@jax.jit
def _BROJA(tables):
  """Decomposes tables one after the other, so that easy ones end early."""
  return jax.lax.map(
    functools.partial(pid.broja, num_iterations=_NUM_ITERATIONS), tables
  )


@jax.jit
def _SHARES(tables):
  """Returns the shares of pairs in the atoms, `[T, n1, n2]` each."""

  def of_table(table):
    pointwise = pid.pointwise(table, num_iterations=_NUM_ITERATIONS)
    weights = table / jnp.sum(table)
    return tuple(jnp.sum(weights * atom, axis=-1) for atom in pointwise)

  return jax.lax.map(of_table, tables)
