"""The sparse mixture-of-experts network: attention and experts over tokens.

Pre-norm layers of self-attention over the tokens of all modalities, each
followed by a mixture of experts; then the mean token of every modality, side by
side, goes through the head.
"""

from collections.abc import Mapping, Sequence
import dataclasses

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import attention
from btw_jax.models import dropout
from btw_jax.models import experts
from btw_jax.models import networks
from btw_jax.models import routers
from btw_jax.models import sequences

# Name of the parameters of a layer's experts.
_EXPERTS = "Experts_0"


@dataclasses.dataclass(frozen=True)
class Mixture:
  """What tells one mixture of experts from another.

  Attributes:
    num_experts: E.
    num_selected: K, experts that answer a token.
    gating: a name of `gating.GATINGS`.
    noisy: add learned noise to scores in training.
    router: a name of `routers.ROUTERS`.
    dispatch: "auto" or a name of `dispatch.DISPATCHES`.
    placeholder: put a learned embedding where a modality is absent.
    steps: fuse the tokens of every step, not each modality's mean.
  """

  num_experts: int = 16
  num_selected: int = 2
  gating: str = "laplace"
  noisy: bool = False
  router: str = "per_modality"
  dispatch: str = "auto"
  placeholder: bool = False
  steps: bool = False


class MixtureOfExperts(networks.Multimodal):
  """The multimodal model as a sparse mixture of experts.

  Han et al. (2024), "FuseMoE: mixture-of-experts transformers for fleximodal
  fusion"; Shazeer et al. (2017).

  Attributes:
    mixture: the experts and how they are chosen.
  """

  mixture: Mixture = Mixture()

  def setup(self):
    """Declares encoders, layers and head."""
    super().setup()
    sizes, mixture = self.sizes, self.mixture
    self.layers = [
      Layer(sizes, mixture, self.token_modalities)
      for _ in range(sizes.num_layers)
    ]
    self.norm = nn.LayerNorm()
    shape = (len(sizes.widths), sizes.embedding_dim)
    # As large as an embedding: beside it a norm leaves small weights small.
    init = nn.initializers.normal(0.5)
    self.kind = self.param("kind", init, shape)
    if mixture.placeholder:
      self.placeholder = self.param("placeholder", init, shape)

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """Whose each token is."""
    if self.mixture.steps:
      return self.sizes.tokens
    return super().token_modalities

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """A batch to tokens `[B, N, D]`, one per modality or one per step."""
    if self.mixture.steps:
      return self.encode_steps(batch, train=train)
    return super().encode(batch, train=train)

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> networks.Outputs:
    """Tokens `[B, N, D]`, multiplied `[B, M]`, to outputs `[1, B, K]`.

    Args:
      embeddings: from `encode`.
      batch: says which tokens are there.
      multipliers: of the embeddings of each modality; None for the plain model.
      train: whether to drop units and add noise.

    Returns:
      Outputs, and the usage of experts, `[L, ...]`.
    """
    ids = np.asarray(self.token_modalities)
    where = batch.present
    if self.mixture.steps:
      where = self.steps_present(batch)
    x = embeddings
    if multipliers is not None:
      x = x * multipliers[:, ids, None]
    if self.mixture.placeholder:
      absent = ~batch.present[:, ids]
      x = jnp.where(absent[..., None], self.placeholder[ids], x)
      where |= absent
    x += self.kind[ids]
    usage = []
    for layer in self.layers:
      x, used = layer(x, where, train=train)
      usage.append(used)
    owners = sequences.whose(ids, len(self.sizes.widths))
    pooled = sequences.pool(self.norm(x), where, owners)
    usage = jax.tree.map(lambda *layers: jnp.stack(layers), *usage)
    return self.read(pooled, train=train), usage

  def of_experts(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Those of the experts of each layer."""
    return jax.tree_util.tree_map_with_path(
      lambda path, _: any(
        isinstance(key, jax.tree_util.DictKey) and key.key == _EXPERTS
        for key in path
      ),
      params,
    )

  def penalties(self, usage: routers.Usage) -> Mapping[str, chex.Array]:
    """What the usage of experts by a batch may be made to cost."""
    return routers.penalties(usage, self.mixture.router)


class Layer(nn.Module):
  """Self-attention, then a mixture of experts; both pre-norm and residual.

  Attributes:
    sizes: of the network.
    mixture: the experts and how they are chosen.
    modalities: modality of each token.
  """

  sizes: networks.Sizes
  mixture: Mixture
  modalities: Sequence[int]

  @nn.compact
  def __call__(
    self, x: chex.Array, where: chex.Array, *, train: bool
  ) -> tuple[chex.Array, routers.Usage]:
    """Maps tokens `[B, N, D]`, and says how their experts were used."""
    sizes, mixture = self.sizes, self.mixture
    attend = attention.SelfAttention(
      sizes.num_heads, sizes.dropout, sizes.axis_name
    )
    x = attend(x, where, train=train)
    y = nn.LayerNorm()(x)
    router = routers.Router(
      mixture.router,
      mixture.gating,
      mixture.num_experts,
      mixture.num_selected,
      mixture.noisy,
      self.modalities,
      sizes.axis_name,
    )
    routing, usage = router(y, where, train=train)
    answer = experts.Experts(
      mixture.num_experts,
      sizes.hidden_dim,
      mixture.dispatch,
      sizes.experts_axis_name,
      name=_EXPERTS,
    )
    flat = jax.tree.map(lambda v: v.reshape(-1, v.shape[-1]), (y, *routing))
    y = answer(*flat).reshape(x.shape)
    drop = dropout.Dropout(sizes.dropout, sizes.axis_name)
    return x + drop(y, train=train), usage
