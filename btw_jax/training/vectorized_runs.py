"""Many runs as axes of one program, `[R, S, ...]`.

R cells (weighting x strength x scale) and S seeds. Cells of a seed share its
examples, masks and unimodal outputs: these stay unmapped in the axis of cells,
hence are gathered and drawn once.
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
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import weighting_rule

# What an argument has axes of, as `map_runs` takes it: of seeds, then of cells.
PER_RUN, PER_SETTING, PER_SEED, SHARED = (
  (0, 0),
  (None, 0),
  (0, None),
  (None, None),
)


class RunSpec(NamedTuple):
  """What one run is about.

  Attributes:
    variant: a name of `weighting.VARIANTS` or of the rule's `examples`.
    strength: λ in [0, 1].
    scale: the embedding scale c.
  """

  variant: str
  strength: float
  scale: float


def stack_params(
  rule: weighting_rule.Rule, choices: Sequence[RunSpec]
) -> state_lib.RunParams:
  """Choices as arrays.

  Args:
    rule: knows the variants in use.
    choices: R of them.

  Returns:
    A `Cell` of `[R]` arrays.
  """
  variants = list(rule.variants)
  return state_lib.RunParams(
    variant=jnp.asarray([variants.index(c.variant) for c in choices]),
    strength=jnp.asarray([c.strength for c in choices], jnp.float32),
    scale=jnp.asarray([c.scale for c in choices], jnp.float32),
  )


def select_run(best: chex.ArrayTree, index: int) -> chex.ArrayTree:
  """The runs of one cell.

  Args:
    best: pytree of `[R, S, ...]`.
    index: a position in R.

  Returns:
    Pytree of `[S, ...]`.
  """
  return jax.tree.map(lambda x: x[index], best)


def map_runs(
  function: Callable[..., chex.ArrayTree],
  axes: Sequence[tuple[Any, Any]],
  *,
  in_turn: bool = False,
) -> Callable[..., chex.ArrayTree]:
  """Maps a function of one run over seeds (inner) and cells (outer).

  Args:
    function: of as many arguments as `axes`.
    axes: of each argument, its axis of seeds and that of cells, as
      `jax.vmap` takes them: `PER_RUN`, `PER_SETTING`, `PER_SEED` or `SHARED`.
    in_turn: one cell after another, as suits processors whose caches hold the
      state of one cell, but not of all.

  Returns:
    A function of the same arguments, its results `[R, S, ...]`.
  """
  of_seeds, of_cells = zip(*axes, strict=True)
  of_cell = jax.vmap(function, of_seeds)
  if not in_turn:
    return jax.vmap(of_cell, of_cells)

  def every(*args):
    of_each = [axis == 0 for axis in of_cells]
    own = [a for a, each in zip(args, of_each, strict=True) if each]

    def of_own(own):
      own = iter(own)
      whole = zip(args, of_each, strict=True)
      return of_cell(*(next(own) if each else a for a, each in whole))

    return jax.lax.map(of_own, own)

  return every


def of_split(split: types.Split, *, devices: bool = False) -> tuple[Any, None]:
  """Axes of a split.

  Args:
    split: its examples may be shared by the seeds, `[N, ...]`; unimodal outputs
      are each seed's own.
    devices: whether it has an axis of devices before those.

  Returns:
    For `map_runs`.
  """
  batch = 0 if split.batch.present.ndim == 3 + devices else None
  unimodal = None if split.unimodal is None else 0
  return types.Split(batch, unimodal), None


def spread(
  trainer: trainer_lib.Trainer, run: state_lib.RunState | None
) -> state_lib.RunState:
  """What of a run is spread over devices: the weights of their examples.

  Args:
    trainer: of the run.
    run: its state, or the shapes of it; not needed where every device has all
      experts.

  Returns:
    For `device_map.parallelise`.
  """
  same, weights = device_map.REPLICATED, None
  if trainer.rule.weighs:
    table = weighting.WeightState(device_map.SHARDED, same, same)
    examples = device_map.SHARDED if trainer.rule.examples else None
    weights = state_lib.Weights(table, same, examples)
  if trainer.parallelism.experts == 1:
    return state_lib.RunState(same, weights, same)
  params = params_axes(trainer, run.train.params, 2)
  optimizer = expert_parallel.axes_of_optimizer(
    trainer.guarded, run.train.opt_state, params
  )
  return state_lib.RunState(
    state_lib.TrainState(same, params, optimizer),
    weights,
    state_lib.Best(same, same, params, same),
  )


def params_axes(
  trainer: trainer_lib.Trainer, params: chex.ArrayTree, num_before: int
) -> Any:
  """What of parameters is spread over devices: those of shared experts.

  Args:
    trainer: what is trained.
    params: the network's, or their shapes.
    num_before: axes of runs that they have.

  Returns:
    For `device_map.parallelise`.
  """
  if trainer.parallelism.experts == 1:
    return device_map.REPLICATED
  return expert_parallel.axes_of_params(
    trainer.network.of_experts(params), num_before
  )


def init(
  trainer: trainer_lib.Trainer,
  num_cells: int,
  seeds: chex.Array,
  train: types.Split,
) -> tuple[state_lib.RunState, state_lib.RunState]:
  """All runs before their first step; those of a seed are alike.

  Args:
    trainer: what to train.
    num_cells: R.
    seeds: `[S]`.
    train: training split, spread over devices.

  Returns:
    State `[R, S, ...]`, and what of it is spread over devices.
  """
  one = train._replace(unimodal=None)
  of_seeds = jax.vmap(trainer.init, (0, of_split(one, devices=True)[0]))

  def every(seeds, one):
    return jax.tree.map(
      lambda x: jnp.broadcast_to(x, (num_cells, *x.shape)),
      of_seeds(seeds, one),
    )

  shapes = None
  if trainer.parallelism.experts > 1:
    of_device = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), one
    )
    shapes = jax.eval_shape(every, seeds, of_device)
  axes = spread(trainer, shapes)
  mapped = device_map.parallelise(
    lambda *args: expert_parallel.own_part(every(*args), axes),
    (device_map.REPLICATED, device_map.SHARDED),
    axes,
    how=trainer.parallelism,
  )
  # Loops of random bits take seconds to compile, and a moment to run.
  return mapped.compile(seeds, one, run_once=True)(seeds, one), axes
