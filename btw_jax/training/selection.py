"""The choice of settings to train for each weighting, and of the one to keep.

The weightings `gate` and `auto` should never do worse than the uniform model.
The gate is therefore kept only if validation confirms it, and `auto` leaves the
better one of the two only for a gain that exceeds the gain's own standard
error, over seeds and over validation examples.
"""

from collections.abc import Collection, Mapping, Sequence
import itertools
from typing import NamedTuple

import numpy as np
from scipy import stats

from btw_jax import paired
from btw_jax import weighting
from btw_jax.training import vectorized_runs

AUTO = "auto"
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
# The largest loss of score that is accepted for a lower validation loss: half a
# point of accuracy, or of the standard deviation of a regression's targets.
MARGIN = 0.005
_AUTO_VARIANTS = ("mi", "kl+mi")
# The weightings that the gate, hence the tests of modalities, decide about.
GATED = (vectorized_runs.GATE, AUTO)
_OF_ONE_STRENGTH = ("uniform", *GATED)


class Plan(NamedTuple):
  """The settings to train.

  Attributes:
    specs: R distinct settings; the first one is the uniform model, and the last
      one the gate if a weighting needs it.
    candidates: weighting -> positions of the settings that it may choose from.
      The first of several is the uniform model. The gate, if it is confirmed,
      takes its place.
  """

  specs: Sequence[vectorized_runs.RunSpec]
  candidates: Mapping[str, Sequence[int]]

  @property
  def gate(self) -> vectorized_runs.RunSpec | None:
    """The setting of the gate, trained after the others; None without one."""
    last = self.specs[-1]
    return last if last.variant == vectorized_runs.GATE else None

  @property
  def ungated(self) -> Sequence[vectorized_runs.RunSpec]:
    """The settings without a gate."""
    return self.specs[: len(self.specs) - (self.gate is not None)]

  @property
  def weighted(self) -> Sequence[vectorized_runs.RunSpec]:
    """The settings without a gate or balance, trained together; they lead."""
    return [spec for spec in self.ungated if not spec.balance]

  @property
  def balanced(self) -> Mapping[str, Sequence[vectorized_runs.RunSpec]]:
    """Balancing method -> its settings, trained together, in order."""
    balanced = {}
    for spec in self.ungated:
      if spec.balance:
        balanced.setdefault(spec.balance, []).append(spec)
    return balanced

  @property
  def variants(self) -> tuple[str, ...]:
    """The variants of `ungated`, in the order of `weighting.VARIANTS`."""
    used = dict.fromkeys(spec.variant for spec in self.ungated)
    known = [v for v in weighting.VARIANTS if v in used]
    return (*known, *(v for v in used if v not in known))

  def with_methods(self, kept: Collection[str]) -> "Plan":
    """Returns the plan of the weightings and of some balancing methods."""
    specs = [s for s in self.specs if not s.balance or s.balance in kept]
    return Plan(
      specs,
      {
        name: [specs.index(self.specs[i]) for i in positions]
        for name, positions in self.candidates.items()
        if all(self.specs[i] in specs for i in positions)
      },
    )

  def is_tuned(self, name: str) -> bool:
    """Returns whether a method chooses its own setting, and never uniform."""
    first, *others = self.candidates[name]
    return bool(others) and first != 0

  def with_gate(self, is_open: Sequence[bool]) -> "Plan":
    """Returns the plan once it is known which of M modalities are open.

    If all are, the gate is the uniform model and has no setting of its own.
    """
    if self.gate is None:
      return self
    gate = len(self.specs) - 1
    if not all(is_open):
      spec = self.gate._replace(is_open=tuple(map(bool, is_open)))
      return self._replace(specs=[*self.ungated, spec])
    return Plan(
      self.ungated,
      {
        name: list(dict.fromkeys(0 if i == gate else i for i in positions))
        for name, positions in self.candidates.items()
      },
    )


class Validation(NamedTuple):
  """The validation of all runs, by which they are compared.

  Attributes:
    loss: `[R, S, N]` loss of each example, of `state.CrossFit`.
    score: `[R, S, N]` score of each example.
    examples: `[S, N]` int, which example it is: seeds may share examples.
    where: `[S, N]` bool, the examples that count.
    score_sign: 1 if a high score is good, −1 if a low one is.
  """

  loss: np.ndarray
  score: np.ndarray
  examples: np.ndarray
  where: np.ndarray
  score_sign: int


class Balancing(NamedTuple):
  """The balancing methods to train.

  Attributes:
    values: method -> candidates of its setting, the default first.
    weightings: names of variants, each of which every method is trained with.
    separate: whether each value makes a row of its own, so that none is chosen.
  """

  values: Mapping[str, Sequence[float]]
  weightings: Sequence[str] = ("uniform",)
  separate: bool = False


def plan(
  weightings: Sequence[str],
  strengths: Sequence[float | str],
  scale: float,
  *,
  balancing: Balancing | None = None,
  rate: float | None = None,
  num_tuned: int = 1,
) -> Plan:
  """Plans the settings that the weightings need, each of them once.

  Args:
    weightings: names of variants; "gate", which chooses between uniform and the
      gate; or "auto", which chooses between these, and mi and kl+mi at any of
      `STRENGTHS`.
    strengths: λ of every weighting but gate and auto, or "auto" to choose λ for
      each; several make a weighting each, named for example "mi@0.5".
    scale: embedding scale of every setting.
    balancing: the balancing methods; none by default.
    rate: factor of the learning rate of every setting; None for 1.
    num_tuned: from how many strengths a weighting chooses, in place of
      `strengths`; 1 for those.

  Returns:
    The plan.
  """
  plain = vectorized_runs.RunSpec("uniform", 0.0, scale)
  gate = vectorized_runs.RunSpec(vectorized_runs.GATE, 1.0, scale)
  if num_tuned > 1:
    strengths = [1.0]
  wanted = {}
  for name, strength in itertools.product(weightings, strengths):
    pairs = [(name, strength)]
    if name == AUTO:
      pairs = list(itertools.product(_AUTO_VARIANTS, STRENGTHS))
    elif strength == AUTO:
      pairs = [(name, s) for s in STRENGTHS]
    settings = [vectorized_runs.RunSpec(v, s, scale) for v, s in pairs]
    if name == AUTO:
      settings = [plain, gate, *settings]
    elif name == gate.variant:
      settings = [plain, gate]
    elif name == plain.variant:
      settings = [plain]
    elif num_tuned > 1:
      # Full strength, the published one, comes first.
      steps = np.linspace(1.0, 0.0, num_tuned, endpoint=False).tolist()
      settings = [vectorized_runs.RunSpec(name, s, scale) for s in steps]
    elif len(settings) > 1:
      settings = [plain, *settings]
    if len(strengths) > 1 and name not in _OF_ONE_STRENGTH:
      name += f"@{strength if strength == AUTO else format(strength, 'g')}"
    wanted[name] = settings
  wanted |= _balanced(balancing, scale)
  used = dict.fromkeys([plain, *itertools.chain(*wanted.values())])
  # Methods follow the weightings, each in one piece. The gate comes last, since
  # it is trained after the others.
  methods = balancing.values if balancing else ()
  order = ["", *methods]
  specs = sorted(
    (s for s in used if s != gate), key=lambda s: order.index(s.balance)
  )
  specs += [gate] * (gate in used)
  return Plan(
    [s._replace(rate=rate) for s in specs],
    {name: [specs.index(s) for s in wanted[name]] for name in wanted},
  )


def _balanced(balancing, scale):
  """Returns the name of each balanced row -> its settings."""
  wanted = {}
  if balancing is None:
    return wanted
  for (method, values), variant in itertools.product(
    balancing.values.items(), balancing.weightings
  ):
    name = vectorized_runs.method_name(variant, method)
    strength = 0.0 if variant == "uniform" else 1.0
    plain = vectorized_runs.RunSpec(variant, strength, scale, balance=method)
    settings = [plain._replace(value=value) for value in values]
    if balancing.separate:
      wanted |= {spec.run_name: [spec] for spec in settings}
    else:
      wanted[name] = settings
  return wanted


class Difference(NamedTuple):
  """The paired difference of a setting's validation to another one's.

  The standard errors are over seeds and examples.

  Attributes:
    loss: mean difference of the loss; negative if the setting is better.
    error: its standard error.
    gain: mean gain in the score; positive if the setting is better.
    gain_error: its standard error.
  """

  loss: float
  error: float
  gain: float
  gain_error: float

  @property
  def keeps_decisions(self) -> bool:
    """True if the score does not fall by more than `MARGIN` and an error."""
    return self.gain_error - self.gain <= MARGIN


def compare(validation: Validation, setting: int, base: int) -> Difference:
  """Compares two settings, given by their positions."""
  loss, gain = (
    paired.over_seeds_and_examples(
      sign * (values[setting] - values[base]),
      validation.examples,
      validation.where,
    )
    for sign, values in (
      (1, validation.loss),
      (validation.score_sign, validation.score),
    )
  )
  return Difference(loss.value, loss.error, gain.value, gain.error)


def confirms_gate(difference: Difference) -> bool:
  """Returns whether validation lets the gate stay closed.

  Tests have found the closed modalities idle, so the burden of proof is turned
  around: the gate is kept unless the loss rises by more than a standard error,
  or the score may fall by more than `MARGIN`. It need not gain anything that so
  few examples could show.

  Args:
    difference: of the gate to the uniform model.
  """
  return difference.loss <= difference.error and difference.keeps_decisions


def select(validation: Validation, candidates: Sequence[int]) -> int:
  """Selects a candidate that is better than the first one, or the first one.

  The candidate with the least `mean + C * standard error` of the paired
  difference to the first candidate's loss is kept, C being `family_errors`. The
  first candidate counts as 0, so it is kept unless another one gains more than
  so many standard errors (the one-standard-error rule; Breiman et al. 1984,
  "Classification and Regression Trees", section 3.4.3). The error is over seeds
  and over examples.

  A lower loss must not cost decisions: a candidate is not kept if it may lose
  more than `MARGIN` of the score, by one standard error. So few examples may
  not suffice to leave the first candidate.

  Args:
    validation: of all settings.
    candidates: positions of settings.

  Returns:
    One of `candidates`.
  """
  differences = _to_first(validation, candidates)
  num_errors = family_errors(len(differences))
  return _least_bound(
    candidates[0],
    {i: d for i, d in differences.items() if d.keeps_decisions},
    num_errors,
  )


def select_own(validation: Validation, candidates: Sequence[int]) -> int:
  """Selects the own setting of a method by validation loss.

  It is the candidate with the least `mean + standard error`, as in `select`:
  the embedding scale or the learning rate of the uniform model, the strength of
  a weighting, the value of a balancing method. Nothing else is asked of it.
  """
  return _least_bound(candidates[0], _to_first(validation, candidates), 1.0)


def _to_first(validation, candidates):
  """Returns candidate -> difference to the first one, for all others."""
  first, *others = candidates
  return {i: compare(validation, i, first) for i in others}


def _least_bound(first, differences, num_errors):
  """Returns the candidate with the least upper bound of its loss.

  The first one has the bound 0. Bounds that are not finite do not count.
  """
  bounds = {i: d.loss + num_errors * d.error for i, d in differences.items()}
  bounds = {first: 0.0} | {i: b for i, b in bounds.items() if np.isfinite(b)}
  return min(bounds, key=bounds.__getitem__)


def family_errors(num_candidates: int) -> float:
  """Returns the standard errors that a gain must exceed: 1 for one candidate.

  The more candidates, the larger the best gain by chance. For C of them the
  normal tail probability of one standard error is divided by C (Bonferroni).
  """
  return float(stats.norm.isf(stats.norm.sf(1.0) / max(num_candidates, 1)))
