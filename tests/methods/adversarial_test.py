import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.methods import adversarial
from btw_jax.models import networks
from support import forwards
from support import problems


def test_ascent_ends_in_the_corner_where_a_linear_loss_is_largest():
  rng = np.random.default_rng(0)
  slope = rng.normal(size=(4, 3)).astype("f")
  radius = rng.uniform(0.5, 1, (4, 1)).astype("f")
  radius[2] = 0

  def loss(delta):
    return jnp.sum(slope * delta)

  start = radius * rng.uniform(-1, 1, (4, 3)).astype("f")
  for signed, rate, direction in (
    (True, 0.4 * radius, np.sign(slope)), (False, 0.1, slope)
  ):  # fmt: skip
    for num_steps in (0, 2, 60):
      ascended = jax.jit(
        lambda start, rate=rate, signed=signed, num_steps=num_steps: (
          adversarial.ascend(
            loss, start, radius, rate=rate, num_steps=num_steps, signed=signed
          )
        )
      )(start)
      expected = np.clip(start + num_steps * rate * direction, -radius, radius)
      np.testing.assert_allclose(ascended, expected, atol=1e-5)
    if signed:
      np.testing.assert_allclose(ascended, radius * np.sign(slope))
  np.testing.assert_array_equal(ascended[2], 0.0)
  slope_of_start = jax.grad(
    lambda start: jnp.sum(
      adversarial.ascend(loss, start, radius, rate=0.1, num_steps=1)
    )
  )(start)
  np.testing.assert_array_equal(slope_of_start, 0.0)


@pytest.mark.training
@pytest.mark.parametrize("modalities", [None, (1,)])
def test_the_worst_of_a_linear_model_is_known(modalities):
  """The logit is `z − y·Σ_m c_m ε_m |w_m|` with multipliers c."""
  forward = forwards.forward_of()
  method = adversarial.Adversarial(
    radius=0.3, rate=0.5, num_steps=6, modalities=modalities
  )
  embeddings, clean = forwards.clean(forward)
  outputs, batch = jax.jit(lambda: method(forward, embeddings, forwards.KEY))()
  assert batch is not None and batch.target is not None
  present = np.asarray(forward.batch.present)
  deviations = [np.std(embeddings[present[:, m], m]) for m in range(3)]
  radius = 0.3 * np.array(deviations)
  radius *= np.isin(np.arange(3), range(3) if modalities is None else (1,))
  slopes = np.abs(forward.params["head"]["kernel"]).reshape(3, -1).sum(axis=1)
  shift = np.asarray(forward.multipliers) @ (radius * slopes)
  sign = 2 * np.asarray(forward.batch.target) - 1
  np.testing.assert_allclose(
    outputs[0, :, 0], clean[0, :, 0] - sign * shift, rtol=1e-3, atol=1e-5
  )
  assert np.min(shift[present[:, 1]]) > 1e-3


@pytest.mark.training
def test_parameters_learn_from_the_worst_as_it_is():
  """The gradient does not follow the ascent back to the parameters."""
  forward = forwards.forward_of(networks.Concatenation)
  method = adversarial.Adversarial(
    radius=0.5, rate=0.7, num_steps=1, signed=False
  )

  def loss(params):
    current = dataclasses.replace(forward, params=params)
    outputs, batch = method(
      current, current.encode(current.batch), forwards.KEY
    )
    return jnp.sum(current.losses(outputs, batch))

  def moved(params, delta):
    current = dataclasses.replace(forward, params=params)
    embeddings = current.encode(current.batch) + delta
    outputs, _ = current.fuse(embeddings, current.batch, current.multipliers)
    return jnp.sum(current.losses(outputs, current.batch))

  embeddings, _ = forwards.clean(forward)
  radius = method.radii(forward, embeddings)[:, None]
  start = jax.vmap(
    lambda key: jax.random.uniform(key, embeddings.shape[1:], minval=-1.0)
  )(types.keys(forwards.KEY, 16, None))
  slope = jax.jit(jax.grad(moved, argnums=1))(forward.params, radius * start)
  worst = jnp.clip(radius * (start + 0.7 * slope), -radius, radius)
  for gradient, expected in problems.leaves(
    jax.jit(jax.grad(loss))(forward.params),
    jax.jit(jax.grad(moved))(forward.params, worst),
  ):
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)
