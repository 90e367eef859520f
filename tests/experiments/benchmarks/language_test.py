import collections
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.data.questions import vocabulary
from btw_jax.pipeline.language import config as config_lib
from experiments.benchmarks import language
from experiments.benchmarks import language_products
from experiments.benchmarks import timing


@pytest.fixture(scope="module")
def case():
  """Returns a narrow model with the questions of one step."""
  case = language.make_case(32)
  return case._replace(batch=case.first_batch())


@pytest.mark.training
def test_pytorch_gives_the_same_logits(case):
  torch = pytest.importorskip("torch")
  from experiments.benchmarks import torch_language

  # With noise, biases are not 0 and scales are not 1.
  leaves, structure = jax.tree.flatten(case.params())
  keys = jax.random.split(jax.random.key(1), len(leaves))
  params = jax.tree.unflatten(
    structure,
    [
      x + 0.1 * jax.random.normal(k, x.shape)
      for x, k in zip(leaves, keys, strict=True)
    ],
  )
  # Padding in the middle of a text, and sounds of all lengths.
  batch = case.batch._replace(features=case.batch.features.copy())
  batch.features[:, 0, 10:12] = vocabulary.PAD
  (steps,) = batch.sequences
  length = np.arange(steps.length.size) % (steps.values.shape[2] + 1)
  steps = steps._replace(length=length[:, None].astype(np.int32))
  batch = batch._replace(sequences=(steps,))
  network = case.trainer.network
  expected, _ = network.apply({"params": params}, batch, None, train=False)
  model = torch_language.build(case.sizes, params, "cpu")
  with torch.no_grad():
    logits = model(torch_language.inputs(case.sizes, batch, "cpu"))
  np.testing.assert_allclose(logits.numpy(), expected[0], atol=1e-4)


@pytest.mark.training
def test_pytorch_has_the_same_losses_in_training():
  pytest.importorskip("torch")
  # A norm this small clips every gradient, a decay this large shows.
  config = config_lib.LanguageConfig(
    mask_share=0.0, max_norm=1e-6, weight_decay=5.0
  )
  case = language.make_case(32, config)
  case = case._replace(batch=case.first_batch())
  ours, rival = language.epoch(case), language.torch_epoch(case)
  losses = [ours()["train_loss"].item() for _ in range(4)]
  np.testing.assert_allclose(
    [loss for _ in range(4) for loss in rival()], losses, rtol=1e-3
  )
  assert losses[-1] < losses[0] - 0.1


def test_without_pytorch_there_is_no_rival(monkeypatch, case):
  monkeypatch.setattr(timing, "import_optional", lambda name: None)
  assert language.torch_epoch(case) is None


def test_products_are_counted_by_their_shapes():
  def function(x, y):
    return jax.jit(jnp.matmul)(x, y) @ y.T + x[0]

  x, y = jnp.ones((3, 7)), jnp.ones((7, 5))
  products = language_products.count(function, x, y)
  assert products == collections.Counter({(1, 3, 5, 7): 1, (1, 3, 7, 5): 1})
  assert language_products.num_operations(products) == 4 * 3 * 7 * 5


@pytest.mark.training
def test_the_products_alone_are_those_of_a_step(case):
  gradient, params = language_products.gradient(
    case.sizes, case.params(), case.batch
  )
  products = language_products.count(gradient, params)
  step = language_products.count(*language.step_gradient(case))
  assert products == step
  # The compiler keeps all of them, and no value overflows.
  compiled = jax.jit(gradient).lower(params).compile()
  least = language_products.num_operations(step)
  assert least <= compiled.cost_analysis()["flops"] < 1.05 * least
  norms = [jnp.linalg.norm(x) for x in jax.tree.leaves(compiled(params))]
  assert all(0 <= norm < math.inf for norm in norms) and max(norms) > 0


@pytest.mark.training
def test_rows_name_the_growth_of_the_operations(monkeypatch):
  monkeypatch.setattr(timing, "import_optional", lambda name: None)
  monkeypatch.setattr(language, "epoch", lambda case: case)
  monkeypatch.setattr(timing, "compare", lambda *_: (4.0, 2.0, 2.0))
  rows = language.run(3)
  names = [row["ratio of"] for row in rows]
  assert len(names) == 5 and not any("PyTorch" in name for name in names)
  assert rows[0]["first, ms"] == "2000.000"  # An epoch has two steps.
  growth = [
    float(found[1])
    for name in names
    if (found := re.search(r"([0-9.]+) times the operations", name))
  ]
  # Attention grows with the square of the length, projections with that of
  # the width; the towers of images and sounds do not grow with the text.
  length, *widths = growth
  assert 1.9 < length < 3
  assert len(widths) == 2 and all(3.6 < ratio < 4 for ratio in widths)


def test_a_longer_text_repeats_the_words_alone():
  case, longer = language.make_case(32), language.make_case(32, text_copies=2)
  num_text = case.sizes.num_text
  assert longer.sizes.num_text == 2 * num_text
  tokens = longer.batch.features[:, 0, : 2 * num_text]
  first, second = np.split(tokens, 2, axis=1)
  np.testing.assert_array_equal(first, case.batch.features[:, 0, :num_text])
  is_word = first > vocabulary.UNKNOWN
  np.testing.assert_array_equal(first[is_word], second[is_word])
  assert set(second[~is_word]) == {
    vocabulary.PAD,
    vocabulary.UNKNOWN,
  }
