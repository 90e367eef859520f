"""Routers, which choose the experts of each token, and measures of their use.

`joint`: one router sees all modalities of an example and sends all of its
tokens to the same experts. `per_modality`: each modality has its own router,
and all modalities share the experts. `disjoint`: each modality also has its own
experts.
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

# The score of an expert that a modality may not use, below any other score.
_FORBIDDEN = -1e30


class Routing(NamedTuple):
  """The chosen experts of each token and their gates.

  Attributes:
    experts: `[B, N, K]` int; E (no expert) for a missing token.
    gates: `[B, N, K]` factors of the expert outputs; 0 for a missing token.
  """

  experts: chex.Array
  gates: chex.Array


class Usage(NamedTuple):
  """The use of the experts: sums over a batch, which add up over devices.

  Attributes:
    importance: `[..., M, E]` sum of gates.
    load: `[..., M, E]` number of tokens; with noise the expected number, which
      has a gradient.
    squared_norm: `[..., M]` sum of squared log-sum-exp of the scores, for the
      z-loss.
    tokens: `[..., M]` number of present tokens.
  """

  importance: chex.Array
  load: chex.Array
  squared_norm: chex.Array
  tokens: chex.Array


def allowed_experts(
  kind: str, num_modalities: int, num_experts: int
) -> np.ndarray:
  """Returns `[M, E]` bool, the experts that each modality may use.

  `kind` is a name of `ROUTERS`. Disjoint modalities divide the experts evenly.
  """
  if kind != "disjoint":
    return np.ones((num_modalities, num_experts), bool)
  owners = np.arange(num_experts) % num_modalities
  return owners == np.arange(num_modalities)[:, None]


def penalties(usage: Usage, kind: str) -> dict[str, chex.Array]:
  """Computes the auxiliary losses of a router from its use in a full batch.

  `importance` and `load`: squared coefficient of variation over the experts
  that tokens share (Shazeer et al. 2017). `router_z`: mean squared log-sum-exp
  of the scores (Zoph et al. 2022, "ST-MoE", eq. 5). All are scalars, averaged
  over the leading axis of `usage`, the layers. `kind` is a name of `ROUTERS`.
  """
  where = allowed_experts(kind, *usage.importance.shape[-2:])

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
  """A router for the tokens of M modalities.

  Attributes:
    kind: a name of `ROUTERS`.
    gating: a name of `gating.GATINGS`.
    num_experts: E.
    num_selected: K.
    noisy: whether to add learned Gaussian noise to the scores in training.
    modalities: the modality of each of the N tokens of an example.
    axis_name: axis of the devices that a batch is sharded over, or None.
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
    """Routes tokens `[B, N, D]`; `where` `[B, N]` marks the present ones.

    Noise in training comes from the RNG stream `dropout`.

    Raises:
      ValueError: if a modality selects more experts than it may use.
    """
    ids = np.asarray(self.modalities)
    owners = sequences.modality_one_hot(ids, ids.max() + 1)
    if self.kind == "joint":
      # One decision per example holds for all of its tokens.
      tokens, ids = _concatenate(tokens, where, owners), np.zeros(1, int)
    experts, gates, load, scores = self._route(tokens, ids, train)
    routing = Routing(
      jnp.where(where[..., None], experts, self.num_experts),
      jnp.where(where[..., None], gates, 0.0),
    )
    chosen = routing.experts[..., None] == jnp.arange(self.num_experts)
    importance = jnp.where(chosen, routing.gates[..., None], 0.0)

    def sum_by_modality(values):
      """Sums `[B, N or 1, ...]` over the present tokens, to `[M, ...]`."""
      mask = where.reshape(where.shape + (1,) * (values.ndim - 2))
      token_sums = jnp.sum(jnp.where(mask, values, 0.0), axis=0)
      return jnp.tensordot(owners.astype(token_sums.dtype), token_sums, 1)

    return routing, Usage(
      importance=sum_by_modality(jnp.sum(importance, axis=-2)),
      load=sum_by_modality(load),
      squared_norm=sum_by_modality(jax.nn.logsumexp(scores, axis=-1) ** 2),
      tokens=sum_by_modality(where.astype(scores.dtype)),
    )

  def _route(self, tokens, ids, train):
    """Returns experts and gates `[B, N, K]`, load and scores `[B, N, E]`.

    `ids` holds the router of each token. N is 1 for the joint router.
    """
    num_routers = ids.max() + 1
    shape = (num_routers, self.num_experts, tokens.shape[-1])
    centres = self.param("centres", _centres_init, shape)
    allowed = allowed_experts(self.kind, num_routers, self.num_experts)
    if allowed.sum(axis=1).min() < self.num_selected:
      raise ValueError(
        f"num_experts={self.num_experts}: a modality may use"
        f" {allowed.sum(axis=1).min()} and selects {self.num_selected}: use"
        " more experts."
      )
    allowed = allowed[ids]
    scores = _score_tokens(gating.GATINGS[self.gating], tokens, centres, ids)
    scores = jnp.where(allowed, scores, _FORBIDDEN)
    if not self.noisy:
      experts, gates = gating.select(scores, self.num_selected)
      load = jnp.any(experts[..., None] == jnp.arange(self.num_experts), -2)
      return experts, gates, load.astype(scores.dtype), scores
    noise_kernel = self.param("noise", nn.initializers.zeros, shape)
    std = nn.softplus(_score_tokens(gating.softmax, tokens, noise_kernel, ids))
    noise = jnp.zeros_like(scores)
    if train:
      # A key per example: the noise does not depend on the number of devices.
      keys = types.keys(self.make_rng("dropout"), len(scores), self.axis_name)
      noise = jax.vmap(lambda key: jax.random.normal(key, scores.shape[1:]))(
        keys
      )
    noisy = scores + jnp.where(allowed, std * noise, 0.0)
    experts, gates = gating.select(noisy, self.num_selected)
    load = gating.smooth_load(scores, noisy, std, self.num_selected)
    return experts, gates, load, scores


def _centres_init(key, shape):
  """Draws centres with scores of unit size for layer-normalised tokens."""
  return jax.random.normal(key, shape) * shape[-1] ** -0.5


def _score_tokens(score, tokens, vectors, ids):
  """Scores each token with the vectors of its router, `[B, N, E]`."""
  return jax.vmap(score, (1, 0), 1)(tokens, vectors[ids])


def _concatenate(tokens, where, owners):
  """Concatenates the mean tokens of all modalities, `[B, 1, M·D]`."""
  means = sequences.pool(tokens, where, owners)
  return means.reshape(len(tokens), 1, -1)
