"""Memory of pretrained models, by what trains.

Memory is what XLA plans for one step of a small Llama whose parameters dwarf
its activations, all in float32: a forward pass with the model frozen, a step of
LoRA, a step of full fine-tuning with AdamW. A model that is frozen takes 2
bytes less for every parameter in bfloat16; on CPU this is no gain, because XLA
keeps a float32 copy of its kernels there. For larger models it is the same
number of bytes for every parameter, shared by the devices that the parameters
are spread over. Activations come on top.
"""

from collections.abc import Iterator, Mapping, Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import lora as lora_lib

_SMALL = llama.Config(
  vocab_size=2048,
  num_positions=64,
  width=512,
  hidden_dim=1408,
  num_layers=16,
  num_heads=8,
  num_kv_heads=8,
  head_dim=64,
  epsilon=1e-5,
  rope=llama.Rope(10_000.0),
  qkv_bias=False,
  out_bias=False,
  mlp_bias=False,
  tied=True,
)
FROZEN, LORA, FULL = "frozen", "LoRA", "full, AdamW"
_LORA = lora_lib.Lora(rank=8, share=0.2)
# Name -> number of parameters, and devices of 80 GB that share them.
_MODELS = {"256 M": 256e6, "2 B": 2e9, "7 B": 7e9}
_DEVICES, _GB = (1, 8), 80


def run(rounds: int) -> list[dict[str, str]]:
  """Measures memory; nothing here depends on the clock."""
  del rounds
  return [*_memory_rows()]


def bytes_per_parameter() -> dict[str, float]:
  """Returns what trains -> bytes for every parameter, in float32."""
  shapes = llama.shapes(_SMALL)
  number = sum(math.prod(shape) for shape in shapes.values())
  return {
    name: _num_bytes(*step) / number for name, step in _steps(shapes).items()
  }


def _steps(shapes) -> Mapping[str, tuple[Any, Sequence[Any], tuple[int, ...]]]:
  """Returns name -> function, shapes of its arguments, donated arguments."""
  tokens = jax.ShapeDtypeStruct((1, _SMALL.num_positions), jnp.int32)

  def loss(params, tokens, adapters=None):
    mask = jnp.ones(tokens.shape, bool)
    states = llama.decode(
      params,
      _SMALL,
      llama.embed(params, tokens),
      mask,
      adapters=adapters and lora_lib.scaled(adapters, _LORA),
      rematerialise=True,
    )
    logits = llama.logits(params, _SMALL, states[:, -1])
    return -jnp.sum(jax.nn.log_softmax(logits)[:, 0])

  optimizer = optax.adamw(1e-4)

  def update(gradient, state, params):
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state

  def full(params, state, tokens):
    return update(jax.grad(loss)(params, tokens), state, params)

  def adapted(adapters, state, params, tokens):
    gradient = jax.grad(lambda a: loss(params, tokens, a))(adapters)
    return update(gradient, state, adapters)

  params = {
    name: jax.ShapeDtypeStruct(shape, jnp.float32)
    for name, shape in shapes.items()
  }
  adapters = jax.eval_shape(
    lambda key: lora_lib.init(key, params, _LORA), jax.random.key(0)
  )
  return {
    FROZEN: (loss, (params, tokens), ()),
    LORA: (
      adapted,
      (adapters, jax.eval_shape(optimizer.init, adapters), params, tokens),
      (0, 1),
    ),
    FULL: (
      full,
      (params, jax.eval_shape(optimizer.init, params), tokens),
      (0, 1),
    ),
  }


def _num_bytes(function, arguments, donated):
  """Returns the memory that XLA plans for a call, in bytes."""
  lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
  plan = lowered.compile().memory_analysis()
  return (
    plan.argument_size_in_bytes
    + plan.temp_size_in_bytes
    + plan.output_size_in_bytes
    - plan.alias_size_in_bytes
  )


def _memory_rows() -> Iterator[dict[str, str]]:
  for name, measured in bytes_per_parameter().items():
    # What is frozen is kept in bfloat16.
    spent = measured - (0 if name == FULL else 2)
    row = {
      "what trains": name,
      "measured, float32": f"{measured:.2f} bytes",
      "bytes per parameter": f"{spent:.2f}",
    }
    for model, number in _MODELS.items():
      for devices in _DEVICES:
        needed = spent * number / devices / 1e9
        fits = "" if needed < _GB else ", too much"
        row[f"{model}, {devices} of {_GB} GB"] = f"{needed:.3g} GB{fits}"
    yield row
