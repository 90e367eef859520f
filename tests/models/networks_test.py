import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import weighting
from btw_jax.models import networks
from support import problems


def _network(kind):
  network = problems.trainer(kind, dropout=0.5).network
  batch = problems.batch(12)
  params = network.init(jax.random.key(0), batch, None, train=False)
  return network, params, batch


@pytest.mark.training
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


@pytest.mark.training
@pytest.mark.parametrize("kind", [networks.Unimodal, networks.Concatenation])
def test_dropout_acts_in_training_only(kind):
  network, params, batch = _network(kind)

  def apply(train):
    return [
      network.apply(
        params, batch, None, train=train,
        rngs={"dropout": jax.random.key(seed)},
      )[0]
      for seed in range(2)
    ]  # fmt: skip

  np.testing.assert_array_equal(*apply(train=False))
  moving = apply(train=True)
  assert np.any(moving[0] != moving[1])
