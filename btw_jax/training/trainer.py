"""The training step, on a batch that is spread over devices."""

from collections.abc import Callable, Mapping
import dataclasses
import functools

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import optax

from btw_jax import forward as forward_lib
from btw_jax import tasks
from btw_jax import types
from btw_jax import weighting
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import expert_parallel
from btw_jax.training import model_groups
from btw_jax.training import state as state_lib
from btw_jax.training import weighting_rule

# Streams of random numbers, folded into a run's seed.
_INIT, _SHUFFLE, _DROPOUT, _SAMPLE, _HOOK = range(5)
_TOKENS_AT_ONCE = 2**16

Hook = Callable[
  [forward_lib.Forward, chex.Array, chex.Array, chex.PRNGKey], chex.Array
]


@dataclasses.dataclass(frozen=True)
class Trainer:
  """All that is fixed while a program trains; its methods are pure.

  Attributes:
    network: a module of `models.networks`.
    task: what its outputs mean.
    optimizer: its updates must act on each parameter alone.
    batch_size: examples of a step, over all devices.
    rule: how weights are computed.
    penalties: what the network's `penalties` cost, name -> factor.
    max_norm: gradients are shortened to it, each model's own; None leaves them.
    patience: epochs without a better one after which a run keeps what it has.
    parallelism: the devices, and how the program is mapped over them.
    max_skipped: steps in a row that may be skipped because their gradient is
      not finite.
    hook: what is minimised besides the loss, `[U, B]` of each example, by the
      forward pass, its embeddings and outputs, and a key.
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
  hook: Hook | None = None

  def init(self, seed: chex.Array, train: types.Split) -> state_lib.RunState:
    """A run before its first step.

    Args:
      seed: scalar int.
      train: the training split.

    Returns:
      Its state, the same for every cell of a seed.
    """
    batch = jax.tree.map(lambda x: x[:1], train.batch)
    params = self.network.init(_key(seed, _INIT), batch, None, train=False)[
      "params"
    ]
    num_models = self.network.where(batch.present).shape[0]
    weights = guide = None
    num_examples, num_modalities = train.batch.present.shape
    if self.rule.weighs:
      average = weighting.init(
        num_examples, num_modalities, train.batch.present
      )
      none = {m: jnp.zeros(num_modalities) for m in self.rule.measures}
      examples = jnp.ones((num_examples, 1)) if self.rule.examples else None
      weights = state_lib.Weights(average, none, examples)
      # Equal weights, also where each device knows its own examples alone.
      prior = jnp.full(num_modalities, 1 / num_modalities, jnp.float32)
      guide = state_lib.UnseenPrior(prior, average.alpha, none)
    return state_lib.RunState(
      state_lib.TrainState(jnp.int32(0), params, self.guarded.init(params)),
      weights,
      state_lib.Best(
        # A weak type would compile the second epoch anew.
        loss=jnp.full(num_models, jnp.inf, jnp.float32),
        epoch=jnp.full(num_models, -1, jnp.int32),
        params=params,
        guide=guide,
      ),
    )

  def step(
    self,
    state: state_lib.TrainState,
    batch: types.Batch,
    multipliers: chex.Array | None,
    seed: chex.Array,
    importance: chex.Array | None = None,
  ) -> tuple[state_lib.TrainState, chex.ArrayTree]:
    """One update on a batch that is spread over devices.

    Args:
      state: what to update.
      batch: this device's share.
      multipliers: `[B, M]` of the embeddings, or None for the plain model.
      seed: scalar int; what is drawn, it and the number of the step decide.
      importance: `[B]` how much each example counts in what is minimised; all
        the same by default.

    Returns:
      The next state, and sums over the whole batch: loss, score, count `[U]`;
      with experts also how they were used, and the penalties for it; `skipped`,
      steps in a row that changed nothing, this one the last of them, because
      their gradient was not finite.
    """
    where = self.network.where(batch.present)
    count = jax.lax.psum(
      jnp.sum(where, axis=-1).astype(jnp.float32), self.axis_name
    )
    key, key_of_hook = (
      jax.random.fold_in(_key(seed, stream), state.step)
      for stream in (_DROPOUT, _HOOK)
    )

    def loss(params):
      forward = forward_lib.Forward(
        self._spread_network,
        self.task,
        params,
        batch,
        multipliers,
        key,
        seed,
        self.axis_name,
      )
      embeddings = forward.encode(batch)
      outputs, usage = forward.fuse(embeddings, batch, multipliers)
      losses = paid = forward.losses(outputs, batch)
      if self.hook is not None:
        paid = paid + self.hook(forward, embeddings, outputs, key_of_hook)
      if importance is not None:
        paid = importance * paid
      mean = jnp.sum(jnp.sum(paid, axis=-1) / jnp.maximum(count, 1.0))
      scores = self.task.score(outputs, batch.target)
      scores = forward.counted(scores, batch)
      losses, scores = (jnp.sum(x, axis=-1) for x in (losses, scores))
      sums = {"loss": losses, "score": scores}
      if usage is not None:
        mean += self._cost(usage)
        sums["usage"] = usage
      return mean, sums

    gradients, sums = jax.grad(loss, has_aux=True)(state.params)
    gradients, sums = self._total(gradients, sums)
    if self.max_norm is not None:
      owners = self.network.models(gradients)
      gradients = model_groups.clip(
        gradients, self.max_norm, owners, len(count), self._add_up
      )
    updates, opt_state = self.guarded.update(
      gradients, state.opt_state, state.params
    )
    params = optax.apply_updates(state.params, updates)
    next_state = state_lib.TrainState(state.step + 1, params, opt_state)
    if "usage" in sums:
      sums["penalties"] = self.network.penalties(sums["usage"])
    return next_state, {
      **sums,
      "count": count,
      "skipped": opt_state.notfinite_count,
    }

  @property
  def axis_name(self):
    """Of the devices that examples are spread over."""
    return self.parallelism.axis_name

  def _total(self, gradients, sums):
    """Both, added up over devices."""
    if self.parallelism.experts == 1:
      return device_map.total((gradients, sums), self.axis_name)
    of_experts = self.network.of_experts(gradients)
    return expert_parallel.total(gradients, sums, of_experts, self.axis_name)

  def _add_up(self, values):
    """The sum over all parameters."""
    if self.parallelism.experts == 1:
      return model_groups.add_up(values)
    return expert_parallel.add_up(values, self.network.of_experts(values))

  @functools.cached_property
  def guarded(self):
    """The optimizer, which passes over gradients that are not finite."""
    for_ever = jnp.iinfo(jnp.int32).max
    return optax.apply_if_finite(self.optimizer, for_ever)

  @functools.cached_property
  def _spread_network(self):
    """The network, its batches spread over devices."""
    experts = device_map.EXPERTS if self.parallelism.experts > 1 else None
    sizes = dataclasses.replace(
      self.network.sizes, axis_name=self.axis_name, experts_axis_name=experts
    )
    return self.network.clone(sizes=sizes)

  def order(
    self,
    seed: chex.Array,
    epoch: chex.Array,
    slots: chex.Array,
    num_examples: int,
  ) -> chex.Array:
    """The order in which slots of a batch see their examples in an epoch.

    Args:
      seed: scalar int.
      epoch: scalar int, from 0.
      slots: `[n]` of a `plans.SlotLayout`.
      num_examples: N of the training set, static.

    Returns:
      `[num_batches, n]` places of examples; of a slot that has one more, a
      different one is left out every epoch.
    """
    layout = plans.SlotLayout(num_examples, self.batch_size)
    order = self._draw(_SHUFFLE, seed, epoch, slots, layout)
    return order[:, : layout.num_batches].T

  def sample(
    self,
    seed: chex.Array,
    epoch: chex.Array,
    slots: chex.Array,
    num_examples: int,
  ) -> chex.Array | None:
    """Examples whose neighbours are sought in an epoch.

    Args:
      seed: scalar int.
      epoch: scalar int, from 0.
      slots: `[n]` of a `plans.SlotLayout`, side by side.
      num_examples: N of the training set, static.

    Returns:
      `[C]` rows of the examples of these slots, as many of each; None for all.
    """
    if num_examples <= self.rule.num_samples:
      return None
    layout = plans.SlotLayout(num_examples, self.batch_size)
    each = max(1, self.rule.num_samples // self.batch_size)
    places = self._draw(_SAMPLE, seed, epoch, slots, layout)[:, :each]
    starts = jnp.arange(len(slots))[:, None] * layout.length
    return (starts + places).reshape(-1)

  def _draw(self, stream, seed, epoch, slots, layout):
    """Places of the examples of each slot in random order, `[n, L]`."""
    key = jax.random.fold_in(_key(seed, stream), epoch)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, slots)
    drawn = jax.vmap(
      lambda key: jax.random.bits(key, (layout.length,), jnp.uint32)
    )(keys)
    place = jnp.arange(layout.length)
    there = place * self.batch_size + slots[:, None] < layout.num_examples
    # What is not there comes last.
    last = jnp.uint32(2**32 - 1)
    return jnp.argsort(jnp.where(there, drawn >> 1, last), axis=1)

  def batch_step(
    self,
    run: state_lib.RunState,
    cell: state_lib.RunParams,
    seed: chex.Array,
    batch: types.Batch,
    rows: chex.Array,
  ) -> tuple[state_lib.RunState, chex.ArrayTree]:
    """One update on a batch that was read from elsewhere.

    Args:
      run: the run.
      cell: what the run is about.
      seed: scalar int.
      batch: this device's share, `[B, ...]`.
      rows: `[B]` where its examples are in this device's part of the table.

    Returns:
      The run, and what `step` sums.
    """
    multipliers = weighting.multipliers(
      self.table(run, batch.present, rows),
      batch.present,
      strength=cell.strength,
      scale=cell.scale,
    )
    importance = self.importance(run, cell)
    state, sums = self.step(
      run.train,
      batch,
      multipliers,
      seed,
      None if importance is None else importance[rows],
    )
    return run._replace(train=state), sums

  def importance(
    self, run: state_lib.RunState, cell: state_lib.RunParams
  ) -> chex.Array | None:
    """How much each training example `[N]` counts; None if all the same."""
    if not self.rule.examples:
      return None
    return 1 + cell.strength * (run.weights.examples[:, 0] - 1)

  def table(
    self,
    run: state_lib.RunState,
    present: chex.Array,
    rows: chex.Array | slice = slice(None),
  ) -> chex.Array:
    """Weights `[B, M]` of training examples, by place; uniform if plain."""
    if self.rule.weighs:
      return run.weights.average.table[rows]
    return weighting.uniform(present)

  def training_log(
    self, sums: chex.ArrayTree, num_steps: int
  ) -> dict[str, chex.ArrayTree]:
    """What an epoch logs of its training.

    Args:
      sums: of what `step` returns, over the epoch; of `skipped` each step's,
        `[T]`.
      num_steps: steps that they are of.

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
    """Mean loss and score `[U]` of a split's outputs `[U, N, K]`."""
    where = self.network.where(batch.present)

    def add_up(values):
      return jnp.sum(jnp.where(where, values, 0.0), axis=-1)

    loss, score, count = jax.lax.psum(
      (
        add_up(self.task.loss(outputs, batch.target)),
        add_up(self.task.score(outputs, batch.target)),
        jnp.sum(where, axis=-1),
      ),
      self.axis_name,
    )
    return loss / jnp.maximum(count, 1), score / jnp.maximum(count, 1)

  @property
  def at_once(self):
    """Examples to predict at once: attention keeps a square of their tokens."""
    return max(1, _TOKENS_AT_ONCE // len(self.network.sizes.tokens))

  def _cost(self, usage):
    """Added to the loss of this device: its share of what penalties cost.

    They are of the whole batch. To first order, hence in the gradient, each
    device adds its own sums times the derivative at the sums of all.
    """

    def cost(usage):
      found = self.network.penalties(usage)
      return sum(self.penalties.get(name, 0.0) * v for name, v in found.items())

    everywhere = jax.lax.psum(usage, self.axis_name)
    slopes = jax.grad(cost)(jax.lax.stop_gradient(everywhere))
    return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, slopes, usage)))

  def apply(
    self,
    params: chex.ArrayTree,
    *args: chex.ArrayTree,
    method: Callable | str | None = None,
  ) -> chex.ArrayTree:
    """What the network, or a method of it, gives without dropout."""
    return self._spread_network.apply(
      {"params": params}, *args, train=False, method=method
    )


def _key(seed, stream):
  return jax.random.fold_in(jax.random.key(seed), stream)
