"""Interactions in a grid: every value of one source meets every other value.

Questions are recombined: the image of one with the text of another, so that the
model itself tells p(y | x1, x2) for all pairs and no modality is masked. Each
value has a latent, the digit or number that it shows. Pairs of values weigh as
much as the world lets their latents meet, hence an ideal model has exactly the
atoms of the world's truth.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.analysis import decisions
from btw_jax.analysis import pid
from btw_jax.data.questions import question_set
from btw_jax.pipeline.language import truth as truth_lib

_NUM_ITERATIONS, _TOLERANCE = 1000, 1e-5


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


class Solved(NamedTuple):
  """The decomposition of joints, with means over the values of the control.

  Attributes:
    atoms: `[..., 4]` nats: R, U1, U2 and S.
    gap: `[...]` largest error of an atom.
    shares: `[..., 4, n1, n2]`, the share of each pair of values in the atoms,
      which are the sums over pairs; to first order, its influence on them. The
      last pairs are padding.
  """

  atoms: np.ndarray
  gap: np.ndarray
  shares: np.ndarray


def draw(
  questions: question_set.QuestionSet,
  truth: truth_lib.Truth,
  num_values: int,
  seed: int,
) -> Grid:
  """Draws values of both sources, equally many of each latent.

  Args:
    questions: N questions of one task.
    truth: of the task.
    num_values: about so many different values of each source, and at least one
      of each latent.
    seed: of the draw.

  Raises:
    ValueError: if no question has one of the latents.
  """
  rng = np.random.default_rng(seed)
  first, second, control = truth.sources
  of_latents = truth.joint.sum(axis=-1)
  rows, strata = [], []
  for modality, codes, count in zip(
    (first, second), truth.strata(questions), of_latents.shape, strict=True
  ):
    candidates = _distinct(questions, modality)
    number = max(1, num_values // count)
    chosen = _stratified(candidates, codes, count, number, rng)
    rows.append(chosen)
    strata.append(codes[chosen])
  return Grid(
    truth.sources,
    np.zeros(1, int) if control is None else _distinct(questions, control),
    *rows,
    tuple(strata),
    _weights(of_latents, *strata),
  )


def recombine(
  questions: question_set.QuestionSet, grid: Grid, seed: int
) -> question_set.QuestionSet:
  """Returns the L · n1 · n2 questions of a grid, the second source fastest.

  A modality that is neither a source nor the control is of a random question.
  """
  axes = np.meshgrid(grid.control, grid.first, grid.second, indexing="ij")
  control, first, second = (axis.ravel() for axis in axes)
  rng = np.random.default_rng(seed)
  others = rng.integers(len(questions.tasks), size=len(first))
  rows = np.repeat(others[:, None], questions.present.shape[1], axis=1)
  rows[:, grid.sources.first] = first
  rows[:, grid.sources.second] = second
  if grid.sources.control is not None:
    rows[:, grid.sources.control] = control
  return questions.recombine(rows)


def joint(probs: np.ndarray, grid: Grid) -> np.ndarray:
  """Returns the joint `[..., L, n1, n2, C]` of decisions `[..., L·n1·n2, C]`.

  The table of each value of the control has the sum 1.
  """
  num_controls, *sizes = grid.shape
  shape = (*probs.shape[:-2], num_controls, -1, probs.shape[-1])
  even = decisions.grid(jnp.asarray(probs).reshape(shape), *sizes)
  return np.asarray(even) * (grid.weights * np.prod(sizes))[..., None]


def solve(tables: Sequence[np.ndarray]) -> list[Solved]:
  """Decomposes joints `[..., L, n1, n2, C]`, all in the same program."""
  shape = np.max([table.shape[-3:] for table in tables], axis=0)
  padded = [
    np.pad(x, [(0, 0)] * (x.ndim - 3) + [(0, n) for n in shape - x.shape[-3:]])
    for x in tables
  ]
  flat = np.concatenate([x.reshape(-1, *shape) for x in padded])
  solved = jax.tree.map(np.asarray, _solve(flat.astype(np.float32)))
  ends = np.cumsum([np.prod(x.shape[:-3]) for x in tables])[:-1]
  parts = [np.split(x, ends) for x in solved]
  return [
    Solved(
      *(y.reshape(*x.shape[:-3], *y.shape[1:]).mean(x.ndim - 4) for y in part)
    )
    for x, part in zip(tables, zip(*parts, strict=True), strict=True)
  ]


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
    shares: `[4, n1, n2]`, as in `Solved`.
    strata: `[n1]` and `[n2]`, as in `Grid`.
    num_resamples: number of resamples.
    seed: of the resamples.
    level: coverage of the intervals.
  """
  rng = np.random.default_rng(seed)
  first, second = (_resample(s, num_resamples, rng) for s in strata)
  shares = shares[:, : first.shape[1], : second.shape[1]]
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
  values = (questions.tokens, questions.images, questions.audio)[modality]
  values = values.reshape(len(values), -1)
  return np.sort(np.unique(values, axis=0, return_index=True)[1])


def _stratified(rows, codes, count, number, rng):
  """Draws up to `number` of some rows for each of `count` codes."""
  chosen = []
  for code in range(count):
    members = rows[codes[rows] == code]
    if not len(members):
      raise ValueError(f"latent {code}: no question has it: give more.")
    chosen.append(rng.permutation(members)[:number])
  return np.concatenate(chosen)


def _weights(of_latents, first, second):
  """Spreads the probability of each pair of latents evenly over its pairs."""
  counts = np.outer(np.bincount(first), np.bincount(second))
  return (of_latents / counts)[np.ix_(first, second)]


@jax.jit
def _solve(tables):
  """Decomposes tables `[T, n1, n2, C]`, one after the other."""

  def atoms(table):
    solved = pid.broja(
      table, num_iterations=_NUM_ITERATIONS, tolerance=_TOLERANCE
    )
    return jnp.stack(solved[:4]), solved

  def of_table(table):
    slopes, solved = jax.jacrev(atoms, has_aux=True)(table)
    values = jnp.stack(solved[:4])
    # The atoms do not depend on the sum of a table, hence the mean slope is 0.
    shares = jnp.sum(table * (values[:, None, None, None] + slopes), axis=-1)
    return Solved(values, solved.gap, shares)

  return jax.lax.map(of_table, tables)
