"""A language network of which only low-rank changes are trained."""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import networks
from btw_jax.models.language import lora
from btw_jax.models.language import network as network_lib

# The names of the two parts of the parameters.
BASE, FACTORS = "base", "factors"
# The share of the decoder's layers that change, the last ones. arXiv
# 2606.00959.
_SHARE = 0.2


class AdaptedNetwork(networks.Multimodal):
  """A `LanguageNetwork` with several low-rank changes of its last layers.

  Each of the U models trained together has a change of its own; the layers
  before are computed once for all of them. The parameters are those of the
  language network, which get no gradient, and the factors of the changes;
  `init_params` makes them.

  Attributes:
    sizes: the sizes of the language network.
    num_models: U.
  """

  sizes: network_lib.LanguageSizes
  num_models: int

  def setup(self):
    """Declares nothing: there are no modules but the language network."""

  @property
  def plain(self) -> network_lib.LanguageNetwork:
    """The language network, which takes the parameters of `merge`."""
    return network_lib.LanguageNetwork(self.sizes, parent=None)

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """The modality of each embedding that `fuse` takes."""
    return self.sizes.step_token_modalities

  def training_mask(self, present: chex.Array) -> chex.Array:
    """Returns `[U, B]`: all examples with at least one present modality."""
    where = super().training_mask(present)
    return jnp.broadcast_to(where, (self.num_models, where.shape[-1]))

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to `[B, N, D]`, as the language network does."""
    base = jax.lax.stop_gradient(self.variables["params"][BASE])
    return self.plain.apply(
      {"params": base}, batch, train=train, method="encode"
    )

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> networks.Outputs:
    """Maps embeddings `[B, N, D]` to the logits `[U, B, V]` of the answer."""
    params = self.variables["params"]

    def of_model(factors):
      logits, _ = self.plain.apply(
        {"params": merge(params[BASE], factors)},
        embeddings,
        batch,
        multipliers,
        train=train,
        method="fuse",
      )
      return logits[0]

    return jax.vmap(of_model)(params[FACTORS]), None

  def encoder_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the scalar M for each parameter: no encoder is trained."""
    return jax.tree.map(lambda _: np.asarray(len(self.sizes.widths)), params)

  def model_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the model of each entry of a parameter's leading axis.

    The parameters of the language network, which never change, are given to
    the first model.
    """
    ids = {BASE: np.zeros((), int), FACTORS: np.arange(self.num_models)}
    return {
      name: jax.tree.map(lambda _, name=name: ids[name], part)
      for name, part in params.items()
    }


def init_params(
  key: chex.PRNGKey, base: chex.ArrayTree, rank: int, num_models: int
) -> chex.ArrayTree:
  """Returns parameters of an `AdaptedNetwork` that change nothing at first.

  Args:
    key: draws the factors, the same for all models.
    base: the parameters of the language network.
    rank: of the change of a kernel.
    num_models: U.
  """
  num_layers = sum(name.startswith("layers_") for name in base["decoder"])
  factors = lora.init(key, base, rank, changed_layers(num_layers))
  return {
    BASE: base,
    FACTORS: jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num_models, *x.shape)), factors
    ),
  }


def merge(base: chex.ArrayTree, factors: chex.ArrayTree) -> chex.ArrayTree:
  """Returns the parameters of the language network with one change of it.

  `base` are its own parameters, which get no gradient.
  """
  return lora.merge(jax.lax.stop_gradient(base), factors, 1.0)


def changed_layers(num_layers: int) -> Sequence[int]:
  """Returns the layers that change: the last fifth, but at least one."""
  number = max(1, round(_SHARE * num_layers))
  return range(num_layers - number, num_layers)
