"""Joint distributions of what a trained model decides, for `pid`.

Sources are modalities, the target is the model's own decision, drawn from its
predictive distribution. Of a quantity, the decision is one of a few intervals.
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
  """Examples whose modalities come from several others.

  Args:
    split: `[N, ...]`, or `[S, N, ...]` where seeds have their own.
    rows: `[n, M]` the example that each modality is taken from.
    groups: positions of modalities that come in steps, as in
      `networks.Sizes.groups`.

  Returns:
    Split of n examples, without targets.
  """
  batch = split.batch._replace(target=None)
  if batch.present.ndim == 3:
    each = jax.vmap(lambda one: interventions.recombine(one, rows, groups))(
      batch
    )
  else:
    each = interventions.recombine(batch, rows, groups)
  modalities = np.arange(rows.shape[1])[:, None]
  return types.Split(each, split.unimodal[:, modalities, rows.T])


def product(
  num_modalities: int, *sources: tuple[Sequence[int], Sequence[int]]
) -> np.ndarray:
  """Rows for `crossed`: every choice of an example for each source.

  Args:
    num_modalities: M.
    *sources: each the modalities that it is made of, and the examples to take
      them from, n of the first source, n of the second.

  Returns:
    `[n1 · n2 · ..., M]`, the last source fastest.
  """
  chosen = np.meshgrid(*(examples for _, examples in sources), indexing="ij")
  rows = np.zeros((chosen[0].size, num_modalities), np.int64)
  for (modalities, _), examples in zip(sources, chosen, strict=True):
    rows[:, list(modalities)] = examples.reshape(-1, 1)
  return rows


def edges(prediction: predictions.Prediction, num_bins: int) -> chex.Array:
  """Intervals of a quantity that are predicted equally often.

  Args:
    prediction: of real numbers, any shape.
    num_bins: C, static.

  Returns:
    `[C - 1]` inner edges: quantiles of what is predicted.
  """
  points = prediction[0].reshape(-1)
  return jnp.quantile(points, jnp.arange(1, num_bins) / num_bins)


def probabilities(
  prediction: predictions.Prediction, edges: chex.Array | None = None
) -> chex.Array:
  """What is decided, as probabilities of C outcomes.

  Args:
    prediction: `[...]` before the event axis.
    edges: `[C - 1]` of intervals, of a quantity.

  Returns:
    `[..., C]`, summing to 1; of labels `[..., L, 2]`, no and yes of each.
  """
  if isinstance(prediction, predictions.Categorical):
    return jax.nn.softmax(prediction.logits, axis=-1)
  if isinstance(prediction, predictions.Bernoulli):
    yes = jax.nn.sigmoid(prediction.logits)
    return jnp.stack([1 - yes, yes], axis=-1)
  law = {predictions.Gaussian: stats.norm, predictions.Laplace: stats.laplace}
  loc, scale = (x[..., None] for x in prediction)
  below = law[type(prediction)].cdf(edges, loc, scale)
  ends = [(0, 0)] * (below.ndim - 1)
  below = jnp.pad(below, [*ends, (1, 0)])
  return jnp.diff(jnp.pad(below, [*ends, (0, 1)], constant_values=1.0))


def grid(probs: chex.Array, *sizes: int) -> chex.Array:
  """`P(x1_i, x2_j, y) = p(y | x1_i, x2_j) / (n1 n2)`, whatever else there is.

  Every value of one source meets every value of the others: all are equally
  often, and no modality is left out or replaced.

  Args:
    probs: `[..., n1 · n2 · K, C]` of what `product` crosses: the sources, and K
      choices of all else, over which the mean is taken.
    *sizes: n1, n2, static; more for more sources.

  Returns:
    `[..., n1, n2, C]`, summing to 1.
  """
  *axes, _, num_outcomes = probs.shape
  table = probs.reshape(*axes, *sizes, -1, num_outcomes)
  return jnp.mean(table, axis=-2) / np.prod(sizes)


def soft(sources: Sequence[chex.Array], target: chex.Array) -> chex.Array:
  """`P(x1, x2, y) = 1/N Σ_i p_i1(x1) p_i2(x2) q_i(y)`.

  Sources are what they would decide alone, drawn independently given the
  example. A mean over examples, as `discrete.soft_contingency` is for two.

  Args:
    sources: `[..., N, C]` probabilities by each.
    target: `[..., N, C]` by the model.

  Returns:
    `[..., C, C, C]`, an axis for each source, summing to 1.
  """
  first, *others = sources
  rest = target / target.shape[-2]
  for source in reversed(others):
    rest = source[..., :, None] * rest[..., None, :]
    rest = rest.reshape(*target.shape[:-1], -1)
  table = jnp.einsum("...na,...nr->...ar", first, rest, precision="highest")
  return table.reshape(
    *target.shape[:-2], *(x.shape[-1] for x in (*sources, target))
  )


def scores(
  atom: chex.Array, first: chex.Array, second: chex.Array, target: chex.Array
) -> chex.Array:
  """The share of every example in an atom of its `soft` joint.

  Args:
    atom: `[C, C, C]` of `pid.pointwise`.
    first: `[N, C]` as for `soft`.
    second: `[N, C]` as for `soft`.
    target: `[N, C]` as for `soft`.

  Returns:
    `[N]` nats, whose mean is the atom.
  """
  return jnp.einsum(
    "aby,na,nb,ny->n", atom, first, second, target, precision="highest"
  )
