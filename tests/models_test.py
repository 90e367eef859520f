import functools

import jax
import jax.numpy as jnp
import numpy as np
import problems
import pytest

from btw_jax import weighting
from btw_jax.models import dropout
from btw_jax.models import encoders
from btw_jax.models import networks


def _network(kind):
  network = problems.trainer(kind, dropout=0.5).network
  batch = problems.batch(12)
  params = network.init(jax.random.key(0), batch, None, train=False)
  return network, params, batch


def test_each_modality_has_the_parameters_of_a_dense_layer():
  layer = encoders.ModalityDense(4, (5, 3, 4))
  x = jax.random.normal(jax.random.key(1), (3, 7, 5))
  params = layer.init(jax.random.key(0), x)
  out = layer.apply(params, x)
  kernel, bias = params["params"]["kernel"], params["params"]["bias"]
  for m in range(3):
    np.testing.assert_allclose(out[m], x[m] @ kernel[m] + bias[m], rtol=1e-4)


def test_padding_does_not_change_the_scale_of_initial_kernels():
  layer = encoders.ModalityDense(4000, (64, 4))
  params = layer.init(jax.random.key(0), jnp.zeros((2, 1, 64)))
  kernel = np.asarray(params["params"]["kernel"])
  # LeCun: variance 1 / fan-in, of the features that carry data.
  np.testing.assert_allclose(kernel[0].std(), 64**-0.5, rtol=0.02)
  np.testing.assert_allclose(kernel[1].std(), 4**-0.5, rtol=0.02)
  assert np.abs(kernel[0]).max() < 2.3 * 64**-0.5


def test_a_unimodal_model_sees_its_own_modality_only():
  network, params, batch = _network(networks.Unimodal)
  outputs, _ = network.apply(params, batch, None, train=False)
  assert outputs.shape == (3, 12, 3)
  changed = batch._replace(features=batch.features.at[:, 1].add(1.0))
  moved = network.apply(params, changed, None, train=False)[0] - outputs
  assert np.all(moved[0] == 0)
  assert np.all(moved[2] == 0)
  assert np.any(moved[1] != 0)


def test_an_absent_modality_contributes_nothing():
  network, params, batch = _network(networks.Concatenation)
  present = np.ones((12, 3), bool)
  present[:6, 1] = False
  multipliers = weighting.multipliers(
    weighting.uniform(jnp.asarray(present)), present
  )
  outputs, moved = (
    network.apply(
      params, batch._replace(features=features), multipliers, train=False
    )[0]
    for features in (batch.features, batch.features.at[:, 1].add(3.0))
  )
  np.testing.assert_array_equal(outputs[:, :6], moved[:, :6])
  assert np.all(np.any(outputs[:, 6:] != moved[:, 6:], axis=-1))


def test_multipliers_scale_the_embeddings():
  network, params, batch = _network(networks.Concatenation)
  embeddings = network.apply(params, batch, train=False, method="encode")
  multipliers = jnp.linspace(0, 2, 36).reshape(12, 3)
  fused, _ = network.apply(params, batch, multipliers, train=False)
  by_hand, _ = network.apply(
    params, embeddings * multipliers[..., None], batch, None, train=False,
    method="fuse",
  )  # fmt: skip
  np.testing.assert_array_equal(fused, by_hand)


@pytest.mark.parametrize("kind", [networks.Unimodal, networks.Concatenation])
def test_dropout_acts_in_training_only(kind):
  network, params, batch = _network(kind)
  still = [
    network.apply(
      params, batch, None, train=False,
      rngs={"dropout": jax.random.key(seed)},
    )[0]
    for seed in range(2)
  ]  # fmt: skip
  np.testing.assert_array_equal(*still)
  moving = [
    network.apply(
      params, batch, None, train=True,
      rngs={"dropout": jax.random.key(seed)},
    )[0]
    for seed in range(2)
  ]  # fmt: skip
  assert np.any(moving[0] != moving[1])


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
  x = jnp.ones((300, 333))
  found = np.asarray(
    dropout.Dropout(rate).apply(
      {}, x, train=True, rngs={"dropout": jax.random.key(0)}
    )
  )
  dropped = np.mean(found == 0)
  # 1/512 for rounding the rate, the rest for the spread of 99,900 draws.
  assert dropped == pytest.approx(rate, abs=1 / 512 + 0.006)
  assert found.mean() == pytest.approx(1.0, abs=0.04)
  assert len(np.unique(found)) <= 2
  # Neighbours, which share a random word, fall independently.
  gone = (found == 0).ravel()
  both = np.mean(gone[0::2] & gone[1::2][: len(gone[0::2])])
  assert both == pytest.approx(dropped**2, abs=0.01)


@pytest.mark.parametrize("batch_axis", [0, 1])
def test_devices_drop_what_one_would(batch_axis):
  """The mask of an example hangs on its number in the whole batch."""
  x = np.ones((8, 3, 10), np.float32)
  x = np.moveaxis(x, 0, batch_axis)

  def dropped(x, axis_name=None):
    return dropout.Dropout(0.5, axis_name).apply(
      {}, x, train=True, batch_axis=batch_axis,
      rngs={"dropout": jax.random.key(0)},
    )  # fmt: skip

  whole = dropped(x)
  shape = (*x.shape[:batch_axis], 4, 2, *x.shape[batch_axis + 1 :])
  parts = jax.vmap(
    functools.partial(dropped, axis_name="devices"),
    batch_axis, batch_axis, axis_name="devices",
  )(x.reshape(shape))  # fmt: skip
  np.testing.assert_array_equal(parts.reshape(x.shape), whole)
  # Examples are not dropped alike.
  rows = np.moveaxis(whole, batch_axis, 0).reshape(8, -1)
  assert len(np.unique(rows, axis=0)) == 8
