"""The tests of training with experts: penalties, devices and clipping."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import types
from btw_jax import weighting
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.models import routers
from btw_jax.parallel import device_map
from btw_jax.training import model_groups
from support import problems

pytestmark = pytest.mark.training

PENALTIES = {"importance": 0.3, "load": 0.2, "router_z": 0.1}


def _trainer(*, penalties=PENALTIES, rule=problems.RULE, **mixture):
  trainer = problems.trainer(
    problems.mixture(**mixture), rule, dropout=0.0, optimizer=problems.SMOOTH
  )
  return dataclasses.replace(trainer, penalties=penalties)


@pytest.mark.slow
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_a_step_descends_the_loss_with_its_penalties(kind):
  """The penalties are those of the full batch on any number of devices."""
  batch = problems.batch(16, missing=0.3)
  trainer = dataclasses.replace(_trainer(router=kind), optimizer=optax.sgd(1.0))
  split = types.Split(batch, None)
  state = jax.jit(trainer.init)(0, split).train
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )

  def total_loss(params):
    outputs, usage = trainer.network.apply(
      {"params": params}, batch, multipliers, train=True,
      rngs={"dropout": jax.random.key(0)},
    )  # fmt: skip
    where = trainer.network.training_mask(batch.present)[0]
    losses = trainer.task.loss(outputs[0], batch.target)
    mean = jnp.sum(jnp.where(where, losses, 0)) / jnp.sum(where)
    penalties = routers.penalties(usage, kind)
    return mean + sum(
      PENALTIES[name] * penalties[name] for name in penalties
    ), usage

  gradient, usage = jax.jit(jax.grad(total_loss, has_aux=True))(state.params)
  for num_devices in (1, 4) if kind == "per_modality" else (4,):

    def share(x, num_devices=num_devices):
      return x.reshape(num_devices, -1, *x.shape[1:])

    step = jax.vmap(trainer.step, (None, 0, 0, None), axis_name=device_map.AXIS)
    stepped, sums = jax.jit(step)(
      state, jax.tree.map(share, batch), share(multipliers), 0
    )
    for before, after, g in problems.leaves(
      state.params, stepped.params, gradient
    ):
      np.testing.assert_allclose(before - after[0], g, rtol=1e-3, atol=2e-5)
    for a, b in problems.leaves(sums["usage"], usage):
      np.testing.assert_allclose(a[0], b, rtol=1e-4, atol=1e-5)
    for name, value in routers.penalties(usage, kind).items():
      np.testing.assert_allclose(sums["penalties"][name][0], value, rtol=1e-4)


@pytest.mark.slow
def test_penalties_are_paid_and_lowered():
  train, valid = problems.splits()

  def final(penalties):
    trainer = _trainer(
      penalties=penalties, rule=problems.PLAIN_RULE, gating="softmax"
    )
    trainer = dataclasses.replace(trainer, optimizer=optax.adamw(1e-2))
    _, logs = problems.fit(
      trainer, problems.PLAIN, [0], train, valid, num_epochs=10
    )
    return logs[-1]["penalties"]

  free, paid = final({}), final({"importance": 3.0, "router_z": 1.0})
  for name in ("importance", "router_z"):
    assert paid[name][0, 0] < 0.5 * free[name][0, 0], name


@pytest.mark.slow
@pytest.mark.parametrize("kind", routers.ROUTERS)
def test_load_has_a_gradient_with_noise_only(kind):
  batch = problems.batch(16)
  for noisy in (False, True) if kind == "joint" else (True,):
    trainer = _trainer(noisy=noisy, router=kind, num_experts=9)
    params = jax.jit(trainer.init)(0, types.Split(batch, None)).train.params

    def load(params, trainer=trainer):
      _, usage = trainer.network.apply(
        {"params": params}, batch, None, train=True,
        rngs={"dropout": jax.random.key(0)},
      )  # fmt: skip
      return trainer.network.penalties(usage)["load"]

    gradient = jax.jit(jax.grad(load))(params)
    centres = gradient["layers_0"]["Router_0"]["centres"]
    assert np.any(centres != 0) == noisy
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


@pytest.mark.slow
def test_vmapped_steps_equal_separate_steps():
  """Two seeds have different weights; other networks test full runs."""
  batch, seeds = problems.batch(16, missing=0.3), jnp.arange(2)
  trainer = _trainer()
  split = types.Split(batch, None)
  states = jax.jit(jax.vmap(lambda seed: trainer.init(seed, split).train))(
    seeds
  )
  multipliers = jnp.stack(
    [jnp.where(batch.present, scale, 0) for scale in (1.0, 0.5)]
  )
  step = jax.vmap(
    lambda state, multipliers, seed: trainer.step(
      state, batch, multipliers, seed
    ),
    axis_name=device_map.AXIS,
  )

  def one(state, multipliers, seed):
    arguments = jax.tree.map(lambda x: x[None], (state, multipliers, seed))
    return step(*arguments)

  together = jax.jit(jax.vmap(one))(states, multipliers, seeds)
  alone = jax.jit(one)
  for s in range(2):
    seed_arguments = jax.tree.map(
      lambda x, s=s: x[s], (states, multipliers, seeds)
    )
    for a, b in problems.leaves(together, alone(*seed_arguments)):
      np.testing.assert_allclose(a[s], b, rtol=2e-4, atol=2e-5)


def test_uniform_weights_are_the_plain_model_bit_for_bit():
  """One step is compared; other tests compare full runs."""
  batch = problems.batch(16)
  weighted = _trainer()
  plain = dataclasses.replace(
    weighted,
    network=problems.never_multiplied(fusion.MixtureOfExperts)(
      weighted.network.sizes, weighted.network.mixture
    ),
  )
  state = jax.jit(weighted.init)(0, types.Split(batch, None)).train
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  actual, expected = (
    jax.jit(
      jax.vmap(
        trainer.step, (None, 0, 0, None), axis_name=device_map.AXIS
      )
    )(
      state,
      jax.tree.map(lambda x: x[None], batch),
      multipliers[None],
      0,
    )[0].params
    for trainer in (weighted, plain)
  )  # fmt: skip
  for a, b in problems.leaves(actual, expected):
    np.testing.assert_array_equal(a, b)


def _owned():
  """Returns gradients of three models, and the owners of each leaf."""
  rng = np.random.default_rng(0)
  params = {
    "all": rng.normal(size=(3, 4, 2)),
    "some": rng.normal(size=(2, 5)),
    "one": rng.normal(size=(6,)),
  }
  owners = {
    "all": np.arange(3), "some": np.array([2, 0]), "one": np.asarray(1),
  }  # fmt: skip
  return jax.tree.map(lambda x: x.astype("f"), params), owners


def test_every_model_is_clipped_by_its_own_norm():
  gradients, owners = _owned()
  gradients_by_model = [
    [gradients["all"][0], gradients["some"][1]],
    [gradients["all"][1], gradients["one"]],
    [gradients["all"][2], gradients["some"][0]],
  ]
  norms = [
    np.sqrt(sum(np.sum(g**2) for g in model)) for model in gradients_by_model
  ]
  limit = float(np.sort(norms)[1])
  clipped = model_groups.clip(gradients, limit, owners, 3)
  factors = [min(1.0, limit / norm) for norm in norms]
  assert sum(f == 1.0 for f in factors) == 2
  np.testing.assert_allclose(
    clipped["all"],
    gradients["all"] * np.array(factors)[:, None, None],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    clipped["some"],
    gradients["some"] * np.array([factors[2], factors[0]])[:, None],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    clipped["one"], gradients["one"] * factors[1], rtol=1e-5
  )
  zeros = jax.tree.map(np.zeros_like, gradients)
  for leaf in jax.tree.leaves(model_groups.clip(zeros, 1.0, owners, 3)):
    np.testing.assert_array_equal(leaf, 0.0)


def test_select_takes_each_model_whole():
  new, owners = _owned()
  old = jax.tree.map(lambda x: x + 10, new)
  selected = model_groups.select(
    jnp.asarray([True, False, True]), new, old, owners
  )
  np.testing.assert_array_equal(selected["all"][::2], new["all"][::2])
  np.testing.assert_array_equal(selected["all"][1], old["all"][1])
  np.testing.assert_array_equal(selected["some"], new["some"])
  np.testing.assert_array_equal(selected["one"], old["one"])


def test_clipping_shortens_the_step():
  batch = problems.batch(16)
  trainer = dataclasses.replace(
    problems.trainer(dropout=0.0, optimizer=optax.sgd(1.0)), max_norm=0.01
  )
  state = jax.jit(trainer.init)(0, types.Split(batch, None)).train
  step = jax.vmap(
    trainer.step, (None, 0, None, None), axis_name=device_map.AXIS
  )
  stepped, _ = jax.jit(step)(
    state, jax.tree.map(lambda x: x[None], batch), None, 0
  )
  moved = [a - b[0] for a, b in problems.leaves(state.params, stepped.params)]
  norm = np.sqrt(sum(np.sum(m**2) for m in moved))
  np.testing.assert_allclose(norm, 0.01, rtol=1e-3)


@pytest.mark.slow
def test_a_run_that_waited_in_vain_keeps_what_it_has_and_ends():
  train, valid = problems.splits([0, 1])
  hasty = problems.trainer(optimizer=optax.adamw(0.1))
  _, logs = problems.fit(
    hasty, problems.PLAIN, [0, 1], train, valid, num_epochs=12
  )
  losses = np.stack([log["valid_loss"][0, :, 0] for log in logs])
  patient = dataclasses.replace(hasty, patience=2)
  best, fewer = problems.fit(
    patient, problems.PLAIN, [0, 1], train, valid, num_epochs=12
  )
  ends = []
  for s in range(2):
    kept = 0
    for epoch in range(len(losses)):
      if epoch - kept > 2:
        break
      if losses[epoch, s] < losses[kept, s]:
        kept = epoch
    ends.append(kept + 2)
    assert best.epoch[0, s, 0] == kept
    np.testing.assert_array_equal(best.loss[0, s, 0], losses[kept, s])
  assert max(ends) < 11
  assert len(fewer) == max(ends) + 1


@pytest.mark.slow
@pytest.mark.parametrize("encoder", tuple(networks.SEQUENCE_ENCODERS))
def test_sequences_are_learned_from(encoder):
  """The order of the steps determines the label; their mean does not."""
  rng = np.random.default_rng(0)
  n, num_steps = 96, 6
  label = rng.integers(0, 2, n)
  steps = np.linspace(-1, 1, num_steps) * (2 * label[:, None] - 1)
  values = steps[:, None, :, None] + 0.1 * rng.normal(size=(n, 2, num_steps, 1))
  batch = types.Batch(
    jnp.zeros((n, 2, 1)),
    jnp.ones((n, 2), bool),
    jnp.asarray(label, jnp.int32),
    (
      types.Steps(
        jnp.asarray(values, jnp.float32),
        jnp.full((n, 2), num_steps, jnp.int32),
      ),
    ),
  )
  sizes = networks.Sizes(
    (1, 1), 3, hidden_dim=16, embedding_dim=16, num_heads=2, dropout=0.0,
    groups=((0, 1),), num_steps=(num_steps,), encoder=encoder, num_layers=1,
  )  # fmt: skip
  trainer = dataclasses.replace(
    problems.trainer(dropout=0.0),
    network=networks.Unimodal(sizes),
    max_norm=1.0,
  )
  halves = [
    types.Split(jax.tree.map(lambda x, h=h: x[h::2], batch), None)
    for h in (0, 1)
  ]
  best, logs = problems.fit(
    trainer, problems.PLAIN, [0], *halves, num_epochs=15
  )
  assert np.all(logs[-1]["valid_score"] > 0.9)
  assert np.all(np.isfinite(best.loss))
