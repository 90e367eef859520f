"""Snapshots of a stage while it trains, to go on from after it was stopped."""

from collections.abc import Mapping, Sequence
import pathlib
import shutil
import time
from typing import Any

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.parallel import device_map
from btw_jax.parallel import hosts
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib

_FOLDER = "snapshots"


class StateLayout:
  """The state of runs in a layout that knows no devices, and back again.

  The weights of `[R, S, B, L, M]` are those of the slots of a `plans.SlotLayout`;
  each process writes and reads those of its own.
  """

  def __init__(self, trainer: trainer_lib.Trainer, axes: state_lib.RunState):
    """Prepares both ways.

    Args:
      trainer: of the runs.
      axes: what of their state is spread over devices.
    """
    self._axes = axes
    self._slots = trainer.batch_size // jax.device_count()
    # Slots come after runs and seeds.
    self._frozen = trainer.parallelism.shardings(axes, position=2)
    self.to_global = jax.jit(self._to_global, out_shardings=self._frozen)
    self.to_devices = jax.jit(
      self._to_devices, out_shardings=trainer.parallelism.shardings(axes)
    )

  def abstract(self, run: state_lib.RunState) -> state_lib.RunState:
    """What `freeze` makes of runs, as shapes and where they are.

    Args:
      run: their state.

    Returns:
      The same of `jax.ShapeDtypeStruct`.
    """
    shapes = jax.eval_shape(self._to_global, run)
    return jax.tree.map(
      lambda sharding, part: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        part,
      ),
      self._frozen,
      shapes,
    )

  def _to_global(self, run):
    def by_slot(x):
      x = x.reshape(*x.shape[:-2], self._slots, -1, x.shape[-1])
      x = jnp.moveaxis(x, 0, 2)
      return x.reshape(*x.shape[:2], -1, *x.shape[4:])

    # Copies: what is being written must not be used again meanwhile.
    return device_map.map_axes(run, self._axes, spread=by_slot, same=jnp.copy)

  def _to_devices(self, frozen):
    def by_device(x):
      x = x.reshape(*x.shape[:2], -1, self._slots, *x.shape[3:])
      x = jnp.moveaxis(x, 2, 0)
      return x.reshape(*x.shape[:3], -1, x.shape[-1])

    return device_map.map_axes(frozen, self._axes, spread=by_device)


class TrainCheckpoints:
  """Those of one stage: the latest two, and the best.

  Written while training goes on, whole or not at all.
  """

  def __init__(
    self,
    folder: str,
    stage: str,
    *,
    scalers: Sequence[scaling.Scaler] = (),
    about: Mapping[str, Any] | None = None,
    seconds: float = 0.0,
    resume: bool = True,
  ):
    """Opens a stage's folder.

    Args:
      folder: a workdir.
      stage: its name.
      scalers: of the data; a snapshot of other data is refused.
      about: JSON to write beside every snapshot.
      seconds: time between two, at least; the last of a stage is always kept.
      resume: whether to go on from what is there; it is removed otherwise.
    """
    self._path = pathlib.Path(folder).absolute() / _FOLDER / stage
    self._scalers = [jax.tree.map(np.asarray, s) for s in scalers]
    self._about, self._seconds = dict(about or {}), seconds
    if not resume and not jax.process_index():
      shutil.rmtree(self._path, ignore_errors=True)
    hosts.barrier("snapshots")
    self._writing, self._kept = None, None
    self._last = time.monotonic()
    self._keeper = self._open()

  def _open(self):
    """Orbax's keeper of the folder, without what it cannot make sense of."""
    policies = ocp.training.preservation_policies
    while True:
      try:
        return ocp.training.Checkpointer(
          self._path,
          preservation_policy=policies.AnyPreservationPolicy(
            [
              policies.LatestN(n=2),
              policies.BestN(
                get_metric_fn=lambda m: m["valid_loss"], reverse=True, n=1
              ),
            ]
          ),
          cleanup_tmp_directories=True,
        )
      except Exception as error:  # Whatever a damaged file makes of it.
        newest = self._newest()
        if newest is None:
          raise
        self._give_up(newest, error)

  def _newest(self):
    found = [p.name for p in self._path.glob("*") if p.name.isdecimal()]
    return max(map(int, found), default=None)

  def _give_up(self, turn, error):
    """Removes a snapshot that cannot be read."""
    logging.warning(
      "%s: cannot be read (%s): trying the one before",
      self._path / str(turn),
      model_checkpoints.reason(error),
    )
    hosts.barrier("damaged snapshot")
    if not jax.process_index():
      shutil.rmtree(self._path / str(turn), ignore_errors=True)
    hosts.barrier("damaged snapshot removed")

  def latest(
    self, layout: StateLayout, run: state_lib.RunState
  ) -> tuple[int, state_lib.RunState, Any] | None:
    """The latest snapshot that can be read.

    Args:
      layout: of the runs.
      run: their state before the first epoch.

    Returns:
      The turn it was written after, the state and what was written beside it;
      None if there is none.

    Raises:
      InputError: if the data has changed since.
    """
    abstract = self._tree(layout.abstract(run))
    while (turn := self._newest()) is not None:
      try:
        tree = self._keeper.load(turn, abstract)
        beside = self._keeper.metadata(turn).custom_metadata["beside"]
      except Exception as error:  # Whatever a damaged file makes of it.
        self._give_up(turn, error)
        self._keeper = self._open()
        continue
      self._check_scalers(tree["scalers"])
      self._kept = turn
      return turn, layout.to_devices(tree["run"]), beside
    return None

  def due(self) -> bool:
    """Whether it is time for another."""
    return time.monotonic() - self._last >= self._seconds

  def save(
    self,
    turn: int,
    layout: StateLayout,
    run: state_lib.RunState,
    valid_loss: float,
    beside: Any,
  ) -> None:
    """Starts to write one; a failure is told, and training goes on.

    Args:
      turn: that it is written after, counted over epochs.
      layout: of the runs.
      run: their state after it.
      valid_loss: the mean over runs, which the best is chosen by.
      beside: JSON to give back with the state.
    """
    self.finish()
    tree = self._tree(layout.to_global(run))
    try:
      response = self._keeper.save_async(
        turn,
        tree,
        force=True,
        metrics={"valid_loss": float(valid_loss)},
        custom_metadata={"config": self._about, "beside": beside},
      )
      self._writing = turn, response
    except Exception as error:  # Whatever a full disk makes of it.
      self._failed(turn, error)
    self._last = time.monotonic()

  def finish(self) -> None:
    """Waits until the one being written is whole."""
    if self._writing is None:
      return
    (turn, response), self._writing = self._writing, None
    try:
      response.result()
      self._kept = turn
    except Exception as error:  # Of a thread, wrapped by each of its layers.
      self._failed(turn, error)

  def close(self) -> None:
    """Waits for what is being written, and lets go of the folder."""
    self.finish()
    self._keeper.close()

  def _failed(self, turn, error):
    before = "no snapshot is there"
    if self._kept is not None:
      before = f"snapshot {self._kept} is kept"
    logging.warning(
      "%s: was not written (%s): %s",
      self._path / str(turn),
      model_checkpoints.reason(error),
      before,
    )
    if jax.process_count() > 1:
      # The others wait for this one's part.
      raise error
    self._keeper = self._open()

  def _tree(self, frozen):
    return {"run": frozen, "scalers": self._scalers}

  def _check_scalers(self, saved):
    for there, here in zip(saved, self._scalers, strict=True):
      for field, a, b in zip(here._fields, there, here, strict=True):
        if not np.allclose(a, b, rtol=1e-5, atol=1e-6):
          raise errors.InputError(
            f"{self._path}: was trained on other data (its {field} differs):"
            " give the same, choose another --workdir, or start anew with"
            " --noresume."
          )
