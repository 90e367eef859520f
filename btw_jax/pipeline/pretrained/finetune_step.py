"""The step that fine-tunes a pretrained multimodal model.

It is apart from `training.trainer`: parameters that do not fit on one device
are spread by `jit` with `NamedSharding`, and only adapters have a gradient and
an optimizer's state. Gradients of batches of different shapes add up.
"""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from btw_jax import predictions
from btw_jax.methods import adversarial
from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.models.pretrained import vision_language
from btw_jax.pipeline.language import answers as language_answers
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import pairs

HEURISTIC, ADVERSARIAL, CONSISTENCY = "heuristic", "adversarial", "consistency"


class Objective(NamedTuple):
  """The objective of a step; static.

  Attributes:
    lora: size of the adapters.
    methods: of training against interference.
    consistency: factor of the divergence of perturbed from clean answers.
    radius: largest move of an entry of an embedding, of the adversary.
    rate: factor of its gradient.
    num_steps: of its ascent.
  """

  lora: lora_lib.Lora
  methods: tuple[str, ...] = ()
  consistency: float = 0.01
  radius: float = 1e-3
  rate: float = 0.1
  num_steps: int = 2


class Sums(NamedTuple):
  """Sums over the questions of batches, by their weights.

  Attributes:
    loss: of what is minimised.
    right: questions that are answered right.
    weight: of the questions.
  """

  loss: chex.Array
  right: chex.Array
  weight: chex.Array

  def means(self) -> dict[str, float]:
    """Returns the mean loss and the accuracy."""
    weight = max(float(self.weight), 1e-9)
    return {
      "loss": float(self.loss) / weight,
      "accuracy": float(self.right) / weight,
    }


class State(NamedTuple):
  """The state that training changes.

  Attributes:
    adapters: from `lora.init`.
    opt_state: the optimizer's state, of the adapters alone.
    epoch: number of finished epochs.
    position: number of batches of the epoch that has begun.
    sums: over these batches.
  """

  adapters: dict[str, chex.Array]
  opt_state: Any
  epoch: chex.Array
  position: chex.Array
  sums: Sums


def make_optimizer(
  learning_rate: float, max_norm: float, num_steps: int
) -> optax.GradientTransformation:
  """Returns AdamW whose rate rises over 3 % of the steps and falls to 0."""
  schedule = optax.warmup_cosine_decay_schedule(
    0.0, learning_rate, round(0.03 * num_steps), num_steps
  )
  clip = optax.clip_by_global_norm(max_norm) if max_norm else optax.identity()
  optimizer = optax.chain(clip, optax.adamw(schedule, weight_decay=0.0))
  return optax.apply_if_finite(optimizer, jnp.iinfo(jnp.int32).max)


def update(
  optimizer: optax.GradientTransformation,
  adapters: layers.Params,
  opt_state: Any,
  gradient: layers.Params,
  weight: chex.Array,
) -> tuple[layers.Params, Any]:
  """Updates adapters by a gradient that is summed over so much weight."""
  mean = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-9), gradient)
  updates, opt_state = optimizer.update(mean, opt_state, adapters)
  return optax.apply_updates(adapters, updates), opt_state


def gradients(
  objective: Objective,
  config: vision_language.Config,
  adapters: layers.Params,
  params: layers.Params,
  batch: pairs.Batch,
  key: chex.PRNGKey,
) -> tuple[layers.Params, Sums]:
  """Returns the gradient of the summed losses of a batch, and its sums.

  Args:
    objective: what to minimise, static.
    config: of the model, static.
    adapters: where to differentiate.
    params: of the model, which stay as they are.
    batch: the questions.
    key: draws the start of the adversary.
  """

  def loss(adapters):
    return _loss(objective, config, adapters, params, batch, key)

  return jax.grad(loss, has_aux=True)(adapters)


def _loss(objective, config, adapters, params, batch, key):
  """Returns the summed loss of a batch, and the sums to report."""
  fixed = jax.lax.stop_gradient(adapters)

  def answer(adapters, part, embedded):
    logits = answers_lib.answer_logits(
      params,
      config,
      part,
      embedded,
      lora_lib.scaled(adapters, objective.lora),
    )
    chosen = jnp.take_along_axis(part.options, batch.label[:, None], axis=1)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), chosen, axis=1)
    return nll[:, 0], language_answers.option_log_probs(logits, part.options, 0)

  embedded = answers_lib.embed(params, config, batch.clean)
  nll, clean = answer(adapters, batch.clean, embedded)
  losses, views = nll, []
  if objective.methods:
    embedded = answers_lib.embed(params, config, batch.perturbed)
    views.append((HEURISTIC, embedded))
  if ADVERSARIAL in objective.methods:
    delta = _move(
      objective,
      key,
      embedded,
      _irrelevant(config, batch),
      lambda moved: jnp.sum(answer(fixed, batch.perturbed, moved)[0]),
    )
    views.append((ADVERSARIAL, embedded + delta))
  for name, moved in views:
    of_view, perturbed = answer(adapters, batch.perturbed, moved)
    if name in objective.methods:
      losses += of_view
    if CONSISTENCY in objective.methods:
      losses += objective.consistency * _divergence(
        perturbed, jax.lax.stop_gradient(clean)
      )
  right = jnp.argmax(clean, axis=1) == batch.label
  weight = batch.weight
  loss = jnp.sum(weight * losses)
  return loss, Sums(loss, jnp.sum(weight * right), jnp.sum(weight))


def _divergence(perturbed, clean):
  """Returns KL(perturbed ‖ clean) `[B]`, in nats, from log-probabilities."""
  p, q = (
    predictions.Categorical(jnp.where(jnp.isfinite(x), x, -1e30))
    for x in (perturbed, clean)
  )
  return predictions.divergence(p, q, kind="kl")


def _irrelevant(config, batch):
  """Returns `[B, T]` bool: the tokens that an adversary moves.

  Those are of the image, for questions without one, and of the question's text
  for all others.
  """
  of_image, of_text = answers_lib.owners(config, batch.perturbed)
  return of_text if batch.clean.pixels is not None else of_image


def _move(objective, key, embedded, where, loss):
  """Returns a move of embeddings that increases the loss, in a small box."""
  radius = objective.radius * where[..., None].astype(jnp.float32)
  start = jax.random.uniform(key, embedded.shape, minval=-1.0) * radius
  delta = adversarial.ascend(
    lambda delta: loss(embedded + delta.astype(embedded.dtype)),
    start,
    radius,
    rate=objective.rate,
    num_steps=objective.num_steps,
    signed=False,
  )
  return delta.astype(embedded.dtype)
