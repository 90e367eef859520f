"""Many runs as the axes `[R, S, ...]` of one program.

R settings (weighting variant x strength x embedding scale) and S seeds. The
settings of a seed share its examples, dropout masks and unimodal outputs: these
are not mapped over settings, hence are gathered and drawn once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax import weighting
from btw_jax.parallel import device_map
from btw_jax.parallel import expert_parallel
from btw_jax.training import example_source
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import weighting_rule

# The axes of seeds and of settings of an argument of `map_runs`.
PER_RUN, PER_SETTING = (0, 0), (None, 0)
PER_SEED, SHARED = (0, None), (None, None)
# The variant that weighs idle modalities 0 and all others the same.
GATE = "gate"


class RunSpec(NamedTuple):
  """One setting, by name.

  Attributes:
    variant: a name of `weighting.VARIANTS` or of the rule's `examples`, or
      `GATE`: uniform weights of the modalities that are open.
    strength: λ in [0, 1].
    scale: the embedding scale c.
    is_open: whether each of M modalities is open; None if all are.
    last_epoch: the epoch whose model is kept, for each of U models; None to
      keep the one with the lowest validation loss.
    rate: factor of the optimizer's updates; None for 1.
    balance: name of the method that balances the modalities; none if empty.
    value: the method's own setting; None without a method.
  """

  variant: str
  strength: float
  scale: float
  is_open: tuple[bool, ...] | None = None
  last_epoch: tuple[int, ...] | None = None
  rate: float | None = None
  balance: str = ""
  value: float | None = None

  @property
  def run_name(self) -> str:
    """The name of the setting's runs in tables, within their stage."""
    name = self.variant
    if self.balance:
      name = method_name(self.variant, self.balance)
      name += "" if self.value is None else f"@{self.value:g}"
    return name


def method_name(variant: str, balance: str) -> str:
  """Returns the name of a variant that is trained with a balancing method."""
  return balance if variant == "uniform" else f"{variant}-{balance}"


def stack_params(
  rule: weighting_rule.Rule, specs: Sequence[RunSpec]
) -> state_lib.RunParams:
  """Returns settings as arrays `[R]`; the rule numbers their variants.

  Either all settings have an optional field, or none.
  """
  variants = list(rule.variants)
  names = ["uniform" if s.variant == GATE else s.variant for s in specs]

  def stack_optional(field):
    values = [getattr(spec, field) for spec in specs]
    return None if values[0] is None else jnp.asarray(values)

  return state_lib.RunParams(
    variant=jnp.asarray([variants.index(name) for name in names]),
    strength=jnp.asarray([s.strength for s in specs], jnp.float32),
    scale=jnp.asarray([s.scale for s in specs], jnp.float32),
    is_open=stack_optional("is_open"),
    last_epoch=stack_optional("last_epoch"),
    rate=stack_optional("rate"),
    value=stack_optional("value"),
  )


def select_setting(tree: chex.ArrayTree, index: int) -> chex.ArrayTree:
  """Returns the runs `[S, ...]` of one setting of `[R, S, ...]`."""
  return jax.tree.map(lambda x: x[index], tree)


def map_runs(
  function: Callable[..., chex.ArrayTree],
  axes: Sequence[tuple[Any, Any]],
  *,
  in_turn: bool = False,
) -> Callable[..., chex.ArrayTree]:
  """Maps a function of one run over seeds (inner) and settings (outer).

  Args:
    function: takes as many arguments as `axes` has entries.
    axes: for each argument its axis of seeds and that of settings, as
      `jax.vmap` takes them: `PER_RUN`, `PER_SETTING`, `PER_SEED` or `SHARED`.
    in_turn: whether to compute one setting after another, which is faster on
      processors whose caches hold the state of one setting but not of all.

  Returns:
    A function of the same arguments, its results `[R, S, ...]`.
  """
  seed_axes, setting_axes = zip(*axes, strict=True)
  map_seeds = jax.vmap(function, seed_axes)
  if not in_turn:
    return jax.vmap(map_seeds, setting_axes)

  def map_settings(*args):
    is_mapped = [axis == 0 for axis in setting_axes]
    mapped = [a for a, m in zip(args, is_mapped, strict=True) if m]

    def call(mapped):
      mapped = iter(mapped)
      pairs = zip(args, is_mapped, strict=True)
      return map_seeds(*(next(mapped) if m else a for a, m in pairs))

    return jax.lax.map(call, mapped)

  return map_settings


def state_axes(
  trainer: trainer_lib.Trainer, run: state_lib.RunState | None
) -> state_lib.RunState:
  """Returns which parts of the state are sharded over devices.

  The weights are sharded with their examples, and experts if they are shared
  out; only then is the state `run`, or its shapes, needed. The axes are for
  `device_map.parallelise`.
  """
  replicated, weights = device_map.REPLICATED, None
  if trainer.rule.weighs:
    table = weighting.WeightState(device_map.SHARDED, replicated, replicated)
    examples = device_map.SHARDED if trainer.rule.examples else None
    weights = state_lib.Weights(table, replicated, examples)
  if trainer.parallelism.experts == 1:
    return state_lib.RunState(replicated, weights, replicated)
  params = params_axes(trainer, run.train.params, 2)
  opt_state = expert_parallel.axes_of_optimizer(
    trainer.guarded_optimizer, run.train.opt_state, params
  )
  return state_lib.RunState(
    state_lib.TrainState(replicated, params, opt_state, replicated),
    weights,
    state_lib.Best(replicated, replicated, params, replicated, replicated),
  )


def params_axes(
  trainer: trainer_lib.Trainer, params: chex.ArrayTree, num_before: int
) -> Any:
  """Returns which parameters are sharded over devices: those of experts.

  `params` are the network's parameters or their shapes, after `num_before` axes
  of runs. The axes are for `device_map.parallelise`.
  """
  if trainer.parallelism.experts == 1:
    return device_map.REPLICATED
  return expert_parallel.axes_of_params(
    trainer.network.expert_mask(params), num_before
  )


def init(
  trainer: trainer_lib.Trainer,
  num_settings: int,
  seeds: chex.Array,
  train: types.Split,
  num_valid: int = 0,
) -> tuple[state_lib.RunState, state_lib.RunState]:
  """Initialises R x S runs; the settings of a seed start alike.

  `train` is the sharded training split, `num_valid` the number of validation
  examples. Returns the state `[R, S, ...]`, and
  which parts of it are sharded over devices.
  """
  train = train._replace(unimodal=None)
  axes_of_seeds = example_source.split_axes(train, sharded=True)
  # An argument, so that XLA does not take large arrays for constants.
  pretrained = trainer.read_pretrained() if trainer.read_pretrained else {}
  init_seeds = jax.vmap(
    lambda seed, train, pretrained: trainer.init(
      seed, train, num_valid, pretrained
    ),
    (0, axes_of_seeds, None),
  )

  def init_runs(seeds, train, pretrained):
    return jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num_settings, *x.shape)),
      init_seeds(seeds, train, pretrained),
    )

  shapes = None
  if trainer.parallelism.experts > 1:
    shard = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), train
    )
    shapes = jax.eval_shape(init_runs, seeds, shard, pretrained)
  axes = state_axes(trainer, shapes)
  mapped = device_map.parallelise(
    lambda *args: expert_parallel.local_experts(init_runs(*args), axes),
    (device_map.REPLICATED, device_map.SHARDED, device_map.REPLICATED),
    axes,
    how=trainer.parallelism,
  )
  args = seeds, train, pretrained
  # Random bits come from loops that take seconds to optimise and run once.
  return mapped.compile(*args, run_once=True)(*args), axes
