"""Layers of pretrained models, as pure functions of flat parameters.

Parameters are a flat dict, name -> array, with the names and layouts of the
files: a kernel is `[outputs, inputs]`. The parameters of all layers of a stack
are one array with a leading axis L, and "*" stands for the layer in its name:
`encoder.layer.*.output.dense.weight` is `[L, D, F]`.
"""

from collections.abc import Callable, Mapping, Sequence

import chex
import jax
import jax.numpy as jnp

Params = Mapping[str, chex.Array]
Shapes = dict[str, tuple[int, ...]]

# name in a configuration -> function
ACTIVATIONS = {
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_new": jax.nn.gelu,
  "gelu_pytorch_tanh": jax.nn.gelu,
  "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
  "relu": jax.nn.relu,
  "silu": jax.nn.silu,
}


def dense_shapes(
  name: str, num_inputs: int, num_outputs: int, *, bias: bool = True
) -> Shapes:
  """Returns the shapes of a dense layer."""
  shapes = {f"{name}.weight": (num_outputs, num_inputs)}
  return shapes | ({f"{name}.bias": (num_outputs,)} if bias else {})


def norm_shapes(name: str, width: int) -> Shapes:
  """Returns the shapes of a layer norm."""
  return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def under(prefix: str, shapes: Shapes, num_layers: int | None = None) -> Shapes:
  """Puts a prefix before names; stacks the shapes of so many equal layers."""
  if num_layers is None:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}
  return {
    f"{prefix}.*.{name}": (num_layers, *shape) for name, shape in shapes.items()
  }


def scope(params: Params, prefix: str) -> dict[str, chex.Array]:
  """Returns the parameters below a prefix, without it."""
  start = f"{prefix}."
  return {
    name.removeprefix(start): x
    for name, x in params.items()
    if name.startswith(start)
  }


def dense(params: Params, name: str, x: chex.Array) -> chex.Array:
  """Applies a dense layer to `[..., inputs]`.

  It adds the bias, and the low-rank change of `lora`, if the layer has them.
  """
  y = jnp.einsum("...i,oi->...o", x, params[f"{name}.weight"])
  if f"{name}.lora_a" in params:
    a, b = (params[f"{name}.lora_{c}"].astype(x.dtype) for c in "ab")
    y += jnp.einsum("...r,or->...o", jnp.einsum("...i,ri->...r", x, a), b)
  bias = params.get(f"{name}.bias")
  return y if bias is None else y + bias


def layer_norm(
  params: Params, name: str, x: chex.Array, epsilon: float
) -> chex.Array:
  """Normalises `[..., D]` in float32, with a learned scale and offset."""
  wide = x.astype(jnp.float32)
  mean = jnp.mean(wide, axis=-1, keepdims=True)
  variance = jnp.var(wide, axis=-1, keepdims=True)
  normed = (wide - mean) * jax.lax.rsqrt(variance + epsilon)
  y = normed * params[f"{name}.weight"] + params[f"{name}.bias"]
  return y.astype(x.dtype)


def rms_norm(
  params: Params, name: str, x: chex.Array, epsilon: float
) -> chex.Array:
  """Divides `[..., D]` by its root mean square in float32, and scales it."""
  wide = x.astype(jnp.float32)
  square = jnp.mean(wide * wide, axis=-1, keepdims=True)
  normed = wide * jax.lax.rsqrt(square + epsilon)
  return normed.astype(x.dtype) * params[f"{name}.weight"]


def dense_heads(
  params: Params, names: Sequence[str], x: chex.Array, head_dim: int
) -> list[chex.Array]:
  """Applies dense layers to `[B, T, D]`, and splits what each returns.

  Returns `[B, T, heads, head_dim]` of each layer, in the order of `names`.
  """
  outputs = (dense(params, name, x) for name in names)
  return [y.reshape(*y.shape[:-1], -1, head_dim) for y in outputs]


def attend(
  query: chex.Array,
  key: chex.Array,
  value: chex.Array,
  mask: chex.Array | None,
) -> chex.Array:
  """Attends with several heads, and joins these.

  Args:
    query: `[B, Q, heads, head_dim]`.
    key: `[B, T, kv_heads, head_dim]`; consecutive query heads share a head.
    value: `[B, T, kv_heads, head_dim]`.
    mask: `[B, Q, T]` bool, the tokens that each query reads; None for all.

  Returns:
    `[B, Q, heads · head_dim]`.
  """
  mask = None if mask is None else mask[:, None]
  x = jax.nn.dot_product_attention(query, key, value, mask=mask)
  return x.reshape(*x.shape[:2], -1)


def stack(
  layer: Callable[[Params, chex.Array], chex.Array],
  params: Params,
  x: chex.Array,
  *,
  states: bool = False,
  rematerialise: bool = False,
  adapters: Params | None = None,
) -> chex.Array:
  """Applies the L equal layers of a stack, one after the other.

  One program serves all layers. Where the parameters are sharded over devices,
  those of one layer at a time are gathered.

  Args:
    layer: maps the parameters of one layer and `[B, T, D]` to `[B, T, D]`.
    params: of all layers, `[L, ...]`, as `scope(params, "PREFIX.*")` returns
      them.
    x: `[B, T, D]`.
    states: whether to return the states after every layer too.
    rematerialise: whether to compute a layer again for its gradient, in place
      of keeping what is in it; always, where there are adapters.
    adapters: parameters that the last layers have besides, `[A, ...]`. Those in
      `params` then are fixed: no step keeps a copy of them.

  Returns:
    `[B, T, D]`; with `states` `[L + 1, B, T, D]`, the first before all layers.
  """
  if adapters:
    return _stack_adapted(layer, params, x, adapters, states=states)
  if rematerialise:
    layer = jax.checkpoint(layer)

  def step(x, of_layer):
    y = layer(of_layer, x)
    return y, y if states else None

  last, after = jax.lax.scan(step, x, dict(params))
  return jnp.concatenate([x[None], after]) if states else last


def _stack_adapted(layer, params, x, adapters, *, states):
  """Applies the layers of a stack, of which the last ones have adapters."""
  params = jax.lax.stop_gradient(dict(params))

  # A layer is taken out of the stack within what is computed again: its
  # parameters would be kept for the gradient otherwise, a second time.
  @jax.checkpoint
  def apply(number, adapter, x):
    of_layer = jax.tree.map(
      lambda p: jax.lax.dynamic_index_in_dim(p, number, keepdims=False), params
    )
    return layer(of_layer | adapter, x)

  def step(x, arguments):
    y = apply(*arguments, x)
    return y, y if states else None

  num_layers, num_adapted = (
    len(next(iter(of.values()))) for of in (params, adapters)
  )
  numbers, first = jnp.arange(num_layers), num_layers - num_adapted
  middle, before = jax.lax.scan(step, x, (numbers[:first], {}))
  last, after = jax.lax.scan(step, middle, (numbers[first:], dict(adapters)))
  return jnp.concatenate([x[None], before, after]) if states else last
