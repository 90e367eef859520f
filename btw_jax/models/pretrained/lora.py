"""Low-rank changes of the last layers of a pretrained decoder.

Hu et al. (2022), "LoRA: low-rank adaptation of large language models". A kernel
`W` `[outputs, inputs]` stays as it is, and `scale · b a` is added to it, with
`a` `[rank, inputs]` and `b` `[outputs, rank]`. Adapters are a flat dict, like
parameters: `PREFIX.*.NAME.lora_a` is `[A, rank, inputs]`, for A adapted layers.
"""

from collections.abc import Callable
import dataclasses
import math
import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import layers

# The linear maps of a layer of Llama and Qwen2, not those of a vision tower.
_KERNELS = re.compile(
  r"(^|\.)model\.layers\.\*\.(self_attn|mlp)\.\w+_proj\.weight$"
)


@dataclasses.dataclass(frozen=True)
class Lora:
  """The size of the changes.

  Attributes:
    rank: of the change of a kernel.
    share: share of the decoder's layers that change, the last ones, in (0, 1].
    alpha: the change is multiplied by `alpha / rank`.
  """

  rank: int = 8
  share: float = 0.2
  alpha: float = 16.0

  def num_layers(self, num_layers: int) -> int:
    """Returns the number of layers that change, of so many."""
    return max(1, min(num_layers, math.ceil(self.share * num_layers - 1e-9)))


def init(
  key: chex.PRNGKey, params: layers.Params, lora: Lora
) -> dict[str, chex.Array]:
  """Draws adapters that change nothing yet: every `b` is 0.

  Args:
    key: random key.
    params: of a model with a decoder, or their shapes.
    lora: their size.

  Returns:
    The adapters, float32.
  """
  adapters = {}
  names = [name for name in params if _KERNELS.search(name)]
  keys = jax.random.split(key, max(len(names), 1))
  for key, name in zip(keys, names, strict=False):
    num_layers, num_outputs, num_inputs = params[name].shape
    number = lora.num_layers(num_layers)
    start = name.removesuffix(".weight")
    a = jax.random.normal(key, (number, lora.rank, num_inputs))
    adapters[f"{start}.lora_a"] = a / num_inputs**0.5
    adapters[f"{start}.lora_b"] = jnp.zeros((number, num_outputs, lora.rank))
  return adapters


def scaled(adapters: layers.Params, lora: Lora) -> dict[str, chex.Array]:
  """Returns adapters whose product is the change, as models take them."""
  factor = lora.alpha / lora.rank
  return {
    name: factor * x if name.endswith(".lora_b") else x
    for name, x in adapters.items()
  }


def merge(
  folder: str, adapters: layers.Params, lora: Lora
) -> family.Pretrained:
  """Adds adapters to the kernels of a folder.

  One parameter at a time is read, in float32, and only those that change are
  kept: `saving.save` copies all others.

  Args:
    folder: of the model that the adapters were trained with.
    adapters: from `init`, trained.
    lora: their size.

  Returns:
    The model, with the changed parameters alone.

  Raises:
    InputError: if the folder cannot be read.
  """
  factors = {k: np.asarray(x) for k, x in scaled(adapters, lora).items()}
  model = catalog.load(folder, place=_adder(factors))
  changed = {k: x for k, x in model.params.items() if x is not None}
  return dataclasses.replace(model, params=changed)


def _adder(factors) -> Callable[[str, np.ndarray], Any]:
  """Returns a function that changes a parameter; None if it does not change."""

  def add(name, array):
    start = name.removesuffix(".weight")
    if f"{start}.lora_a" not in factors:
      return None
    a, b = (factors[f"{start}.lora_{c}"] for c in "ab")
    array = np.array(array)
    array[len(array) - len(a) :] += np.einsum("lor,lri->loi", b, a)
    return array

  return add
