"""The tests of training against interference: its loss and its effect."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import interventions
from btw_jax import types
from btw_jax import weighting
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from btw_jax.models import networks
from btw_jax.parallel import device_map
from support import forwards
from support import problems

KINDS = tuple(interventions.KINDS)


@dataclasses.dataclass(frozen=True)
class Moved:
  """A view that adds noise to the outputs of the batch."""

  factor: float
  num_views: int = 1

  def __call__(self, forward, embeddings, key):
    outputs, _ = forward.fuse(embeddings, forward.batch, forward.multipliers)
    moved = self.factor * jax.random.normal(key, outputs.shape)
    return outputs + moved, forward.batch


@pytest.mark.training
@pytest.mark.parametrize("kind", ["kl", "js"])
def test_what_is_minimised_besides_the_loss(kind):
  forward = forwards.forward_of(networks.Concatenation, task="multiclass")
  embeddings, outputs = forwards.clean(forward)
  hook = mitigation.Mitigation(
    (Moved(1.0, num_views=3), Moved(2.0)), 0.7, 0.3, kind
  )
  losses = jax.jit(
    lambda: hook.added(forward, embeddings, outputs, forwards.KEY)
  )()
  clean = special.log_softmax(outputs[0], axis=-1)
  expected = np.zeros(16)
  for number, (factor, num_views) in enumerate(((1.0, 3), (2.0, 1))):
    method_key = jax.random.fold_in(forwards.KEY, number)
    keys = (
      jax.random.split(method_key, num_views) if num_views > 1 else [method_key]
    )
    for key in keys:
      moved = outputs + factor * jax.random.normal(key, outputs.shape)
      view = special.log_softmax(moved[0], axis=-1)
      nll = -view[np.arange(16), forward.batch.target]
      if kind == "kl":
        apart = np.sum(np.exp(view) * (view - clean), axis=-1)
      else:
        half = np.log((np.exp(view) + np.exp(clean)) / 2)
        apart = sum(np.sum(np.exp(p) * (p - half), -1) for p in (view, clean))
        apart /= 2
      expected += (0.7 * nll + 0.3 * apart) / num_views
  has_modality = np.asarray(forward.batch.present).any(axis=1)
  np.testing.assert_allclose(
    losses[0], np.where(has_modality, expected, 0), rtol=1e-4, atol=1e-6
  )


@pytest.mark.training
def test_consistency_pulls_the_view_and_not_the_batch():
  forward = forwards.forward_of(networks.Concatenation, task="multiclass")
  hook = mitigation.Mitigation((Moved(1.0),), 0.0, 1.0)
  embeddings, outputs = forwards.clean(forward)

  def paid(outputs):
    return jnp.sum(hook.added(forward, embeddings, outputs, forwards.KEY))

  slope = jax.jit(jax.grad(paid))(outputs)
  np.testing.assert_array_equal(slope, 0.0)


def _run(**changes):
  trainer = problems.trainer(dropout=0.0, optimizer=optax.sgd(1.0))
  trainer = dataclasses.replace(trainer, **changes)
  batch = problems.batch(16, missing=0.2)
  state = trainer.init(0, types.Split(batch, None)).train
  step = jax.jit(
    jax.vmap(trainer.step, (None, 0, 0, None, 0), axis_name=device_map.AXIS)
  )
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  counts = jnp.asarray(np.random.default_rng(0).uniform(0, 2, 16))
  one = jax.tree.map(lambda x: x[None], (batch, multipliers))
  stepped, sums = step(state, *one, 3, counts[None])
  return trainer, state, batch, multipliers, counts, stepped, sums


@pytest.mark.training
def test_a_step_descends_the_loss_and_what_the_hook_adds():
  def added(forward, embeddings, outputs, key):
    """Returns a loss that depends on all arguments."""
    drawn = jax.random.normal(key, (len(forward.batch.present),))
    sums = jnp.sum(embeddings**2, axis=(1, 2)) + jnp.sum(outputs[0], axis=-1)
    return (drawn * sums)[None]

  class Added(hooks.Hook):
    def minimise(self, step, forward, embeddings, outputs, losses):
      return losses + added(forward, embeddings, outputs, step.key)

  trainer, state, batch, multipliers, counts, stepped, sums = _run(hook=Added())
  bare = _run()
  # This is the key of the first step of seed 3.
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 4), state.step)

  def total_loss(params):
    forward = forward_lib.Forward(
      trainer.network,
      trainer.task,
      params,
      batch,
      multipliers,
      forwards.KEY,
      3,
      None,
    )
    embeddings, outputs = forwards.clean(forward)
    paid = trainer.task.loss(outputs, batch.target)
    paid += added(forward, embeddings, outputs, key)
    return jnp.mean(counts * paid)

  for before, after, slope in problems.leaves(
    state.params, stepped.params, jax.jit(jax.grad(total_loss))(state.params)
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-3, atol=1e-5)
  # The log contains the loss without the hook.
  np.testing.assert_allclose(sums["loss"], bare[-1]["loss"], rtol=1e-6)
  np.testing.assert_array_equal(sums["score"], bare[-1]["score"])


@pytest.mark.slow
def test_a_step_on_shares_equals_a_step_on_the_whole():
  """Random numbers depend on the slot, not on the shard."""
  feature_stats = interventions.FeatureStats(*np.ones((3, 3, 5), np.float32))
  hook = mitigation.Mitigation(
    (
      heuristic.Heuristic(
        KINDS, [1.0] * len(KINDS), feature_stats, (0,), num_views=2
      ),
      # Without signs, which would magnify the rounding of small gradients.
      adversarial.Adversarial(radius=0.5, rate=2.0, signed=False),
    ),
    consistency=0.5,
  )
  trainer = problems.trainer(dropout=0.1, optimizer=optax.sgd(1.0))
  batch = problems.batch(16, missing=0.3)
  state = jax.jit(trainer.init)(0, types.Split(batch, None)).train
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )

  def run(num_devices, hook=hook):
    hooked_trainer = dataclasses.replace(trainer, hook=hook)
    step = jax.vmap(
      hooked_trainer.step, (None, 0, 0, None), axis_name=device_map.AXIS
    )
    shares = jax.tree.map(
      lambda x: x.reshape(num_devices, -1, *x.shape[1:]), (batch, multipliers)
    )
    stepped, _ = jax.jit(step)(state, *shares, 3)
    return stepped.params

  full, shares = run(1), run(4)
  for a, b in problems.leaves(full, shares):
    for device in range(4):
      np.testing.assert_allclose(a[0], b[device], rtol=1e-4, atol=1e-5)
  moved = [
    np.max(np.abs(a - b))
    for a, b in problems.leaves(full, run(1, hooks.Hook()))
  ]
  assert min(moved) > 1e-2


@pytest.mark.slow
def test_training_on_mismatches_makes_models_hard_to_mislead():
  """An uninformative modality should not change decisions."""
  train, valid = problems.splits()
  trainer = problems.trainer(dropout=0.0, optimizer=optax.adamw(1e-2))
  hook = mitigation.Mitigation(
    (heuristic.Heuristic(("mismatch",), (1.0,), forwards.PLAIN, (0,), (2,)),)
  )
  batch = problems.batch(4000, seed=5)
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  chosen = np.broadcast_to([-1, -1, 0], (4000, 3))

  @jax.jit
  def flipped(params):
    misled = interventions.intervene(
      batch,
      chosen,
      forwards.KEY,
      forwards.PLAIN,
      kinds=("mismatch",),
      classes=batch.target,
    )
    decided = [
      trainer.task.decide(
        trainer.network.apply({"params": params}, x, multipliers, train=False)[
          0
        ]
      )
      for x in (batch, misled)
    ]
    return jnp.mean(decided[0] != decided[1])

  plain, robust = (
    flipped(
      jax.tree.map(
        lambda x: x[0, 0],
        problems.fit(variant, problems.PLAIN, [0], train, valid, num_epochs=30)[
          0
        ].params,
      )
    )
    for variant in (trainer, dataclasses.replace(trainer, hook=hook))
  )
  assert robust < 0.6 * plain
