"""A language network of which only low-rank changes are trained."""

from collections.abc import Sequence

import chex
import jax
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
  """A `LanguageNetwork` with low-rank changes of the last layers.

  Its parameters are those of the language network, which get no gradient, and
  the factors of the changes; `init_params` makes them.

  Attributes:
    sizes: the sizes of the language network.
  """

  sizes: network_lib.LanguageSizes

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

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to `[B, N, D]`, as the language network does."""
    return self._apply(batch, train=train, method="encode")

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> networks.Outputs:
    """Maps embeddings `[B, N, D]` to the logits `[1, B, V]` of the answer."""
    return self._apply(
      embeddings, batch, multipliers, train=train, method="fuse"
    )

  def encoder_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the scalar M for each parameter: no encoder is trained."""
    return jax.tree.map(lambda _: np.asarray(len(self.sizes.widths)), params)

  def _apply(self, *args, train, method):
    params = {"params": merge(self.variables["params"])}
    return self.plain.apply(params, *args, train=train, method=method)


def init_params(
  key: chex.PRNGKey, base: chex.ArrayTree, rank: int
) -> chex.ArrayTree:
  """Returns parameters of an `AdaptedNetwork` that change nothing at first.

  Args:
    key: draws the factors.
    base: the parameters of the language network.
    rank: of the change of a kernel.
  """
  num_layers = sum(name.startswith("layers_") for name in base["decoder"])
  factors = lora.init(key, base, rank, changed_layers(num_layers))
  return {BASE: base, FACTORS: factors}


def merge(params: chex.ArrayTree) -> chex.ArrayTree:
  """Adds the changes of an `AdaptedNetwork` to its language network.

  Returns the parameters of a `LanguageNetwork`; those that `params` has for it
  get no gradient.
  """
  return lora.merge(jax.lax.stop_gradient(params[BASE]), params[FACTORS], 1.0)


def changed_layers(num_layers: int) -> Sequence[int]:
  """Returns the layers that change: the last fifth, but at least one."""
  number = max(1, round(_SHARE * num_layers))
  return range(num_layers - number, num_layers)
