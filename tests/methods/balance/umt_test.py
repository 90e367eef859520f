import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import forward as forward_lib
from btw_jax import tasks
from btw_jax import types
from btw_jax.methods.balance import umt
from btw_jax.models import networks
from support import balances
from support import problems

pytestmark = pytest.mark.training


def _teacher_embeddings(batch, seed, seeds=(0, 1)):
  network, params = balances.teacher(seeds)
  params = jax.tree.map(lambda x: x[seeds.index(seed)], params)
  return network.apply({"params": params}, batch, train=False, method="encode")


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_gradient_is_that_of_the_loss_and_the_distance(missing):
  trainer = balances.trainer(
    "umt", seeds=(0, 1), dropout=0.0, optimizer=optax.sgd(1.0)
  )
  batch = problems.batch(16, missing=missing)
  state, stepped, _ = balances.step_on(trainer, batch, value=0.7, seed=1)
  wanted = _teacher_embeddings(batch, 1)
  present = batch.present

  def total(params):
    embeddings, outputs = (
      trainer.network.apply({"params": params}, *args, train=False, method=name)
      for name, args in (
        ("encode", (batch,)),
        ("__call__", (batch, present.astype(jnp.float32))),
      )
    )
    loss = jnp.sum(trainer.task.loss(outputs[0][0], batch.target))
    for i, m in np.argwhere(present):
      # The mean over the 6 units of an embedding.
      loss += 0.7 * jnp.sum((embeddings[i, m] - wanted[i, m]) ** 2) / 6
    return loss / 16

  slopes = jax.jit(jax.grad(total))(state.params)
  for before, after, slope in problems.leaves(
    state.params, stepped.params, slopes
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-3, atol=1e-5)


def test_every_seed_has_its_own_teacher():
  trainer = balances.trainer("umt", seeds=(4, 9))
  states = jax.vmap(trainer.hook.init)(jnp.array([9, 4]))
  _, params = balances.teacher((4, 9))
  for own, all_seeds in problems.leaves(states, params):
    np.testing.assert_array_equal(own[0], all_seeds[1])
    np.testing.assert_array_equal(own[1], all_seeds[0])
  assert any(np.any(x[0] != x[1]) for x in jax.tree.leaves(params))


def test_teachers_stay_as_they_are():
  trainer = balances.trainer("umt")
  state, stepped, _ = balances.step_on(trainer, problems.batch(16))
  for before, after in problems.leaves(state.hook_state, stepped.hook_state):
    np.testing.assert_array_equal(before, after[0])


def test_the_distance_of_missing_modalities_is_0():
  forward = balances.forward_of(3)
  network, params = forward.network, forward.params
  hook = umt.Method(3, seeds=(0,), teacher=network, teacher_params=None)
  teacher = jax.tree.map(lambda x: x + 0.5, params)
  embeddings = forward.encode(forward.batch)
  losses = hook.minimise(
    balances.step(teacher, 2.0), forward, embeddings, None, jnp.zeros((1, 12))
  )
  wanted = network.apply(
    {"params": teacher}, forward.batch, train=False, method="encode"
  )
  squared = np.mean((np.asarray(embeddings) - wanted) ** 2, axis=-1)
  expected = 2 * np.where(forward.batch.present, squared, 0).sum(axis=1)
  assert expected[-1] == 0
  np.testing.assert_allclose(losses[0], expected, rtol=1e-4)


def test_a_sequence_counts_as_one_modality_by_its_mean_step():
  """The second modality has five steps, of which an example has some."""
  rng = np.random.default_rng(0)
  length = np.array([[5], [2], [1], [3]])
  values = rng.normal(size=(4, 1, 5, 4)) * (
    np.arange(5)[:, None] < length[..., None, None]
  )
  batch = types.Batch(
    jnp.asarray(rng.normal(size=(4, 2, 4)), jnp.float32),
    jnp.array([[True, True], [True, True], [False, True], [True, False]]),
    jnp.zeros(4, jnp.int32),
    (types.Steps(jnp.asarray(values, jnp.float32), jnp.asarray(length)),),
  )
  sizes = networks.Sizes(
    (4, 4), 3, hidden_dim=8, embedding_dim=6, dropout=0.0, groups=((1,),),
    num_steps=(5,), num_heads=2, num_layers=1,
  )  # fmt: skip
  student = problems.mixture(steps=True)(sizes)
  teacher = networks.Unimodal(student.sizes)
  own, params = (
    jax.jit(n.init, static_argnames="train")(key, batch, None, train=False)[
      "params"
    ]
    for n, key in ((student, jax.random.key(0)), (teacher, jax.random.key(1)))
  )
  forward = forward_lib.Forward(
    student, tasks.make("multiclass", 3), own, batch, None, balances.KEY, 0,
    None,
  )  # fmt: skip
  embeddings = forward.encode(batch)
  hook = umt.Method(2, seeds=(0,), teacher=teacher)
  losses = hook.minimise(
    balances.step(params, 3.0), forward, embeddings, None, jnp.zeros((1, 4))
  )
  wanted = teacher.apply(
    {"params": params}, batch, train=False, method="encode_steps"
  )
  squared = np.mean((np.asarray(embeddings) - wanted) ** 2, axis=-1)
  expected = np.zeros(4)
  for i, (has_vector, has_sequence) in enumerate(np.asarray(batch.present)):
    if has_vector:
      expected[i] += 3 * squared[i, 0]
    if has_sequence:
      expected[i] += 3 * squared[i, 1 : 1 + length[i, 0]].mean()
  np.testing.assert_allclose(losses[0], expected, rtol=1e-3)
