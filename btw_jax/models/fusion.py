"""The sparse mixture-of-experts network: attention and experts over tokens.

Pre-norm layers apply self-attention to the tokens of all modalities, then a
mixture of experts. The head takes the concatenated mean tokens of all
modalities.
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

# The name of the experts' parameters in a layer.
_EXPERTS = "Experts_0"


@dataclasses.dataclass(frozen=True)
class Mixture:
  """The hyper-parameters of a mixture of experts.

  Attributes:
    num_experts: E.
    num_selected: K, number of experts per token.
    gating: a name of `gating.GATINGS`.
    noisy: whether to add learned noise to the scores in training.
    router: a name of `routers.ROUTERS`.
    dispatch: "auto" or a name of `dispatch.DISPATCHES`.
    placeholder: whether to use a learned embedding for a missing modality.
    steps: whether to fuse the tokens of all steps, not the mean of a modality.
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
    mixture: the hyper-parameters of the experts.
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
    # The scale of an embedding. The layer norm sees an embedding multiplied by
    # a small weight next to this vector, and so does not scale it up again.
    init = nn.initializers.normal(0.5)
    self.kind = self.param("kind", init, shape)
    if mixture.placeholder:
      self.placeholder = self.param("placeholder", init, shape)

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """The modality of each token that `fuse` takes."""
    if self.mixture.steps:
      return self.sizes.step_token_modalities
    return super().token_modalities

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to tokens `[B, N, D]`, one per modality or per step."""
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
    """Maps tokens `[B, N, D]` and multipliers `[B, M]` to outputs `[1, B, K]`.

    It also returns the usage of the experts, with a leading axis of layers.
    """
    ids = np.asarray(self.token_modalities)
    where = batch.present
    if self.mixture.steps:
      where = self.steps_present(batch)
    x = embeddings
    if multipliers is not None:
      x = x * multipliers[:, ids, None]
    if self.mixture.placeholder:
      missing = ~batch.present[:, ids]
      x = jnp.where(missing[..., None], self.placeholder[ids], x)
      where |= missing
    x += self.kind[ids]
    usage = []
    for layer in self.layers:
      x, layer_usage = layer(x, where, train=train)
      usage.append(layer_usage)
    owners = sequences.modality_one_hot(ids, len(self.sizes.widths))
    pooled = sequences.pool(self.norm(x), where, owners)
    usage = jax.tree.map(lambda *layers: jnp.stack(layers), *usage)
    return self.apply_head(pooled, train=train), usage

  def expert_mask(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns a pytree of bool, true for the experts' parameters."""
    return jax.tree_util.tree_map_with_path(
      lambda path, _: any(
        isinstance(key, jax.tree_util.DictKey) and key.key == _EXPERTS
        for key in path
      ),
      params,
    )

  def penalties(self, usage: routers.Usage) -> Mapping[str, chex.Array]:
    """Computes the auxiliary losses from the usage of the experts, by name."""
    return routers.penalties(usage, self.mixture.router)


class Layer(nn.Module):
  """Self-attention, then a mixture of experts; both pre-norm and residual.

  Attributes:
    sizes: the sizes of the network.
    mixture: the hyper-parameters of the experts.
    modalities: the modality of each token.
  """

  sizes: networks.Sizes
  mixture: Mixture
  modalities: Sequence[int]

  @nn.compact
  def __call__(
    self, x: chex.Array, where: chex.Array, *, train: bool
  ) -> tuple[chex.Array, routers.Usage]:
    """Maps tokens `[B, N, D]`, and returns the usage of the experts too."""
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
    mix = experts.Experts(
      mixture.num_experts,
      sizes.hidden_dim,
      mixture.dispatch,
      sizes.experts_axis_name,
      name=_EXPERTS,
    )
    flat = jax.tree.map(lambda v: v.reshape(-1, v.shape[-1]), (y, *routing))
    y = mix(*flat).reshape(x.shape)
    drop = dropout.Dropout(sizes.dropout, sizes.axis_name)
    return x + drop(y, train=train), usage
