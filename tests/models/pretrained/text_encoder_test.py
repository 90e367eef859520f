import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.data import texts
from btw_jax.models import networks
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import text_encoder
from support import golden


def _sizes(config, **changes):
  values = {
    "widths": (1, 4, 2),
    "num_outputs": 3,
    "embedding_dim": 8,
    "hidden_dim": 8,
    "dropout": 0.0,
    "groups": ((0,), (2,)),
    "num_steps": (16, 5),
    "text": networks.Text(config, *texts.centre(config.vocab_size)),
    "text_groups": (0,),
  }
  return networks.Sizes(**values | changes)


def _batch(config, num_examples=6):
  rng = np.random.default_rng(0)
  tokens = rng.integers(4, config.vocab_size, (num_examples, 16))
  mean, std = texts.centre(config.vocab_size)
  length = np.array([[0], [1], [16], [7], [3], [5]][:num_examples], np.int32)
  batch = types.Batch(
    features=jnp.asarray(rng.normal(size=(num_examples, 3, 4)), jnp.float32),
    present=jnp.asarray(
      np.stack([length[:, 0] > 0, *[np.ones(num_examples, bool)] * 2], 1)
    ),
    target=None,
    sequences=(
      types.Steps(
        jnp.asarray((tokens - mean) / std, jnp.float32)[:, None, :, None],
        jnp.asarray(length),
      ),
      types.Steps(
        jnp.asarray(rng.normal(size=(num_examples, 1, 5, 2)), jnp.float32),
        jnp.full((num_examples, 1), 5, jnp.int32),
      ),
    ),
  )
  return batch, tokens, length[:, 0]


@pytest.mark.parametrize("name", ["bert", "roberta"])
@pytest.mark.parametrize("kind", [networks.Unimodal, networks.Concatenation])
def test_an_embedding_is_the_projected_state_of_the_first_token(name, kind):
  model = golden.model(name)
  config = model.config
  network = kind(_sizes(config))
  batch, tokens, length = _batch(config)
  params = network.init(jax.random.key(0), batch, None, train=False)["params"]
  params = text_encoder.replace(params, model.params)
  embeddings = network.apply(
    {"params": params}, batch, train=False, method="encode"
  )
  assert embeddings.shape == (6, 3, 8)
  assert not np.any(embeddings[0, 0])
  (dense,) = (
    part["encoder"]["Dense_0"]
    for part in params.values()
    if text_encoder.PRETRAINED in part.get("encoder", {})
  )
  for row, number in enumerate(length):
    if number:
      states = bert.encode(
        model.params,
        config,
        tokens[row : row + 1, :number],
        np.ones((1, number), bool),
      )
      expected = states[0, 0] @ dense["kernel"][0] + dense["bias"][0]
      np.testing.assert_allclose(embeddings[row, 0], expected, atol=1e-4)


def test_a_text_is_one_token_of_the_fusion():
  config = golden.model("bert").config
  for encoder, others in (("transformer", 5), ("mtand", 7)):
    sizes = _sizes(config, encoder=encoder, num_points=7)
    assert sizes.step_token_modalities == (1, 0, *[2] * others)
    assert sizes.num_encoded_steps == 1 + 16 + 5
    network = networks.Concatenation(sizes)
    batch, *_ = _batch(config)
    params = network.init(jax.random.key(0), batch, None, train=False)
    tokens = network.apply(params, batch, train=False, method="encode_steps")
    where = network.apply(params, batch, method="steps_present")
    assert tokens.shape[1] == where.shape[1] == 2 + others
    np.testing.assert_array_equal(where[:, 1], batch.present[:, 0])


def test_padding_and_missing_texts_have_no_gradient():
  model = golden.model("bert")
  network = networks.Unimodal(_sizes(model.config, dropout=0.1))
  batch, *_ = _batch(model.config)
  params = network.init(jax.random.key(0), batch, None, train=False)["params"]
  params = text_encoder.replace(params, model.params)

  def loss(params, batch):
    embeddings = network.apply(
      {"params": params},
      batch,
      train=True,
      method="encode",
      rngs={"dropout": jax.random.key(3)},
    )
    return jnp.sum(jnp.sin(embeddings[:, 0]))

  grad = jax.jit(jax.grad(loss))
  gradients = grad(params, batch)
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradients))
  text, *_ = batch.sequences
  inside = np.arange(16) < text.length[..., None]
  # Other tokens at padding, and in the missing text.
  changed = jnp.where(inside[..., None], text.values, 0.3)
  assert np.any(changed != text.values)
  moved = batch._replace(
    sequences=(text._replace(values=changed), *batch.sequences[1:])
  )
  for before, after in zip(
    jax.tree.leaves(gradients),
    jax.tree.leaves(grad(params, moved)),
    strict=True,
  ):
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_dropout_differs_by_layer_and_step_and_not_in_evaluation():
  model = golden.model("bert")
  network = networks.Unimodal(_sizes(model.config, dropout=0.5))
  batch, *_ = _batch(model.config)
  params = network.init(jax.random.key(0), batch, None, train=False)
  first, again, other, plain = (
    network.apply(
      params, batch, train=train, method="encode",
      rngs={"dropout": jax.random.key(seed)},
    )[:, 0]
    for seed, train in ((1, True), (1, True), (2, True), (1, False))
  )  # fmt: skip
  np.testing.assert_array_equal(first, again)
  assert np.all(np.any(first != other, axis=1)[1:])
  assert np.all(np.any(first != plain, axis=1)[1:])


def test_initial_parameters_have_the_scale_of_the_papers():
  config = golden.model("bert").config
  params = text_encoder.init(jax.random.key(0), config)
  assert {k: x.shape for k, x in params.items()} == bert.shapes(config)
  weights = params["encoder.layer.*.intermediate.dense.weight"]
  assert np.std(weights) == pytest.approx(0.02, rel=0.1)
  assert np.all(params["embeddings.LayerNorm.weight"] == 1)
  assert not np.any(params["encoder.layer.*.output.dense.bias"])


def test_only_the_parameters_of_the_folder_are_pretrained():
  config = golden.model("bert").config
  network = networks.Concatenation(_sizes(config))
  batch, *_ = _batch(config)
  params = network.init(jax.random.key(0), batch, None, train=False)["params"]
  flags = text_encoder.is_pretrained(params)
  assert sum(jax.tree.leaves(flags)) == len(bert.shapes(config))
  assert not any(jax.tree.leaves(flags["hidden"]))
