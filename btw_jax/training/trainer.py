"""The training step, on a batch that is sharded over devices."""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from btw_jax import forward as forward_lib
from btw_jax import hooks
from btw_jax import tasks
from btw_jax import threefry
from btw_jax import types
from btw_jax import weighting
from btw_jax.models.pretrained import text_encoder
from btw_jax.parallel import device_map
from btw_jax.parallel import expert_parallel
from btw_jax.training import crossfit
from btw_jax.training import guard
from btw_jax.training import model_groups
from btw_jax.training import objective
from btw_jax.training import sampling
from btw_jax.training import state as state_lib
from btw_jax.training import updates
from btw_jax.training import weighting_rule

# Tokens that attention may see in one chunk: it keeps a square of them.
_TOKENS_PER_CHUNK = 2**16
# A pretrained encoder keeps thousands of numbers for each.
_PRETRAINED_TOKENS = 2**13


@dataclasses.dataclass(frozen=True)
class Trainer:
  """The fixed settings of a training program; its methods are pure.

  Attributes:
    network: a module of `models.networks` or `models.fusion`.
    task: the meaning of the network's outputs.
    optimizer: its updates must act on each parameter alone.
    batch_size: examples of a step, over all devices.
    rule: how weights are computed.
    penalties: penalty of the network -> factor in the loss.
    max_norm: largest gradient norm of each model; None does not clip.
    patience: epochs without improvement after which a model is kept as it is;
      None trains all epochs.
    parallelism: how the program is mapped over devices.
    max_skipped: training ends when the gradient was not finite in this many
      steps in a row; fewer are skipped.
    hook: what a method changes of a step.
    start: maps a seed to the parameters to start from; None for the network's
      own.
    read_pretrained: reads the parameters of a pretrained encoder, by name,
      which replace those that the network draws; None if it has no such part.
  """

  network: nn.Module
  task: tasks.Task
  optimizer: optax.GradientTransformation
  batch_size: int
  rule: weighting_rule.Rule = dataclasses.field(
    default_factory=weighting_rule.Rule
  )
  penalties: Mapping[str, float] = dataclasses.field(default_factory=dict)
  max_norm: float | None = None
  patience: int | None = None
  parallelism: device_map.Parallelism = dataclasses.field(
    default_factory=device_map.Parallelism
  )
  max_skipped: int = 10
  hook: hooks.Hook = dataclasses.field(default_factory=hooks.Hook)
  start: Callable[[chex.Array], chex.ArrayTree] | None = None
  read_pretrained: Callable[[], Mapping[str, chex.Array]] | None = None

  @property
  def axis_name(self) -> str | tuple[str, str]:
    """The name of the mapped axes that examples are sharded over."""
    return self.parallelism.axis_name

  @property
  def predict_chunk_size(self) -> int:
    """The number of examples that are predicted in one chunk."""
    num_tokens = self.network.sizes.num_encoded_steps
    most = _PRETRAINED_TOKENS if self.read_pretrained else _TOKENS_PER_CHUNK
    return max(1, most // num_tokens)

  @functools.cached_property
  def guarded_optimizer(self) -> optax.GradientTransformation:
    """The optimizer, which skips gradients that are not finite."""
    return guard.skip_not_finite(self.optimizer)

  @functools.cached_property
  def _sharded_network(self):
    """The network, told over which axes its batches are sharded."""
    experts = device_map.EXPERTS if self.parallelism.experts > 1 else None
    sizes = dataclasses.replace(
      self.network.sizes, axis_name=self.axis_name, experts_axis_name=experts
    )
    return self.network.clone(sizes=sizes)

  def with_num_steps(self, num_steps: tuple[int, ...] | None) -> "Trainer":
    """Returns the trainer for sequences of these lengths, T of each group."""
    if num_steps is None:
      return self
    sizes = dataclasses.replace(self.network.sizes, num_steps=num_steps)
    return dataclasses.replace(self, network=self.network.clone(sizes=sizes))

  def init(
    self,
    seed: chex.Array,
    train: types.Split,
    num_valid: int = 0,
    pretrained: Mapping[str, chex.Array] | None = None,
  ) -> state_lib.RunState:
    """Returns the state before the first step, the same for every setting.

    `num_valid` is the number of validation examples, static. `pretrained` are
    the parameters that `read_pretrained` returns.
    """
    batch = jax.tree.map(lambda x: x[:1], train.batch)
    if self.start is None:
      key = sampling.stream_key(seed, sampling.INIT)
      params = self.network.init(key, batch, None, train=False)["params"]
    else:
      params = self.start(seed)
    if pretrained:
      params = text_encoder.replace(params, pretrained)
    # Models are float32, under `JAX_ENABLE_X64` too.
    params = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    num_models = self.network.training_mask(batch.present).shape[0]
    weights = unseen_prior = None
    num_examples, num_modalities = train.batch.present.shape
    if self.rule.weighs:
      average = weighting.init(
        num_examples, num_modalities, train.batch.present
      )
      information = {
        name: jnp.zeros(num_modalities, jnp.float32)
        for name in self.rule.statistics
      }
      examples = None
      if self.rule.examples:
        examples = jnp.ones((num_examples, 1), jnp.float32)
      weights = state_lib.Weights(average, information, examples)
      # Uniform, because a device knows the presence of its own examples only.
      prior = jnp.full(num_modalities, 1 / num_modalities, jnp.float32)
      unseen_prior = state_lib.UnseenPrior(prior, average.alpha, information)
    opt_state = self.guarded_optimizer.init(params)
    return state_lib.RunState(
      state_lib.TrainState(
        jnp.int32(0), params, opt_state, self.hook.init(seed)
      ),
      weights,
      state_lib.Best(
        # The dtypes are explicit: a weak type would compile epoch 2 again.
        loss=jnp.full(num_models, jnp.inf, jnp.float32),
        epoch=jnp.full(num_models, -1, jnp.int32),
        params=params,
        unseen_prior=unseen_prior,
        crossfit=crossfit.init(num_models, num_valid, self.task.num_outputs),
      ),
    )

  def steps(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array | None,
    seed: chex.Array,
    importance: chex.Array | None = None,
    run_params: state_lib.RunParams | None = None,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """Takes the steps on a batch that the hook asks for, mostly one.

    Arguments and results are those of `step`; the sums are over all steps, but
    `skipped`, which is that of the last one.
    """
    state, sums = self.step(
      state, batch, multipliers, seed, importance, run_params
    )
    for _ in range(self.hook.rounds - 1):
      state, more = self.step(
        state, batch, multipliers, seed, importance, run_params
      )
      skipped = more.pop("skipped")
      del sums["skipped"]
      sums = jax.tree.map(jnp.add, sums, more) | {"skipped": skipped}
    return state, sums

  def step(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array | None,
    seed: chex.Array,
    importance: chex.Array | None = None,
    run_params: state_lib.RunParams | None = None,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """Takes one optimizer step on a batch that is sharded over devices.

    Args:
      state: the state to update.
      batch: this device's shard.
      multipliers: `[B, M]` of the embeddings, or None for the plain model.
      seed: scalar int; random numbers depend on it and on the step's number.
      importance: `[B]` factor of each example in the loss; 1 by default.
      run_params: `rate` and `value` of the run; their defaults if None.

    Returns:
      The next state, and sums over the whole batch: loss, score, count `[U]`;
      usage and penalties with experts; and `skipped`, the number of steps in a
      row, up to this one, that changed nothing because their gradient was not
      finite.
    """
    where = self.network.training_mask(batch.present)
    count = jax.lax.psum(
      jnp.sum(where, axis=-1).astype(jnp.float32), self.axis_name
    )
    dropout_key, hook_key = (
      threefry.fold_in(sampling.stream_key(seed, stream), state.step)
      for stream in (sampling.DROPOUT, sampling.HOOK)
    )
    forward = forward_lib.Forward(
      self._sharded_network,
      self.task,
      state.params,
      batch,
      multipliers,
      dropout_key,
      seed,
      self.axis_name,
    )
    value = None if run_params is None else run_params.value
    step = hooks.Step(state.hook_state, hook_key, state.step, value)
    gradients, apart, (sums, hook_state) = objective.gradients(
      self, forward, step, count, importance
    )
    gradients, apart, sums = self._sum_over_devices(gradients, apart, sums)
    next_state = updates.follow(
      self,
      state,
      step.with_state(hook_state),
      gradients,
      apart,
      len(count),
      rate=None if run_params is None else run_params.rate,
    )
    if "usage" in sums:
      sums["penalties"] = self.network.penalties(sums["usage"])
    return next_state, {
      **sums,
      "count": count,
      "skipped": next_state.opt_state.notfinite_count,
    }

  def _sum_over_devices(self, gradients, apart, sums):
    """Adds up gradients and sums over devices, in one message."""
    if self.parallelism.experts == 1:
      return device_map.psum_flat((gradients, apart, sums), self.axis_name)
    is_expert = self.network.expert_mask(gradients)
    gradients, sums = expert_parallel.sum_gradients(
      gradients, sums, is_expert, self.axis_name
    )
    if apart is not None:
      apart, _ = expert_parallel.sum_gradients(
        apart, {}, is_expert, self.axis_name
      )
    return gradients, apart, sums

  def sum_leaves(self, values: chex.ArrayTree) -> chex.Array:
    """Adds up leaves of one shape over all parameters of all devices."""
    if self.parallelism.experts == 1:
      return model_groups.sum_leaves(values)
    return expert_parallel.sum_leaves(values, self.network.expert_mask(values))

  def batch_step(
    self,
    run: state_lib.RunState,
    run_params: state_lib.RunParams,
    seed: chex.Array,
    batch: types.Batch,
    rows: chex.Array,
  ) -> tuple[state_lib.RunState, chex.ArrayTree]:
    """Takes one step on a batch that was read from disk.

    `rows` `[B]` are the rows of its examples in this device's part of the table
    W. Returns the state, and the sums of `step`.
    """
    batch = run_params.gate(batch)
    multipliers = weighting.multipliers(
      self.table(run, batch.present, rows),
      batch.present,
      strength=run_params.strength,
      scale=run_params.scale,
    )
    importance = self.importance(run, run_params)
    state, sums = self.steps(
      run.train,
      batch,
      multipliers,
      seed,
      None if importance is None else importance[rows],
      run_params,
    )
    return run._replace(train=state), sums

  def importance(
    self, run: state_lib.RunState, run_params: state_lib.RunParams
  ) -> chex.Array | None:
    """Returns the factor `[N]` of each example in the loss; None if all 1."""
    if not self.rule.examples:
      return None
    return 1 + run_params.strength * (run.weights.examples[:, 0] - 1)

  def table(
    self,
    run: state_lib.RunState,
    present: chex.Array,
    rows: chex.Array | slice = slice(None),
  ) -> chex.Array:
    """Returns the averaged weights `[B, M]` of rows; uniform if none exist."""
    if self.rule.weighs:
      return run.weights.average.table[rows]
    return weighting.uniform(present)

  def training_log(
    self, sums: chex.ArrayTree, num_steps: int
  ) -> dict[str, chex.ArrayTree]:
    """Turns the sums of an epoch's steps into its log.

    Args:
      sums: sums of the results of `step` over the epoch, but `skipped` `[T]`
        for each step.
      num_steps: number of steps.

    Returns:
      train_loss and train_score `[U]`, skipped; with experts also routing
      `[L, M, E]` and the mean of each penalty.
    """
    count = jnp.maximum(sums["count"], 1.0)
    log = {
      "train_loss": sums["loss"] / count,
      "train_score": sums["score"] / count,
      "skipped": sums["skipped"],
    }
    if "usage" in sums:
      usage = sums["usage"]
      log["routing"] = (
        usage.importance / jnp.maximum(usage.tokens, 1.0)[..., None]
      )
      log["penalties"] = jax.tree.map(
        lambda x: x / num_steps, sums["penalties"]
      )
    return log

  def measure(
    self, outputs: chex.Array, batch: types.Batch
  ) -> tuple[chex.Array, chex.Array]:
    """Measures a split's outputs `[U, N, K]`.

    Returns loss and score `[U, N, 2]` of each example, and a mask `[U, N]` of
    the examples that each model trains on.
    """
    values = jnp.stack(
      [
        self.task.loss(outputs, batch.target),
        self.task.score(outputs, batch.target),
      ],
      axis=-1,
    )
    return values, self.network.training_mask(batch.present)

  def mean_over_devices(
    self, values: chex.Array, where: chex.Array
  ) -> tuple[chex.Array, chex.Array]:
    """Returns the mean loss and score `[U]` of what `measure` returns."""
    (loss, score), count = jax.lax.psum(
      (
        [
          jnp.sum(jnp.where(where, values[..., i], 0.0), axis=-1)
          for i in range(2)
        ],
        jnp.sum(where, axis=-1),
      ),
      self.axis_name,
    )
    return loss / jnp.maximum(count, 1), score / jnp.maximum(count, 1)

  def apply(
    self,
    params: chex.ArrayTree,
    *args: chex.ArrayTree,
    method: Callable | str | None = None,
  ) -> chex.ArrayTree:
    """Applies the network, or one of its methods, without dropout."""
    return self._sharded_network.apply(
      {"params": params}, *args, train=False, method=method
    )
