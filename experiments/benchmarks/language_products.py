"""The matrix products of a training step of the language model, alone."""

import collections
from collections.abc import Callable
import math
from typing import Any

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.models.language import sizes as sizes_lib
from btw_jax.models.language import towers

# (b, n, m, k) -> number of b products `[n, k] x [k, m]` at once, with n <= m
Products = collections.Counter[tuple[int, int, int, int]]


def count(function: Callable[..., Any], *args: Any) -> Products:
  """Counts the matrix products of a function by their shapes."""
  counter = collections.Counter()

  def visit(jaxpr):
    for equation in jaxpr.eqns:
      if equation.primitive.name == "dot_general":
        counter[_shape(equation)] += 1
      for inner in jax.extend.core.jaxprs_in_params(equation.params):
        visit(inner)

  visit(jax.make_jaxpr(function)(*args).jaxpr)
  return counter


def _shape(equation):
  """Returns the numbers (b, n, m, k) of a product."""
  (inner, _), (outer, _) = equation.params["dimension_numbers"]
  left, right = (x.aval.shape for x in equation.invars)
  b, k = (math.prod(left[i] for i in axes) for axes in (outer, inner))
  n, m = sorted(math.prod(shape) // (b * k) for shape in (left, right))
  return b, n, m, k


def num_operations(products: Products) -> int:
  """Returns the floating-point operations of matrix products."""
  return sum(2 * math.prod(shape) * n for shape, n in products.items())


def gradient(
  sizes: sizes_lib.LanguageSizes, params: chex.ArrayTree, batch: types.Batch
) -> tuple[Callable[[chex.ArrayTree], chex.ArrayTree], chex.ArrayTree]:
  """Returns the gradient of a model that is made of matrix products only.

  Its products are those of our model, with the same shapes, but it has no
  norms, positions, masks, softmax, activations, residuals or lookups. The
  tokens of the decoder are among its parameters.

  Args:
    sizes: of our model, with audio and a tied head.
    params: of our model.
    batch: the questions of a step.

  Returns:
    A function of the parameters, and the parameters.
  """
  batch_size, width = len(batch.present), sizes.embedding_dim
  height, _ = sizes.image_shape
  images = batch.features[:, sizes_lib.IMAGE, : math.prod(sizes.image_shape)]
  images = images.reshape(batch_size, height, -1)
  images = towers.patches(jnp.asarray(images), sizes.patch_size)
  (steps,) = batch.sequences
  sounds = jnp.asarray(steps.values).reshape(
    batch_size, sizes.num_audio_tokens, -1
  )
  # Scores of this size leave the variance of the values as it is.
  scale = (width // sizes.num_heads * sizes.num_text) ** -0.5
  weights = jax.tree_util.tree_map_with_path(
    lambda path, x: scale * x if "query" in str(path) else x, params
  )
  tokens = jax.random.normal(
    jax.random.key(0), (batch_size, sizes.num_text, width)
  )

  def encode(params, name, x):
    tower, projector = params[name]["tower"], params[f"{name}_projector"]
    x = _multiply(x, tower["embed"])
    for i in range(sizes.tower_layers):
      x = _block(sizes, tower[f"layers_{i}"], x)
    return _multiply(_multiply(x, projector["hidden"]), projector["out"])

  def total(parameters):
    params, x = parameters
    outputs = [
      encode(params, "vision", images),
      encode(params, "audio", sounds),
    ]
    # No layer takes what another returns, or values would grow without norms.
    *layers, last = (
      params["decoder"][f"layers_{i}"] for i in range(sizes.num_layers)
    )
    outputs += [_block(sizes, layer, x) for layer in layers]
    answer = _block(sizes, last, x, last_only=True)
    outputs.append(answer[:, 0] @ params["embedding"].T)
    return sum(jnp.sum(x**2) for x in outputs)

  return jax.grad(total), (weights, tokens)


def _multiply(x, layer):
  """Maps `[B, T, D]` by a matrix."""
  kernel = layer["kernel"]
  return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


def _block(sizes, params, x, last_only=False):
  """Maps tokens `[B, T, D]`, or computes the last of them only."""
  attention, mlp = params["attention"], params["mlp"]
  queries = x[:, -1:] if last_only else x
  kv_heads = sizes.num_kv_heads
  query = _multiply(queries, attention["query"])
  query = query.reshape(
    *query.shape[:-1], kv_heads, sizes.num_heads // kv_heads, -1
  )
  key, value = (
    _multiply(x, attention[name]).reshape(*x.shape[:-1], kv_heads, -1)
    for name in ("key", "value")
  )
  scores = jnp.einsum("bqkgh,btkh->bkgqt", query, key)
  x = jnp.einsum("bkgqt,btkh->bqkgh", scores, value)
  x = _multiply(x.reshape(*queries.shape), attention["out"])
  return _multiply(
    _multiply(x, mlp["gate"]) * _multiply(x, mlp["up"]), mlp["down"]
  )
