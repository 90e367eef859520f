"""The choice of settings to train for each weighting, and of the one to keep.

The weighting `auto` should never do worse than the uniform model. It therefore
leaves that model only for a gain that exceeds the gain's own standard error.
"""

from collections.abc import Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np

from btw_jax import weighting
from btw_jax.training import vectorized_runs

AUTO = "auto"
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
_AUTO_VARIANTS = ("mi", "kl+mi")
_OF_ONE_STRENGTH = ("uniform", AUTO)


class Plan(NamedTuple):
  """The settings to train together.

  Attributes:
    specs: R distinct settings; the first one is the uniform model.
    candidates: weighting -> positions of the settings that it may choose from.
      The first of several is the uniform model.
  """

  specs: Sequence[vectorized_runs.RunSpec]
  candidates: Mapping[str, Sequence[int]]

  @property
  def variants(self) -> tuple[str, ...]:
    """The variants in use, in the order of `weighting.VARIANTS`."""
    used = dict.fromkeys(spec.variant for spec in self.specs)
    known = [v for v in weighting.VARIANTS if v in used]
    return (*known, *(v for v in used if v not in known))


def plan(
  weightings: Sequence[str], strengths: Sequence[float | str], scale: float
) -> Plan:
  """Plans the settings that the weightings need, each of them once.

  Args:
    weightings: names of variants, or "auto", which chooses between uniform, mi
      and kl+mi at any of `STRENGTHS`.
    strengths: λ of every weighting but auto, or "auto" to choose λ for each;
      several make a weighting each, named for example "mi@0.5".
    scale: embedding scale of every setting.

  Returns:
    The plan.
  """
  plain = vectorized_runs.RunSpec("uniform", 0.0, scale)
  specs = [plain]
  candidates = {}
  for name, strength in itertools.product(weightings, strengths):
    if name == AUTO:
      pairs = [(v, s) for v in _AUTO_VARIANTS for s in STRENGTHS]
    elif strength == AUTO:
      pairs = [(name, s) for s in STRENGTHS]
    else:
      pairs = [(name, strength)]
    wanted = [vectorized_runs.RunSpec(v, s, scale) for v, s in pairs]
    if name == "uniform":
      wanted = [plain]
    elif len(wanted) > 1:
      wanted = [plain, *wanted]
    for spec in wanted:
      if spec not in specs:
        specs.append(spec)
    if len(strengths) > 1 and name not in _OF_ONE_STRENGTH:
      name += f"@{strength if strength == AUTO else format(strength, 'g')}"
    candidates[name] = [specs.index(spec) for spec in wanted]
  return Plan(specs, candidates)


def select(losses: np.ndarray, candidates: Sequence[int]) -> int:
  """Selects a candidate by validation loss, pooled over seeds.

  The candidate with the least `mean + standard error` of the paired difference
  to the first candidate's loss is kept. The first candidate counts as 0, so it
  is kept unless another one gains more than a standard error (the
  one-standard-error rule; Breiman et al. 1984, "Classification and Regression
  Trees", section 3.4.3). One seed has no standard error, so the least loss is
  kept.

  Args:
    losses: `[R, S]` best validation loss of every run.
    candidates: positions of settings.

  Returns:
    One of `candidates`.
  """
  difference = losses[list(candidates)] - losses[candidates[0]]
  bound = difference.mean(axis=1)
  num_seeds = losses.shape[1]
  if num_seeds > 1:
    bound = bound + difference.std(axis=1, ddof=1) / np.sqrt(num_seeds)
  return candidates[int(np.argmin(bound))]
