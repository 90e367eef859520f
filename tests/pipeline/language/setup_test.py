import dataclasses

import jax
import numpy as np

from btw_jax import types
from btw_jax.pipeline.language import setup as setup_lib
from support import language_runs


def _setup(**settings):
  config = dataclasses.replace(language_runs.config("unused"), **settings)
  return setup_lib.make(config)


def test_a_trimmed_text_gives_the_same_answers():
  setup = _setup()
  questions = setup.questions("train", 100)
  longest = int(np.max(np.sum(questions.tokens != 0, axis=1)))
  trimmed = setup.trimmed(questions, setup.questions("valid", 10))
  assert trimmed.network.sizes.num_text == longest < setup.world.num_tokens
  batch = questions.to_batch()
  state = setup.trainer.init(0, types.Split(batch, None))
  outputs = [
    jax.jit(lambda params, batch, network=network: network.apply(
      {"params": params}, batch, None, train=False
    )[0])(state.train.params, batch)
    for network in (setup.trainer.network, trimmed.network)
  ]  # fmt: skip
  np.testing.assert_allclose(*outputs, atol=1e-5)


def test_training_with_statements_keeps_their_room():
  setup = _setup(mitigation=("heuristic",))
  trainer = setup.trimmed(setup.questions("train", 100))
  assert trainer.network.sizes.num_text == setup.world.num_tokens


def test_muon_makes_the_updates_of_kernels_orthogonal():
  setup = _setup(
    optimizer="muon", learning_rate=0.01, warmup_share=0.0, weight_decay=0.0
  )
  batch = setup.questions("train", 100).to_batch()
  params = setup.trainer.init(0, types.Split(batch, None)).train.params
  rng = np.random.default_rng(0)
  gradients = jax.tree.map(
    lambda x: rng.normal(size=x.shape).astype(np.float32), params
  )
  optimizer = setup.trainer.optimizer
  updates, _ = optimizer.update(gradients, optimizer.init(params), params)
  num_kernels = 0
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    steps = np.abs(update) / 0.01
    if path[-1].key != "kernel":
      # The first step of Adam has the same size for every parameter.
      np.testing.assert_allclose(steps, np.max(steps), rtol=1e-3)
      continue
    num_kernels += 1
    # As if every parameter moved by .2 of the learning rate.
    scale = 0.2 * np.sqrt(max(update.shape))
    singular = np.linalg.svd(update / 0.01, compute_uv=False) / scale
    # The iteration of Muon leaves all but the smallest values around 1.
    assert np.max(singular) < 1.3, path
    assert np.median(singular) > 0.6, path
  assert num_kernels == 31
