import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.models.language import masking

_OWNERS = (1, 1, 2, 0, 0, 0)


def _embeddings(num_examples):
  rng = np.random.default_rng(0)
  shape = (num_examples, len(_OWNERS), 4)
  x = rng.normal(size=shape) * [1.0, 2.0, 0.5, 0.0] + rng.normal(size=4)
  valid = rng.random(shape[:2]) < 0.7
  return x.astype(np.float32), valid


def test_statistics_are_those_of_the_valid_embeddings_of_a_modality():
  x, valid = _embeddings(50)
  stats = masking.statistics(x, valid, _OWNERS, 4)
  for m in range(3):
    chosen = x[valid & (np.asarray(_OWNERS) == m)]
    np.testing.assert_allclose(stats.mean[m], chosen.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(stats.std[m], chosen.std(axis=0), atol=1e-3)
  # No embedding belongs to the last modality.
  np.testing.assert_array_equal(stats.mean[3], np.zeros(4))
  np.testing.assert_array_equal(stats.std[3], np.zeros(4))


def test_statistics_are_the_same_on_shards():
  x, valid = _embeddings(8)
  whole = masking.statistics(x, valid, _OWNERS, 3)
  parts = jax.vmap(
    lambda x, valid: masking.statistics(x, valid, _OWNERS, 3, "devices"),
    axis_name="devices",
  )(x.reshape(2, 4, *x.shape[1:]), valid.reshape(2, 4, -1))
  for device in range(2):
    jax.tree.map(
      lambda a, b, device=device: np.testing.assert_allclose(
        a, b[device], atol=1e-5
      ),
      whole,
      parts,
    )


def test_only_masked_modalities_become_noise():
  x, valid = _embeddings(4000)
  stats = masking.statistics(x, valid, _OWNERS, 3)
  masked = np.zeros((4000, 3), bool)
  masked[:2000, 1] = True
  keys = jax.random.split(jax.random.key(0), 4000)
  y = np.asarray(masking.mask(keys, x, stats, _OWNERS, masked))
  changed = np.any(y != x, axis=-1)
  np.testing.assert_array_equal(changed[:, :2], np.repeat(masked[:, 1:2], 2, 1))
  assert not changed[:, 2:].any()
  noise = y[:2000, :2].reshape(-1, 4)
  # Five standard errors of a mean of 4,000 draws.
  error = 5 * np.asarray(stats.std[1]) / np.sqrt(4000)
  assert np.all(np.abs(noise.mean(axis=0) - stats.mean[1]) <= error + 1e-4)
  std = noise.std(axis=0)
  np.testing.assert_allclose(std, stats.std[1], rtol=0.06, atol=1e-4)


def test_gradients_are_finite_where_an_embedding_is_constant():
  x = jnp.ones((3, 6, 4))

  def total(x):
    stats = masking.statistics(x, jnp.ones((3, 6), bool), _OWNERS, 3)
    keys = jax.random.split(jax.random.key(0), 3)
    masked = jnp.ones((3, 3), bool)
    return jnp.sum(masking.mask(keys, x, stats, _OWNERS, masked))

  assert np.all(np.isfinite(jax.grad(total)(x)))
