"""How the weights of a run are computed."""

from collections.abc import Callable, Mapping, Sequence
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
    variants: names of `weighting.VARIANTS`, or of `examples`, that the runs of
      a program use.
    divergence: name of `predictions.DIVERGENCES`.
    transform: name of `transforms.TRANSFORMS`, before neighbours are sought.
    agreement: weigh by 1/KL instead of KL.
    refresh_every: epochs between refreshes.
    num_refinements: how often the weights of an unseen example are refined.
    num_samples: examples, at most, that neighbours are sought among.
    examples: variant -> how much each example counts, by the predictions of
      the unimodal models and the multimodal one, presence and the name of the
      axis of devices; modalities then weigh the same.
  """

  variants: Sequence[str] = ("uniform",)
  divergence: str = "kl"
  transform: str = "none"
  agreement: bool = False
  refresh_every: int = 1
  num_refinements: int = 1
  num_samples: int = 2**14
  examples: Mapping[str, Callable[..., chex.Array]] = dataclasses.field(
    default_factory=dict
  )

  @property
  def weighs(self) -> bool:
    """Whether any run needs weights at all."""
    return tuple(self.variants) != ("uniform",)

  @property
  def measures(self) -> tuple[str, ...]:
    """Measures of information that the variants need."""
    needed = {weighting.VARIANTS[v][1] for v in map(self._of, self.variants)}
    return tuple(sorted(needed - {None}))

  def _of(self, variant):
    """How it weighs modalities."""
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
      for name in map(self._of, self.variants)
    ]
    return jnp.stack(each)[variant]

  def weigh_examples(
    self,
    unimodal: predictions.Prediction,
    multimodal: predictions.Prediction,
    present: chex.Array,
    variant: chex.Array,
    *,
    axis_name: str | tuple[str, str] | None = None,
  ) -> chex.Array | None:
    """How much each example counts in the loss, by one of the variants.

    Args:
      unimodal: predictions, each array `[M, N, ...]`.
      multimodal: predictions, each array `[N, ...]`.
      present: `[N, M]` bool.
      variant: scalar int, a position in `variants`.
      axis_name: of the devices that examples are spread over, or None.

    Returns:
      `[N, 1]`, 1 on average; None where all variants count all the same.
    """
    if not self.examples:
      return None
    same = jnp.ones(present.shape[0])
    each = [
      self.examples[name](unimodal, multimodal, present, axis_name)
      if name in self.examples
      else same
      for name in self.variants
    ]
    return jnp.stack(each)[variant][:, None]
