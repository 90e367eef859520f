"""Measures the language model: PyTorch, the arithmetic limit, and growth.

A step is one of the recipe, with AdamW, a constant learning rate, and all
modalities shown. A few steps make an epoch, one program, which ends with the
validation of a single question. The operations of a step are those of its
matrix products.
"""

from collections.abc import Callable
import dataclasses
import itertools
import os
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import types
from btw_jax.data.questions import vocabulary
from btw_jax.models.language import sizes as sizes_lib
from btw_jax.pipeline.language import config as config_lib
from btw_jax.pipeline.language import setup as setup_lib
from btw_jax.training import loop
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs
from experiments.benchmarks import language_products
from experiments.benchmarks import timing
from experiments.benchmarks import torch_rivals

# Steps of an epoch; few, because a step of the widest model is slow.
_STEPS = 2
_WIDTHS = (32, 64, 128)
# The recipe, but with AdamW, and no modality is masked.
_PLAIN = config_lib.LanguageConfig(mask_share=0.0)
_SPEC = vectorized_runs.RunSpec("uniform", 0.0, 1.0)


class Case(NamedTuple):
  """A model and the questions of an epoch.

  Attributes:
    config: the configuration.
    trainer: trains the model.
    batch: all questions of an epoch.
  """

  config: config_lib.LanguageConfig
  trainer: trainer_lib.Trainer
  batch: types.Batch

  @property
  def sizes(self) -> sizes_lib.LanguageSizes:
    """The sizes of the model."""
    return self.trainer.network.sizes

  def first_batch(self) -> types.Batch:
    """Returns the questions of one step."""
    return jax.tree.map(lambda x: x[: self.config.batch_size], self.batch)

  def params(self) -> chex.ArrayTree:
    """Returns the parameters before the first step."""
    return self.trainer.init(0, types.Split(self.batch, None)).train.params


def run(rounds: int) -> list[dict[str, str]]:
  """Measures a step against both rivals, then longer and wider models."""
  recipe = make_case()
  plain = epoch(recipe)
  rows = []

  def add(name, first, second):
    a, b, ratio = timing.compare(first, second, rounds)
    rows.append(timing.row(name, a / _STEPS, b / _STEPS, ratio, ""))

  rival = torch_epoch(recipe)
  if rival:
    add("eager PyTorch step / our step", rival, plain)
  add("matrix products alone / our step", products_epoch(recipe), plain)
  masked = make_case(config=config_lib.LanguageConfig())
  add("step with masked modalities / plain step", epoch(masked), plain)
  longer = make_case(text_copies=2)
  lengths = f"{longer.sizes.num_text} / {recipe.sizes.num_text}"
  name = _with_operations(f"step, text of {lengths} tokens", longer, recipe)
  add(name, epoch(longer), plain)
  cases = [make_case(width) for width in _WIDTHS]
  epochs = [epoch(case) for case in cases]
  for i, j in itertools.pairwise(range(len(cases))):
    name = f"step, width {_WIDTHS[j]} / {_WIDTHS[i]}"
    name = _with_operations(name, cases[j], cases[i])
    add(name, epochs[j], epochs[i])
  return rows


def make_case(
  width: int = 64,
  config: config_lib.LanguageConfig = _PLAIN,
  *,
  text_copies: int = 1,
) -> Case:
  """Builds the recipe's model, or one of another width or a longer text.

  Args:
    width: of an embedding; the hidden layers grow with it.
    config: the other settings.
    text_copies: how often a text has its words.
  """
  config = dataclasses.replace(
    config, embedding_dim=width, hidden_dim=width * 11 // 4
  )
  num_questions = _STEPS * config.batch_size
  setup = setup_lib.make(dataclasses.replace(config, num_train=num_questions))
  questions = setup.questions("train")
  # A copy has no placeholders: an image and a sound have no more parts.
  tokens = questions.tokens
  is_word = (tokens > vocabulary.UNKNOWN) | (tokens == vocabulary.PAD)
  copies = [np.where(is_word, tokens, vocabulary.UNKNOWN)] * (text_copies - 1)
  questions = questions._replace(
    tokens=np.concatenate([tokens, *copies], axis=1)
  )
  network = setup.trainer.network
  trainer = dataclasses.replace(
    setup.trainer,
    network=network.with_num_text(network.sizes.num_text * text_copies),
    optimizer=optax.adamw(
      config.learning_rate, weight_decay=config.weight_decay
    ),
  )
  return Case(config, trainer, questions.to_batch())


def torch_epoch(case: Case) -> Callable[[], Any] | None:
  """Returns an epoch in eager PyTorch; None without PyTorch."""
  # Threads of PyTorch that wait must not take the cores from the other side.
  os.environ.setdefault("OMP_WAIT_POLICY", "passive")
  torch, device = torch_rivals.import_torch()
  if torch is None:
    return None
  # This module needs PyTorch.
  from experiments.benchmarks import torch_language

  torch.set_num_threads(os.cpu_count())
  return torch_language.epoch(
    torch_language.build(case.sizes, case.params(), device),
    torch_language.inputs(case.sizes, case.batch, device),
    case.batch.target,
    batch_size=case.config.batch_size,
    optimizer={
      "lr": case.config.learning_rate,
      "weight_decay": case.config.weight_decay,
    },
    max_norm=case.config.max_norm,
  )


def epoch(case: Case) -> Callable[[], Any]:
  """Returns an epoch of our training steps."""
  valid = jax.tree.map(lambda x: x[:1], case.batch)
  runner = loop.make_runner(
    case.trainer,
    [_SPEC],
    [0],
    types.Split(case.batch, None),
    types.Split(valid, None),
  )
  return lambda: jax.block_until_ready(runner.run_epoch(0))


def step_gradient(
  case: Case,
) -> tuple[Callable[..., chex.ArrayTree], chex.ArrayTree, types.Batch]:
  """Returns the gradient of a step, its parameters' shapes and its batch."""
  network, task = case.trainer.network, case.trainer.task

  def loss(params, batch):
    outputs, _ = network.apply({"params": params}, batch, None, train=True)
    return jnp.mean(task.loss(outputs, batch.target))

  return jax.grad(loss), jax.eval_shape(case.params), case.first_batch()


def products_epoch(case: Case) -> Callable[[], Any]:
  """Returns the matrix products of an epoch, and nothing else."""
  gradient, params = language_products.gradient(
    case.sizes, case.params(), case.first_batch()
  )

  def step(params, _):
    # Without a change the compiler would compute one step for all of them. It
    # is so small that no value grows.
    changes = gradient(params)
    return jax.tree.map(lambda p, g: p - 1e-20 * g, params, changes), None

  steps = jax.jit(lambda params: jax.lax.scan(step, params, length=_STEPS)[0])
  return lambda: jax.block_until_ready(steps(params))


def _with_operations(name, first, second):
  """Appends the ratio of the operations of two steps to a name."""
  a, b = (
    language_products.num_operations(
      language_products.count(*step_gradient(case))
    )
    for case in (first, second)
  )
  return f"{name}, {a / b:.2f} times the operations"
