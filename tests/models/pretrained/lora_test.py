import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.models.pretrained import saving
from support import golden

_LORA = lora_lib.Lora(rank=3, share=0.5, alpha=6.0)


def _adapters(params, lora=_LORA, seed=0):
  """Returns adapters that change something."""
  adapters = lora_lib.init(jax.random.key(seed), params, lora)
  keys = jax.random.split(jax.random.key(seed + 1), len(adapters))
  return {
    name: x + 0.05 * jax.random.normal(key, x.shape)
    for key, (name, x) in zip(keys, adapters.items(), strict=True)
  }


def _inputs(name):
  arrays = golden.arrays(name)
  return jnp.asarray(arrays["input_ids"]), jnp.asarray(
    arrays["attention_mask"], bool
  )


def _states(params, config, tokens, mask, adapters=None, **options):
  embeddings = llama.embed(params, tokens)
  return llama.decode(
    params, config, embeddings, mask, adapters=adapters, **options
  )


def _merged(params, adapters, lora=_LORA):
  changed = dict(params)
  factors = lora_lib.scaled(adapters, lora)
  for name in adapters:
    if name.endswith(".lora_a"):
      start = name.removesuffix(".lora_a")
      change = jnp.einsum(
        "lor,lri->loi", factors[f"{start}.lora_b"], factors[name]
      )
      kernel = changed[f"{start}.weight"]
      changed[f"{start}.weight"] = kernel.at[-len(change) :].add(change)
  return changed


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_adapters_are_a_change_of_the_last_layers(name):
  model, (tokens, mask) = golden.model(name), _inputs(name)
  adapters = _adapters(model.params)
  run = jax.jit(functools.partial(_states, states=True), static_argnums=1)
  scaled = lora_lib.scaled(adapters, _LORA)
  adapted = run(model.params, model.config, tokens, mask, scaled)
  merged = run(_merged(model.params, adapters), model.config, tokens, mask)
  plain = run(model.params, model.config, tokens, mask)
  where = np.asarray(mask)
  np.testing.assert_allclose(adapted[:, where], merged[:, where], atol=2e-5)
  num_layers = model.config.num_layers
  first = num_layers - _LORA.num_layers(num_layers)
  np.testing.assert_allclose(
    adapted[: first + 1][:, where], plain[: first + 1][:, where], atol=1e-6
  )
  assert np.abs(adapted[-1] - plain[-1])[where].max() > 1e-3


def test_new_adapters_change_nothing():
  model, (tokens, mask) = golden.model("llama"), _inputs("llama")
  adapters = lora_lib.init(jax.random.key(0), model.params, _LORA)
  assert sum(name.endswith("lora_a") for name in adapters) == 7
  np.testing.assert_allclose(
    _states(model.params, model.config, tokens, mask, adapters),
    _states(model.params, model.config, tokens, mask),
    atol=1e-6,
  )


def _loss(adapters, params, config, tokens, mask, merge):
  if merge:
    states = _states(_merged(params, adapters), config, tokens, mask)
  else:
    scaled = lora_lib.scaled(adapters, _LORA)
    states = _states(params, config, tokens, mask, scaled)
  return jnp.sum(jnp.sin(states) * mask[..., None])


def test_gradients_are_those_of_the_merged_kernels():
  model, (tokens, mask) = golden.model("llama"), _inputs("llama")
  adapters = _adapters(model.params)
  grad = jax.jit(jax.grad(_loss), static_argnums=(2, 5))
  arguments = adapters, model.params, model.config, tokens, mask
  for a, b in zip(
    jax.tree.leaves(grad(*arguments, False)),
    jax.tree.leaves(grad(*arguments, True)),
    strict=True,
  ):
    assert np.any(a)
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_step_keeps_no_second_copy_of_the_kernels():
  """Neither of the fixed layers, nor of those with adapters."""
  model, (tokens, mask) = golden.model("llama"), _inputs("llama")
  adapters = _adapters(model.params, dataclasses.replace(_LORA, share=1.0))
  config = model.config
  jaxpr = jax.make_jaxpr(jax.grad(_loss), static_argnums=(2, 5))(
    adapters, model.params, config, tokens, mask, False
  )
  kernels = {
    x.shape for name, x in model.params.items()
    if "*" in name and x.ndim == 3
  }  # fmt: skip
  made = {
    out.aval.shape
    for equation in jaxpr.eqns
    for out in equation.outvars
    if equation.primitive.name != "stop_gradient"
  }
  assert kernels
  assert not made & kernels


def test_a_folder_with_merged_adapters_gives_the_same_states(tmp_path):
  model, (tokens, mask) = golden.model("llama"), _inputs("llama")
  adapters = _adapters(model.params)
  merged = lora_lib.merge(model.folder, adapters, _LORA)
  assert set(merged.params) < set(model.params)
  saving.save(merged, tmp_path / "merged")
  again = catalog.load(tmp_path / "merged")
  np.testing.assert_allclose(
    _states(again.params, again.config, tokens, mask),
    _states(
      model.params, model.config, tokens, mask,
      lora_lib.scaled(adapters, _LORA),
    ),
    atol=2e-5,
  )  # fmt: skip
  unchanged = "model.embed_tokens.weight"
  np.testing.assert_array_equal(
    again.params[unchanged], model.params[unchanged]
  )


@pytest.mark.parametrize(
  ("share", "num_layers", "expected"),
  [(0.2, 24, 5), (0.2, 5, 1), (0.01, 4, 1), (1.0, 4, 4), (0.5, 3, 2)],
)
def test_the_share_of_layers_is_rounded_up(share, num_layers, expected):
  assert lora_lib.Lora(share=share).num_layers(num_layers) == expected


def test_layers_without_adapters_are_as_before():
  params = {"w.weight": jnp.ones((3, 2, 2))}
  x = jnp.ones((1, 1, 2))
  y = layers.stack(lambda p, x: layers.dense(p, "w", x), params, x)
  np.testing.assert_array_equal(y, 8 * x)
