import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models import encoders


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
