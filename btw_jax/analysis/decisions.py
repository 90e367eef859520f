"""Joint distributions of modalities and a trained model's decisions, for `pid`.

Sources are modalities. The target is the model's decision, drawn from its
predictive distribution; for a regression it is one of a few intervals.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from jax.scipy import stats
import numpy as np

from btw_jax import interventions
from btw_jax import predictions
from btw_jax import types


def recombine(
  split: types.Split,
  rows: chex.Array,
  groups: Sequence[Sequence[int]] = (),
) -> types.Split:
  """Builds n examples, without targets, whose modalities come from given rows.

  The split is `[N, ...]`, or `[S, N, ...]` if each seed has its own. `rows` is
  `[n, M]`; `groups` are the sequence modalities as in `networks.Sizes.groups`.
  """
  batch = split.batch._replace(target=None)
  if batch.present.ndim == 3:
    recombined = jax.vmap(
      lambda seed_batch: interventions.recombine(seed_batch, rows, groups)
    )(batch)
  else:
    recombined = interventions.recombine(batch, rows, groups)
  modalities = np.arange(rows.shape[1])[:, None]
  return types.Split(recombined, split.unimodal[:, modalities, rows.T])


def cartesian_rows(
  num_modalities: int, *sources: tuple[Sequence[int], Sequence[int]]
) -> np.ndarray:
  """Returns rows for `recombine`: all combinations of one example per source.

  A source is its modalities and the n examples to take them from. The rows are
  `[n1 · n2 · ..., M]`, and the last source varies fastest.
  """
  chosen = np.meshgrid(*(examples for _, examples in sources), indexing="ij")
  rows = np.zeros((chosen[0].size, num_modalities), np.int64)
  for (modalities, _), examples in zip(sources, chosen, strict=True):
    rows[:, list(modalities)] = examples.reshape(-1, 1)
  return rows


def edges(prediction: predictions.Prediction, num_bins: int) -> chex.Array:
  """Returns `[C - 1]` edges of C intervals with equal prediction counts.

  `prediction` is a continuous one of any shape; `num_bins` is C, static.
  """
  points = prediction[0].reshape(-1)
  return jnp.quantile(points, jnp.arange(1, num_bins) / num_bins)


def probabilities(
  prediction: predictions.Prediction, edges: chex.Array | None = None
) -> chex.Array:
  """Returns the probabilities `[..., C]` of C decisions.

  For labels they are `[..., L, 2]`, no and yes of each label. A continuous
  prediction needs the `[C - 1]` edges of its intervals.
  """
  if isinstance(prediction, predictions.Categorical):
    return jax.nn.softmax(prediction.logits, axis=-1)
  if isinstance(prediction, predictions.Bernoulli):
    yes = jax.nn.sigmoid(prediction.logits)
    return jnp.stack([1 - yes, yes], axis=-1)
  law = {predictions.Gaussian: stats.norm, predictions.Laplace: stats.laplace}
  loc, scale = (x[..., None] for x in prediction)
  below = law[type(prediction)].cdf(edges, loc, scale)
  no_padding = [(0, 0)] * (below.ndim - 1)
  below = jnp.pad(below, [*no_padding, (1, 0)])
  return jnp.diff(jnp.pad(below, [*no_padding, (0, 1)], constant_values=1.0))


def grid(probs: chex.Array, *sizes: int) -> chex.Array:
  """Builds the joint `P(x1_i, x2_j, y) = p(y | x1_i, x2_j) / (n1 n2)`.

  Every value of one source meets every value of the others, all with the same
  probability, and no modality is removed or replaced.

  `probs` is `[..., n1 · n2 · K, C]`, the decisions for the rows of
  `cartesian_rows`; the mean is taken over the K choices of the remaining
  modalities. `sizes` are n1, n2 and so on, static. Returns `[..., n1, n2, C]`.
  """
  *axes, _, num_outcomes = probs.shape
  table = probs.reshape(*axes, *sizes, -1, num_outcomes)
  return jnp.mean(table, axis=-2) / np.prod(sizes)


def soft(sources: Sequence[chex.Array], target: chex.Array) -> chex.Array:
  """Builds the joint `P(x1, x2, y) = 1/N Σ_i p_i1(x1) p_i2(x2) q_i(y)`.

  A source is the decision of its unimodal model; decisions are independent
  given the example. `discrete.soft_contingency` is the joint of two variables.
  All arguments are probabilities `[..., N, C]`. Returns `[..., C, C, C]`, with
  one axis per source.
  """
  first, *others = sources
  table = target / target.shape[-2]
  for source in reversed(others):
    table = source[..., :, None] * table[..., None, :]
    table = table.reshape(*target.shape[:-1], -1)
  joint = jnp.einsum("...na,...nr->...ar", first, table, precision="highest")
  return joint.reshape(
    *target.shape[:-2], *(x.shape[-1] for x in (*sources, target))
  )


def scores(
  atom: chex.Array, first: chex.Array, second: chex.Array, target: chex.Array
) -> chex.Array:
  """Returns the contribution `[N]`, in nats, of every example to an atom.

  Their mean is the atom. `atom` is a field `[C, C, C]` of `pid.pointwise` for
  the `soft` joint of the other arguments, `[N, C]` each.
  """
  return jnp.einsum(
    "aby,na,nb,ny->n", atom, first, second, target, precision="highest"
  )
