from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models.language import linear


def test_it_is_a_dense_layer():
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), "f")
  dense, ours = nn.Dense(7), linear.Linear(7)
  params = dense.init(jax.random.key(0), x)
  mine = ours.init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, params)
  np.testing.assert_allclose(
    ours.apply(params, x), dense.apply(params, x), atol=1e-6
  )
