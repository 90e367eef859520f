"""The rule that computes the weights of a run."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses

import chex
import jax
import jax.numpy as jnp

from btw_jax import chunked
from btw_jax import minmax
from btw_jax import predictions
from btw_jax import weighting

NORMALISATIONS = ("rows", "minmax")
# The standard deviation of unimodal predictions in min-max weights, in units of
# the standardised target; it is constant in the public code of BTW.
MINMAX_STD = 0.1
# The names of the range of divergences, beside those of the measures.
_RANGE = ("min_divergence", "max_divergence")


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
    normalise: "rows" divides the divergences of an example by their sum;
      "minmax" weighs by `minmax` in the variants that use divergence.
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
  normalise: str = "rows"
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

  @property
  def statistics(self) -> tuple[str, ...]:
    """The names of what a refresh estimates on the whole set, each `[M]`."""
    minmax_used = any(map(self._is_minmax, self.variants))
    return self.measures + _RANGE * minmax_used

  def sums_to_one(self, variant: chex.Array) -> chex.Array | bool:
    """Returns whether the rows of a variant's weights sum to 1.

    `variant` is a position in `variants`.
    """
    if self.normalise == "rows":
      return True
    return ~jnp.asarray([self._is_minmax(v) for v in self.variants])[variant]

  def _is_minmax(self, variant):
    by_divergence = weighting.VARIANTS[self._by_modality(variant)][0]
    return self.normalise == "minmax" and by_divergence

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

  def divergence_range(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    *,
    axis_name: str | None = None,
  ) -> dict[str, chex.Array]:
    """Finds the least and the largest divergence `[M]` for min-max weights.

    The arguments are those of `information`. Returns nothing if no variant
    needs them.
    """
    if self.statistics == self.measures:
      return {}
    divergence = chunked.map_chunks(
      lambda both: self._divergence(*both), (unimodal, multimodal), axes=(1, 0)
    )
    both = minmax.divergence_range(divergence, present, axis_name=axis_name)
    return dict(zip(_RANGE, both, strict=True))

  def _divergence(self, unimodal, multimodal):
    """Computes the `[N, M]` divergence that min-max weights are made of."""
    divergence = weighting.divergence(
      predictions.with_std(unimodal, MINMAX_STD),
      multimodal,
      kind=self.divergence,
    )
    return 1 / (divergence + weighting.FLOOR) if self.agreement else divergence

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
    `information` maps each of `statistics` to `[M]`, and `variant` is a
    position in `variants`. Rows sum to 1 over the modalities present if
    `sums_to_one`.
    """

    def weigh_by(name):
      measured = information.get(weighting.VARIANTS[name][1])
      if self._is_minmax(name):
        modality = jnp.full(present.shape[-1], 1 / present.shape[-1])
        if measured is not None:
          modality = weighting.modality_weights(measured)
        instance = minmax.instance_weights(
          self._divergence(unimodal, multimodal),
          *(information[key] for key in _RANGE),
        )
        return minmax.combine(instance, modality, present)
      return weighting.weigh(
        unimodal,
        multimodal,
        present=present,
        variant=name,
        information=measured,
        kind=self.divergence,
        agreement=self.agreement,
      )

    candidates = map(weigh_by, map(self._by_modality, self.variants))
    return jnp.stack([*candidates])[variant]

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
