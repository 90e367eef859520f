"""Training of adapters: the state, and the steps of an epoch."""

from collections.abc import Iterator
import functools
import math

from absl import logging
import jax
import jax.numpy as jnp

from btw_jax import errors
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.models.pretrained import sharding
from btw_jax.pipeline.pretrained import finetune_config
from btw_jax.pipeline.pretrained import finetune_step as step_lib
from btw_jax.pipeline.pretrained import pairs as pairs_lib
from btw_jax.training import sampling

_gradients = jax.jit(step_lib.gradients, static_argnums=(0, 1))
_add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b), donate_argnums=0)


class Trainer:
  """Trains the adapters of a model; what it draws depends on the seed alone."""

  def __init__(
    self,
    config: finetune_config.FinetuneConfig,
    model: family.Pretrained,
    pairs: pairs_lib.Pairs,
  ):
    """Makes the objective and the optimizer.

    Args:
      config: the settings.
      model: the model, which stays as it is.
      pairs: the questions to train on.
    """
    self._config, self._model, self._pairs = config, model, pairs
    self._objective = step_lib.Objective(
      lora_of(config),
      tuple(config.mitigation),
      config.consistency_weight,
      config.adversarial_radius,
      config.adversarial_rate,
      config.adversarial_steps,
    )
    steps = math.ceil(len(self._batches(0)) / config.accumulate)
    self._optimizer = step_lib.make_optimizer(
      config.learning_rate, config.max_norm, steps * config.num_epochs
    )
    self._update = jax.jit(
      functools.partial(step_lib.update, self._optimizer),
      donate_argnums=(0, 1),
    )

  def _batches(self, epoch):
    """Plans the batches of an epoch."""
    config = self._config
    return self._pairs.batches(config.seed, epoch, config.batch_size)

  def initial(self) -> step_lib.State:
    """Returns the state before the first step: adapters that change nothing."""
    adapters = lora_lib.init(
      sampling.stream_key(self._config.seed, sampling.INIT),
      self._model.params,
      lora_of(self._config),
    )
    zero, none = jnp.int32(0), jnp.float32(0)
    return step_lib.State(
      adapters, self._optimizer.init(adapters), zero, zero,
      step_lib.Sums(none, none, none),
    )  # fmt: skip

  def steps(self, state: step_lib.State) -> Iterator[step_lib.State]:
    """Takes the steps that are left of an epoch, and yields the state of each.

    A step adds up the gradients of `accumulate` batches.
    """
    config, epoch = self._config, int(state.epoch)
    base = jax.random.fold_in(
      sampling.stream_key(config.seed, sampling.HOOK), epoch
    )
    total, weight, sums = None, 0.0, state.sums
    batches = self._batches(epoch)
    logging.info(
      "epoch %d of %d: %d batches", epoch + 1, config.num_epochs, len(batches)
    )
    for position in range(int(state.position), len(batches)):
      gradient, of_batch = _gradients(
        self._objective,
        self._model.config,
        state.adapters,
        self._model.params,
        sharding.spread(batches[position]),
        jax.random.fold_in(base, position),
      )
      sums = jax.tree.map(jnp.add, sums, of_batch)
      total = gradient if total is None else _add(total, gradient)
      weight += of_batch.weight
      is_last = position + 1 == len(batches)
      if not is_last and (position + 1) % config.accumulate:
        continue
      adapters, opt_state = self._update(
        state.adapters, state.opt_state, total, weight
      )
      total, weight = None, 0.0
      state = step_lib.State(
        adapters, opt_state, state.epoch, jnp.int32(position + 1), sums
      )
      yield state

  def end_epoch(
    self, state: step_lib.State
  ) -> tuple[dict[str, float], step_lib.State]:
    """Returns the means of an epoch, and the state before the next one.

    Raises:
      InputError: if the mean loss is not a number.
    """
    means, epoch = state.sums.means(), int(state.epoch) + 1
    skipped = int(state.opt_state.total_notfinite)
    if not math.isfinite(means["loss"]):
      raise errors.InputError(
        f"epoch {epoch}: the loss is not a number, {skipped} steps changed"
        " nothing: lower --learning_rate or the --weights, or use"
        " --dtype=float32."
      )
    if skipped:
      logging.warning(
        "%d steps so far changed nothing, because their gradient was not"
        " finite: lower --learning_rate",
        skipped,
      )
    return means, state._replace(
      epoch=jnp.int32(epoch),
      position=jnp.int32(0),
      sums=jax.tree.map(jnp.zeros_like, state.sums),
    )


def lora_of(config: finetune_config.FinetuneConfig) -> lora_lib.Lora:
  """Returns the size of the adapters of a configuration."""
  return lora_lib.Lora(config.lora_rank, config.lora_share, config.lora_alpha)
