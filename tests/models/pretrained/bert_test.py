import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.pretrained import bert
from support import golden


@pytest.fixture(params=["bert", "roberta"])
def model(request):
  return request.param, golden.model(request.param)


def _inputs(name):
  arrays = golden.arrays(name)
  names = ("input_ids", "attention_mask", "token_type_ids")
  return [jnp.asarray(arrays[key]) for key in names if key in arrays]


def test_states_are_those_of_the_reference(model):
  name, model = model
  encode = jax.jit(bert.encode, static_argnums=1)
  states = encode(model.params, model.config, *_inputs(name))
  arrays = golden.arrays(name)
  where = arrays["attention_mask"] > 0
  assert not where.all()
  np.testing.assert_allclose(
    np.asarray(states)[where], arrays["out_hidden"][where], atol=1e-4
  )


def test_padding_changes_nothing(model):
  name, model = model
  tokens, mask, *_ = _inputs(name)
  states = bert.encode(model.params, model.config, tokens[1:], mask[1:])
  length = int(mask[1].sum())
  short = bert.encode(
    model.params, model.config, tokens[1:, :length], mask[1:, :length]
  )
  np.testing.assert_allclose(states[:, :length], short, atol=1e-5)


def test_gradients_are_the_same_when_layers_are_computed_again():
  model = golden.model("bert")
  tokens, mask, _ = _inputs("bert")

  def loss(params, rematerialise):
    states = bert.encode(
      params, model.config, tokens, mask, rematerialise=rematerialise
    )
    return jnp.sum(jnp.sin(states) * mask[..., None])

  grad = jax.jit(jax.grad(loss), static_argnums=1)
  for kept, again in zip(
    jax.tree.leaves(grad(model.params, False)),
    jax.tree.leaves(grad(model.params, True)),
    strict=True,
  ):
    assert np.any(kept)
    np.testing.assert_allclose(kept, again, atol=1e-4)


def test_one_program_serves_all_layers():
  """The program does not grow with the number of layers."""
  model = golden.model("bert")
  tokens, mask, _ = _inputs("bert")

  def length(num_layers):
    config = model.config._replace(num_layers=num_layers)
    shapes = bert.shapes(config)
    params = {
      k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()
    }
    encode = functools.partial(bert.encode, config=config)
    lowered = jax.jit(
      lambda params: encode(params, tokens=tokens, mask=mask)
    ).lower(params)
    return lowered.as_text().count("\n")

  assert length(2) == length(12)


def test_roberta_has_fewer_tokens_than_positions():
  assert golden.model("roberta").config.num_tokens == 30
  assert golden.model("bert").config.num_tokens == 32
