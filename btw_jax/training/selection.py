"""Which runs to train for the weightings asked for, and which of them to keep.

`auto` must lose nothing where there is nothing to gain, so a candidate is
taken over the uniform model only for a gain that its own spread supports.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np

from btw_jax import weighting
from btw_jax.training import vectorized_runs

AUTO = "auto"
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
SCALES = (1.0, 0.5, 0.25)
_AUTO_VARIANTS = ("mi", "kl+mi")
_OF_ONE_STRENGTH = ("uniform", AUTO)


class Plan(NamedTuple):
  """Runs to train together.

  Attributes:
    choices: R distinct cells; the first is the uniform model.
    candidates: weighting asked for -> positions it may choose from. The first
      of several is the uniform model.
  """

  choices: Sequence[vectorized_runs.RunSpec]
  candidates: Mapping[str, Sequence[int]]

  @property
  def variants(self) -> tuple[str, ...]:
    """Variants that any run uses, in the order of `weighting.VARIANTS`."""
    used = dict.fromkeys(choice.variant for choice in self.choices)
    known = [v for v in weighting.VARIANTS if v in used]
    return (*known, *(v for v in used if v not in known))


def plan(
  weightings: Sequence[str], strengths: Sequence[float | str], scale: float
) -> Plan:
  """The runs that the weightings need; those that agree are trained once.

  Args:
    weightings: names of variants, or "auto", which may become
      uniform, mi or kl+mi at any of `STRENGTHS`.
    strengths: λ of every weighting but auto, or "auto" to choose each its own;
      of several each makes a weighting, named "mi@0.5".
    scale: embedding scale of every run.

  Returns:
    The plan.
  """
  plain = vectorized_runs.RunSpec("uniform", 0.0, scale)
  choices = [plain]
  candidates = {}
  for name, strength in itertools.product(weightings, strengths):
    if name == AUTO:
      own = [(v, s) for v in _AUTO_VARIANTS for s in STRENGTHS]
    elif strength == AUTO:
      own = [(name, s) for s in STRENGTHS]
    else:
      own = [(name, strength)]
    wanted = [vectorized_runs.RunSpec(v, s, scale) for v, s in own]
    if name == "uniform":
      wanted = [plain]
    elif len(wanted) > 1:
      wanted = [plain, *wanted]
    for choice in wanted:
      if choice not in choices:
        choices.append(choice)
    if len(strengths) > 1 and name not in _OF_ONE_STRENGTH:
      name += f"@{strength if strength == AUTO else format(strength, 'g')}"
    candidates[name] = [choices.index(choice) for choice in wanted]
  return Plan(choices, candidates)


def select(losses: np.ndarray, candidates: Sequence[int]) -> int:
  """The candidate to keep, by validation loss pooled over seeds.

  The least of `mean + standard error` of the loss's paired difference to the
  first candidate, which itself counts as 0: with no gain beyond its spread
  over seeds, the first is kept (the one-standard-error rule; Breiman et al.
  1984, "Classification and Regression Trees", section 3.4.3). With one seed
  there is no spread to go by and the least loss is kept.

  Args:
    losses: `[R, S]` best validation loss of every run.
    candidates: positions in R.

  Returns:
    One of `candidates`.
  """
  difference = losses[list(candidates)] - losses[candidates[0]]
  bound = difference.mean(axis=1)
  num_seeds = losses.shape[1]
  if num_seeds > 1:
    bound = bound + difference.std(axis=1, ddof=1) / np.sqrt(num_seeds)
  return candidates[int(np.argmin(bound))]
