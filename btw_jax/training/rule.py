"""How the weights of a run are computed."""

from collections.abc import Mapping, Sequence
import dataclasses

import chex
import jax
import jax.numpy as jnp

from btw_jax import predictions
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
    num_samples: examples, at most, that neighbours are sought among.
  """

  variants: Sequence[str] = ("uniform",)
  divergence: str = "kl"
  transform: str = "none"
  agreement: bool = False
  refresh_every: int = 1
  num_refinements: int = 1
  num_samples: int = 2**14

  @property
  def weighs(self) -> bool:
    """Whether any run needs weights at all."""
    return tuple(self.variants) != ("uniform",)

  @property
  def measures(self) -> tuple[str, ...]:
    """Measures of information that the variants need."""
    needed = {weighting.VARIANTS[v][1] for v in self.variants}
    return tuple(sorted(needed - {None}))

  def information(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    *,
    rows: chex.Array | None = None,
    axis_name: str | None = None,
  ) -> dict[str, chex.Array]:
    """What each modality tells about the multimodal prediction.

    Args:
      unimodal: predictions, each array `[M, N, ...]`.
      multimodal: predictions, each array `[N, ...]`.
      present: `[N, M]` bool.
      rows: examples among which neighbours are sought, where an estimator seeks
        some; all by default.
      axis_name: of the devices that examples are spread over, or None.

    Returns:
      Measure -> `[M]`, for those that the variants need.
    """

    def of(measure):
      p, q, where = unimodal, multimodal, present
      seeks = measure == "mi" and isinstance(q, predictions.POINTS)
      if seeks and rows is not None:
        p = jax.tree.map(lambda x: x[:, rows], p)
        q, where = jax.tree.map(lambda x: x[rows], (q, where))
      return weighting.set_information(
        p,
        q,
        present=where,
        measure=measure,
        transform=self.transform,
        axis_name=axis_name,
      )

    return {measure: of(measure) for measure in self.measures}

  def weigh(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    information: Mapping[str, chex.Array],
    variant: chex.Array,
  ) -> chex.Array:
    """Weights of one of the variants.

    Args:
      unimodal: predictions, each array `[M, N, ...]`.
      multimodal: predictions, each array `[N, ...]`.
      present: `[N, M]` bool.
      information: measure -> `[M]`.
      variant: scalar int, a position in `variants`.

    Returns:
      `[N, M]`, rows summing to 1 over the modalities present.
    """
    each = [
      weighting.weigh(
        unimodal,
        multimodal,
        present=present,
        variant=name,
        information=information.get(weighting.VARIANTS[name][1]),
        kind=self.divergence,
        agreement=self.agreement,
      )
      for name in self.variants
    ]
    return jnp.stack(each)[variant]
