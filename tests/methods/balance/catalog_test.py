"""Tests of what all balancing methods have in common."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import types
from btw_jax.methods import balance
from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog
from btw_jax.models import networks
from btw_jax.pipeline import config_sections
from btw_jax.training import vectorized_runs
from support import balances
from support import problems

_HELPERS = {"__init__", "base", "catalog", "passes"}
NETWORKS = {"mlp": networks.Concatenation, "moe": problems.mixture()}
TASKS = ("multiclass", "binary", "regression")
# Tasks in turn: each method sees two of them.
CASES = [
  (name, network, TASKS[(place + offset) % 3])
  for place, name in enumerate(catalog.METHODS)
  for offset, network in enumerate(("mlp", "moe"))
  if (name, network) != ("mla", "moe")
]


def test_modules_catalog_and_flags_hold_the_same_methods():
  (folder,) = balance.__path__
  modules = {path.stem for path in pathlib.Path(folder).glob("*.py")}
  assert modules - _HELPERS == set(catalog.METHODS)
  assert set(config_sections.BALANCES) == set(catalog.METHODS)
  for name in catalog.METHODS:
    method = catalog.load(name)
    assert method.__module__.endswith(f".{name}")
    assert issubclass(method, base.Balance)
    entry = catalog.METHODS[name]
    fields = {field.name for field in dataclasses.fields(method)}
    assert entry.has_teacher == ("teacher" in fields)
    assert entry.has_network == ("network" in vars(method))


def _trainer(name, network, task):
  return balances.trainer(
    name, NETWORKS[network], task=task, optimizer=optax.sgd(0.1)
  )


def _batch(task):
  """Returns a batch with missing modalities, and an example without any.

  A quarter of it is no multiple of five, as G-Blend holds out every fifth.
  """
  batch = problems.batch(24, missing=0.3, task=task)
  present = batch.present.at[-1].set(False)
  features = jnp.where(present[..., None], batch.features, 0.0)
  target = batch.target % 2 if task == "binary" else batch.target
  return batch._replace(features=features, present=present, target=target)


@functools.cache
def _initial(network, task):
  """Returns the first state of a network, which compiles for long."""
  trainer = balances.trainer("ogm", network, task=task)
  trainer = dataclasses.replace(trainer, optimizer=optax.sgd(0.1))
  return jax.jit(trainer.init)(3, types.Split(_batch(task), None)).train


def _active(trainer, name, network, task):
  """Returns the state before a step in which every method does something."""
  if name == "mla":
    split = types.Split(_batch(task), None)
    state = jax.jit(trainer.init)(3, split).train
  else:
    state = _initial(NETWORKS[network], task)
  return state._replace(hook_state=balances.after_epochs(trainer.hook, 5))


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("name, network, task", CASES)
def test_a_step_on_shares_equals_a_step_on_the_whole(name, network, task):
  """Devices are simulated by `vmap`; SGD does not magnify rounding.

  A batch in which nobody has the second modality leaves all finite.
  """
  trainer, batch = _trainer(name, network, task), _batch(task)
  state = _active(trainer, name, network, task)
  step = balances.step_function(trainer)
  full, shares = (step(state, batch, shards=shards)[0] for shards in (1, 4))
  for a, b in problems.leaves(
    (full.params, full.hook_state), (shares.params, shares.hook_state)
  ):
    for device in range(4):
      np.testing.assert_allclose(a[0], b[device], rtol=1e-5, atol=1e-5)
  present = batch.present.at[:, 1].set(False)
  features = jnp.where(present[..., None], batch.features, 0.0)
  without = batch._replace(features=features, present=present)
  stepped, sums = step(state, without)
  assert np.all(np.asarray(sums["skipped"]) == 0)
  for leaf in jax.tree.leaves((stepped.params, stepped.hook_state, sums)):
    assert np.all(np.isfinite(leaf))
  head, moved = (x["head"]["kernel"] for x in (state.params, stepped.params))
  assert np.any(head != moved[0])


# Methods that change nothing where their own setting is 0.
NEUTRAL = (
  "ogm", "agm", "modality_dropout", "unimodal_losses", "valuation", "umt"
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("name", NEUTRAL)
def test_a_method_that_changes_nothing_is_the_plain_model_bit_for_bit(name):
  """With XLA's full optimisation, OGM and AGM round once more in the update.

  A processor that multiplies and adds in one instruction rounds the plain
  model's last product not at all; without these instructions, and as tests
  compile, all bits agree.
  """
  train, valid = problems.splits()
  spec = vectorized_runs.RunSpec("uniform", 0.0, 1.0, balance=name, value=0.0)
  plain, plain_log = problems.fit(
    problems.trainer(), problems.PLAIN, [0], train, valid, num_epochs=1
  )
  trainer = balances.trainer(name)
  best, log = problems.fit(trainer, [spec], [0], train, valid, num_epochs=1)
  for a, b in problems.leaves(best.params, plain.params):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(
    log[0]["train_loss"], plain_log[0]["train_loss"]
  )
  # Other values are not the plain model.
  other = spec._replace(value=0.5)
  moved, _ = problems.fit(trainer, [other], [0], train, valid, num_epochs=1)
  if name != "valuation":
    assert any(np.any(a != b) for a, b in problems.leaves(moved, best))
