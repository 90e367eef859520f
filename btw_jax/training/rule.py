"""How the weights of a run are computed."""

from collections.abc import Sequence
import dataclasses

from btw_jax import weighting


@dataclasses.dataclass(frozen=True)
class Rule:
  """How weights are computed; static.

  Attributes:
    variants: names of `weighting.VARIANTS` that the runs of a program use.
    divergence: name of `predictions.DIVERGENCES`.
    transform: name of `transforms.TRANSFORMS`, before neighbours are sought.
    agreement: weigh by 1/KL instead of KL.
    refresh_every: epochs between refreshes.
    num_refinements: how often the weights of an unseen example are refined.
  """

  variants: Sequence[str] = ("uniform",)
  divergence: str = "kl"
  transform: str = "none"
  agreement: bool = False
  refresh_every: int = 1
  num_refinements: int = 1

  @property
  def weighs(self) -> bool:
    """Whether any run needs weights at all."""
    return tuple(self.variants) != ("uniform",)

  @property
  def measures(self) -> tuple[str, ...]:
    """Measures of information that the variants need."""
    needed = {weighting.VARIANTS[v][1] for v in self.variants}
    return tuple(sorted(needed - {None}))
