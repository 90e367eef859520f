"""The rule that computes the weights of a run."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import chex
import jax
import jax.numpy as jnp

from btw_jax import predictions
from btw_jax import weighting


@dataclasses.dataclass(frozen=True)
class Rule:
  """The settings of the weighting rule; static.

  Attributes:
    variants: names of `weighting.VARIANTS`, or of `examples`, that the runs of
      a program use.
    divergence: a name of `predictions.DIVERGENCES`.
    transform: a name of `transforms.TRANSFORMS`, applied to predictions before
      the nearest-neighbour estimate.
    agreement: whether to weigh by 1/KL instead of KL.
    refresh_every: number of epochs between refreshes.
    information_from: "train" or "valid", the split on which information is
      estimated.
    num_refinements: number of refinements of an unseen example's weights.
    num_samples: largest number of examples that the nearest-neighbour estimate
      uses.
    examples: variant -> function that computes the factor `[N]` of each example
      in the loss, from unimodal and multimodal predictions, presence and the
      name of the axis of devices. Modalities then weigh the same.
  """

  variants: Sequence[str] = ("uniform",)
  divergence: str = "kl"
  transform: str = "none"
  agreement: bool = False
  refresh_every: int = 1
  information_from: str = "train"
  num_refinements: int = 1
  num_samples: int = 2**14
  examples: Mapping[str, Callable[..., chex.Array]] = dataclasses.field(
    default_factory=dict
  )

  @property
  def weighs(self) -> bool:
    """True if any run computes weights."""
    return tuple(self.variants) != ("uniform",)

  @property
  def measures(self) -> tuple[str, ...]:
    """The measures of information that the variants need."""
    needed = {
      weighting.VARIANTS[v][1] for v in map(self._by_modality, self.variants)
    }
    return tuple(sorted(needed - {None}))

  def _by_modality(self, variant):
    """Returns the variant of `weighting.VARIANTS` that weighs modalities."""
    return "uniform" if variant in self.examples else variant

  def information(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    *,
    rows: chex.Array | None = None,
    axis_name: str | None = None,
  ) -> dict[str, chex.Array]:
    """Estimates measure -> information `[M]` about the multimodal predictions.

    The predictions are `[M, N, ...]` and `[N, ...]`, presence `[N, M]`. `rows`
    are the examples that a nearest-neighbour estimate uses, all by default.
    """

    def estimate(measure):
      p, q, where = unimodal, multimodal, present
      by_neighbours = measure == "mi" and isinstance(q, predictions.CONTINUOUS)
      if by_neighbours and rows is not None:
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

    return {measure: estimate(measure) for measure in self.measures}

  def weigh(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    information: Mapping[str, chex.Array],
    variant: chex.Array,
  ) -> chex.Array:
    """Computes the weights `[N, M]` of one of the variants.

    The predictions are `[M, N, ...]` and `[N, ...]`, presence `[N, M]`,
    `information` maps a measure to `[M]`, and `variant` is a position in
    `variants`. Rows sum to 1 over the modalities present.
    """
    candidates = [
      weighting.weigh(
        unimodal,
        multimodal,
        present=present,
        variant=name,
        information=information.get(weighting.VARIANTS[name][1]),
        kind=self.divergence,
        agreement=self.agreement,
      )
      for name in map(self._by_modality, self.variants)
    ]
    return jnp.stack(candidates)[variant]

  def weigh_examples(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    variant: chex.Array,
    *,
    axis_name: str | tuple[str, str] | None = None,
  ) -> chex.Array | None:
    """Computes the factor of each example in the loss, by one of the variants.

    Predictions, presence and `variant` are as for `weigh`. Returns `[N, 1]`, 1
    on average; None if no variant weighs examples.
    """
    if not self.examples:
      return None
    ones = jnp.ones(present.shape[0])
    candidates = [
      self.examples[name](unimodal, multimodal, present, axis_name)
      if name in self.examples
      else ones
      for name in self.variants
    ]
    return jnp.stack(candidates)[variant][:, None]
