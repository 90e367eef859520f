"""Routers: who answers which token, and how evenly the experts are used.

`joint`: one router sees all modalities of an example, whose tokens go to the
same experts. `per_modality`: each modality has a router of its own, the experts
are shared. `disjoint`: each modality has experts of its own as well.
Han et al. (2024), "FuseMoE".
"""

from collections.abc import Sequence
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import gating
from btw_jax.models import sequences

ROUTERS = ("joint", "per_modality", "disjoint")
PENALTIES = ("importance", "load", "router_z")

# The score of an expert that a modality may not use: below any other.
_FORBIDDEN = -1e30


class Routing(NamedTuple):
  """Who answers each token.

  Attributes:
    experts: `[B, N, K]` int; E, nobody, for a token that is absent.
    gates: `[B, N, K]` what each answer counts; 0 for a token that is absent.
  """

  experts: chex.Array
  gates: chex.Array


class Usage(NamedTuple):
  """How the experts are used: sums over a batch, which add up over devices.

  Attributes:
    importance: `[..., M, E]` gates.
    load: `[..., M, E]` tokens; with noise the chance of each, which has a
      gradient.
    squared_norm: `[..., M]` squared log-sum-exp of the scores, for the z-loss.
    tokens: `[..., M]` that were present.
  """

  importance: chex.Array
  load: chex.Array
  squared_norm: chex.Array
  tokens: chex.Array


def owned(kind: str, num_modalities: int, num_experts: int) -> np.ndarray:
  """Which experts a modality may use.

  Args:
    kind: a name of `ROUTERS`.
    num_modalities: M.
    num_experts: E.

  Returns:
    `[M, E]` bool; disjoint modalities share the experts out evenly.
  """
  if kind != "disjoint":
    return np.ones((num_modalities, num_experts), bool)
  turns = np.arange(num_experts) % num_modalities
  return turns == np.arange(num_modalities)[:, None]


def penalties(usage: Usage, kind: str) -> dict[str, chex.Array]:
  """What a router may be made to pay for, of the usage of a whole batch.

  `importance` and `load`: squared coefficient of variation over the experts
  that tokens share (Shazeer et al. 2017). `router_z`: mean squared log-sum-exp
  of the scores (Zoph et al. 2022, "ST-MoE", eq. 5).

  Args:
    usage: of each layer, a leading axis.
    kind: a name of `ROUTERS`.

  Returns:
    Name of `PENALTIES` -> scalar, the mean over layers.
  """
  where = owned(kind, *usage.importance.shape[-2:])

  def variation(sums):
    if kind == "disjoint":
      return jnp.mean(gating.squared_variation(sums, where))
    shared = jnp.sum(sums, axis=-2)
    return jnp.mean(gating.squared_variation(shared, where[0]))

  count = jnp.maximum(jnp.sum(usage.tokens, axis=-1), 1.0)
  return {
    "importance": variation(usage.importance),
    "load": variation(usage.load),
    "router_z": jnp.mean(jnp.sum(usage.squared_norm, axis=-1) / count),
  }


class Router(nn.Module):
  """Routes the tokens of M modalities.

  Attributes:
    kind: a name of `ROUTERS`.
    gating: a name of `gating.GATINGS`.
    num_experts: E.
    num_selected: K.
    noisy: add learned Gaussian noise to scores in training.
    modalities: modality of each of the N tokens of an example.
    axis_name: of the devices that a batch is spread over, or None.
  """

  kind: str
  gating: str
  num_experts: int
  num_selected: int
  noisy: bool
  modalities: Sequence[int]
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, tokens: chex.Array, where: chex.Array, *, train: bool
  ) -> tuple[Routing, Usage]:
    """Routes tokens.

    Args:
      tokens: `[B, N, D]`.
      where: `[B, N]` bool, the tokens that are there.
      train: whether to add noise, with the rng stream `dropout`.

    Returns:
      Routing and usage.

    Raises:
      ValueError: if a modality selects more experts than it may use.
    """
    ids = np.asarray(self.modalities)
    of_modality = sequences.whose(ids, ids.max() + 1)
    if self.kind == "joint":
      # One decision per example, which all of its tokens follow.
      tokens, ids = _concatenate(tokens, where, of_modality), np.zeros(1, int)
    experts, gates, load, scores = self._route(tokens, ids, train)
    routing = Routing(
      jnp.where(where[..., None], experts, self.num_experts),
      jnp.where(where[..., None], gates, 0.0),
    )
    chosen = routing.experts[..., None] == jnp.arange(self.num_experts)
    importance = jnp.where(chosen, routing.gates[..., None], 0.0)

    def add_up(values):
      """`[B, N or 1, ...]` of the tokens present to `[M, ...]`."""
      mask = where.reshape(where.shape + (1,) * (values.ndim - 2))
      each = jnp.sum(jnp.where(mask, values, 0.0), axis=0)
      return jnp.tensordot(of_modality.astype(each.dtype), each, 1)

    return routing, Usage(
      importance=add_up(jnp.sum(importance, axis=-2)),
      load=add_up(load),
      squared_norm=add_up(jax.nn.logsumexp(scores, axis=-1) ** 2),
      tokens=add_up(where.astype(scores.dtype)),
    )

  def _route(self, tokens, ids, train):
    """Experts and gates `[B, n, K]`, load and scores `[B, n, E]`."""
    num_routers = ids.max() + 1
    shape = (num_routers, self.num_experts, tokens.shape[-1])
    centres = self.param("centres", _centres_init, shape)
    may = owned(self.kind, num_routers, self.num_experts)
    if may.sum(axis=1).min() < self.num_selected:
      raise ValueError(
        f"num_experts={self.num_experts}: a modality may use"
        f" {may.sum(axis=1).min()} and selects {self.num_selected}: give more."
      )
    may = may[ids]
    scores = _each(gating.GATINGS[self.gating], tokens, centres, ids)
    scores = jnp.where(may, scores, _FORBIDDEN)
    if not self.noisy:
      experts, gates = gating.select(scores, self.num_selected)
      load = jnp.any(experts[..., None] == jnp.arange(self.num_experts), -2)
      return experts, gates, load.astype(scores.dtype), scores
    spread = self.param("noise", nn.initializers.zeros, shape)
    std = nn.softplus(_each(gating.softmax, tokens, spread, ids))
    noise = jnp.zeros_like(scores)
    if train:
      keys = types.keys(self.make_rng("dropout"), len(scores), self.axis_name)
      noise = jax.vmap(lambda key: jax.random.normal(key, scores.shape[1:]))(
        keys
      )
    noisy = scores + jnp.where(may, std * noise, 0.0)
    experts, gates = gating.select(noisy, self.num_selected)
    load = gating.smooth_load(scores, noisy, std, self.num_selected)
    return experts, gates, load, scores


def _centres_init(key, shape):
  """Scores of unit size for tokens that a layer norm has left."""
  return jax.random.normal(key, shape) * shape[-1] ** -0.5


def _each(score, tokens, vectors, ids):
  """Each token's scores by the vectors of its own router, `[B, N, E]`."""
  return jax.vmap(score, (1, 0), 1)(tokens, vectors[ids])


def _concatenate(tokens, where, of_modality):
  """`[B, 1, M·D]`: each modality's mean token, 0 where it is absent."""
  means = sequences.pool(tokens, where, of_modality)
  return means.reshape(len(tokens), 1, -1)
