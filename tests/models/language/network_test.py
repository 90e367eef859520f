import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from support import language_oracle as oracle
from support import language_problems as problems


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def _apply(network, params, *args, method=None):
  return network.apply({"params": params}, *args, train=False, method=method)


@functools.cache
def _problem(**changes):
  sizes = problems.sizes(**changes)
  batch = problems.batch(sizes)
  return *problems.init(sizes, batch), batch


def _logits(network, params, batch, multipliers=None):
  outputs, usage = _apply(network, params, batch, multipliers)
  assert usage is None
  return outputs[0]


def _layer_logits(network, params, batch, multipliers=None):
  embeddings = _apply(network, params, batch, method="encode")
  return _apply(
    network, params, embeddings, batch, multipliers, method="layer_logits"
  )


def _check(network, params, batch, multipliers=None):
  """Compares the logits of all layers with those of the oracle."""
  actual = _layer_logits(network, params, batch, multipliers)
  arrays = oracle.as_float64((params, batch, multipliers))
  for row in range(len(batch.present)):
    expected = oracle.layer_logits(*arrays[:2], row, network.sizes, arrays[2])
    np.testing.assert_allclose(actual[:, row], expected, atol=2e-4, rtol=1e-4)


@pytest.mark.training
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("audio", [True, False])
def test_an_untrained_network_equals_the_oracle(tied, audio):
  changes = {} if audio else {"audio_shape": None, "num_steps": ()}
  network, params, batch = _problem(tied=tied, **changes)
  rng = np.random.default_rng(0)
  factors = rng.uniform(0.5, 2, batch.present.shape).astype(np.float32)
  _check(network, params, batch)
  _check(network, params, batch, factors)


@pytest.mark.training
def test_a_trained_network_equals_the_oracle():
  network, _, batch = _problem()
  params = jax.jit(
    lambda key: network.init(key, batch, None, train=False)["params"]
  )(jax.random.key(0))

  @jax.jit
  def step(params):
    def loss(params):
      outputs, _ = network.apply({"params": params}, batch, None, train=True)
      return jnp.mean(
        optax.softmax_cross_entropy_with_integer_labels(
          outputs[0], batch.target
        )
      )

    value, gradient = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient), value

  losses = []
  for _ in range(8):
    params, value = step(params)
    losses.append(value)
  assert losses[-1] < 0.8 * losses[0]
  _check(network, params, batch)


@pytest.mark.training
def test_the_last_layer_gives_the_answer():
  network, params, batch = _problem()
  np.testing.assert_allclose(
    _layer_logits(network, params, batch)[-1],
    _logits(network, params, batch),
    atol=1e-5,
  )


@pytest.mark.training
def test_padding_anywhere_changes_no_answer():
  network, params, batch = _problem()
  moved = np.zeros_like(batch.features)
  moved[:, 1:] = batch.features[:, 1:]
  rng = np.random.default_rng(0)
  for row, text in enumerate(np.asarray(batch.features[:, 0])):
    tokens = text[: problems.NUM_TEXT]
    tokens = tokens[tokens > 0]
    places = rng.choice(problems.NUM_TEXT, len(tokens), replace=False)
    moved[row, 0, np.sort(places)] = tokens
  assert np.any(moved != batch.features)
  np.testing.assert_allclose(
    _logits(network, params, batch._replace(features=moved)),
    _logits(network, params, batch),
    atol=1e-5,
  )


@pytest.mark.training
@pytest.mark.parametrize("modality", [1, 2])
def test_only_present_modalities_change_an_answer(modality):
  network, params, batch = _problem()
  if modality == 1:
    changed = batch._replace(features=batch.features.at[:, 1].multiply(-2.0))
  else:
    (steps,) = batch.sequences
    steps = steps._replace(values=-2.0 * steps.values)
    changed = batch._replace(sequences=(steps,))
  before, after = (_logits(network, params, b) for b in (batch, changed))
  np.testing.assert_array_equal(
    np.any(before != after, axis=-1), batch.present[:, modality]
  )


@pytest.mark.training
def test_words_of_an_absent_text_are_not_read():
  """Without its text a question has its last token only."""
  network, params, batch = _problem()
  absent = batch._replace(present=batch.present.at[:, 0].set(False))
  changed = absent.features.at[:, 0, 0].set(7.0)
  changed = absent._replace(features=changed)
  np.testing.assert_array_equal(
    _logits(network, params, absent)[:5], _logits(network, params, changed)[:5]
  )


@pytest.mark.training
def test_gradients_are_finite_and_reach_every_parameter():
  network, params, batch = _problem(tied=False)

  @jax.jit
  def gradient(params):
    def total(params):
      outputs, _ = network.apply({"params": params}, batch, None, train=True)
      return jnp.sum(jax.nn.log_softmax(outputs)[..., 5])

    return jax.grad(total)(params)

  for path, leaf in jax.tree_util.tree_leaves_with_path(gradient(params)):
    assert np.all(np.isfinite(leaf)), path
    assert np.any(leaf != 0), path


@pytest.mark.training
def test_seeds_can_be_mapped():
  network, params, batch = _problem()
  _, other = problems.init(network.sizes, batch, seed=5)
  stacked = jax.tree.map(lambda *x: jnp.stack(x), params, other)
  outputs = jax.jit(
    jax.vmap(
      lambda p: network.apply({"params": p}, batch, None, train=False)[0][0]
    )
  )(stacked)
  for actual, p in zip(outputs, (params, other), strict=True):
    np.testing.assert_allclose(
      actual, _logits(network, p, batch), atol=1e-4, rtol=1e-4
    )


def test_the_token_mask_marks_what_an_embedding_means():
  network, _, batch = _problem()
  mask = np.asarray(network.token_mask(batch))
  image, audio, text = mask[:, :6], mask[:, 6:9], mask[:, 9:]
  present = np.asarray(batch.present)
  np.testing.assert_array_equal(image, present[:, 1:2].repeat(6, 1))
  np.testing.assert_array_equal(audio[0], [1, 1, 1])
  np.testing.assert_array_equal(audio[1], [1, 1, 0])
  np.testing.assert_array_equal(audio[3], [0, 0, 0])
  # The beginning of the text and four words, or one; no placeholders.
  np.testing.assert_array_equal(text.sum(1), [5, 5, 5, 5, 0, 2])


@pytest.mark.training
def test_parameters_belong_to_their_modality():
  """Each has a gradient where its modality is present, and owners say so."""
  for tied in (True, False):
    network, params, batch = _problem(tied=tied)
    owners = network.encoder_ids(params)
    num_modalities = len(network.sizes.widths)
    expected = {
      "vision": 1, "vision_projector": 1, "audio": 2, "audio_projector": 2,
      "decoder": num_modalities, "head": num_modalities,
      "embedding": num_modalities if tied else 0,
    }  # fmt: skip
    assert set(expected) == set(params) | ({"head"} if tied else set())
    for name, tree in params.items():
      for ids, leaf in zip(
        jax.tree.leaves(owners[name]), jax.tree.leaves(tree), strict=True
      ):
        np.testing.assert_array_equal(ids, expected[name])
        shape = () if expected[name] == num_modalities else leaf.shape[:1]
        assert ids.shape == shape
    np.testing.assert_array_equal(
      network.training_mask(batch.present), np.ones((1, 6), bool)
    )
    assert all(i == 0 for i in jax.tree.leaves(network.model_ids(params)))
