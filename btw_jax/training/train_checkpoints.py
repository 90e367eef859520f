"""Checkpoints of a stage while it trains, to resume it after a stop."""

from collections.abc import Mapping, Sequence
import os
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
from btw_jax.training import checksums
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib

_FOLDER, _UNREADABLE = "snapshots", ".unreadable"


class StateLayout:
  """The conversion of runs between devices and a form without devices.

  On disk the weights are `[R, S, B, L, M]`, by slot of a `plans.SlotLayout`, so
  that a run resumes on any number of devices. Each process writes and reads the
  weights of its own slots.
  """

  def __init__(self, trainer: trainer_lib.Trainer, axes: state_lib.RunState):
    """Prepares both conversions.

    Args:
      trainer: the trainer.
      axes: which parts of the state are sharded over devices.
    """
    self._axes = axes
    self._slots_per_device = trainer.batch_size // jax.device_count()
    # The axis of slots comes after those of settings and seeds.
    self._global_shardings = trainer.parallelism.shardings(axes, position=2)
    self.to_global = jax.jit(
      self._to_global, out_shardings=self._global_shardings
    )
    self.to_devices = jax.jit(
      self._to_devices, out_shardings=trainer.parallelism.shardings(axes)
    )

  def abstract(self, run: state_lib.RunState) -> state_lib.RunState:
    """Returns shapes and shardings of `to_global(run)`."""
    shapes = jax.eval_shape(self._to_global, run)
    return jax.tree.map(
      lambda sharding, subtree: jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        subtree,
      ),
      self._global_shardings,
      shapes,
    )

  def _to_global(self, run):
    def by_slot(x):
      x = x.reshape(*x.shape[:-2], self._slots_per_device, -1, x.shape[-1])
      x = jnp.moveaxis(x, 0, 2)
      return x.reshape(*x.shape[:2], -1, *x.shape[4:])

    # Copies, because training goes on, and reuses the memory of the state,
    # while the checkpoint is being written.
    return device_map.map_axes(
      run, self._axes, sharded=by_slot, others=jnp.copy
    )

  def _to_devices(self, run):
    def by_device(x):
      x = x.reshape(*x.shape[:2], -1, self._slots_per_device, *x.shape[3:])
      x = jnp.moveaxis(x, 2, 0)
      return x.reshape(*x.shape[:3], -1, x.shape[-1])

    return device_map.map_axes(run, self._axes, sharded=by_device)


def read_about(
  folder: str | os.PathLike,
) -> dict[pathlib.Path, Mapping[str, Any]]:
  """Reads the JSON beside the newest checkpoint of every stage.

  Args:
    folder: a workdir.

  Returns:
    Path of the checkpoint -> JSON. Those that cannot be read are left out.
  """
  about = {}
  for stage in sorted(pathlib.Path(folder).absolute().glob(f"{_FOLDER}/*")):
    newest = _newest(stage)
    if newest is not None:
      path = stage / str(newest)
      try:
        about[path] = ocp.checkpointables_metadata(path).custom_metadata
      except Exception as error:  # A damaged file can raise any exception.
        logging.debug("%s: cannot be read (%s)", path, error)
  return about


def _newest(stage, below=np.inf):
  """Returns the position of a stage's newest checkpoint, or None."""
  names = [p.name for p in stage.glob("*") if p.name.isdecimal()]
  return max((n for n in map(int, names) if n < below), default=None)


class TrainCheckpoints:
  """The checkpoints of one stage: the latest two, and the best one.

  They are written while training goes on, in full or not at all.
  """

  def __init__(
    self,
    folder: str,
    stage: str,
    *,
    scalers: Sequence[scaling.Scaler] = (),
    about: Mapping[str, Any] | None = None,
    inputs: str = "",
    seconds: float = 0.0,
    resume: bool = True,
  ):
    """Opens a stage's folder.

    Args:
      folder: a workdir.
      stage: name of the stage.
      scalers: of the data; a checkpoint of other data is refused.
      about: JSON to write beside every checkpoint, for `read_about`.
      inputs: fingerprint of what the stage builds on; it starts anew if that
        has changed.
      seconds: least time between two; the last one of a stage is always saved.
      resume: whether to keep what the folder holds; it is removed otherwise.
    """
    self._path = pathlib.Path(folder).absolute() / _FOLDER / stage
    self._scalers = [jax.tree.map(np.asarray, s) for s in scalers]
    self._about, self._seconds = dict(about or {}), seconds
    self._inputs = inputs
    if not resume:
      self._remove()
    hosts.barrier("training checkpoints")
    self._writing, self._latest_written = None, None
    self._last_save = time.monotonic()
    self._checkpointer = self._open()

  def _open(self):
    """Opens Orbax's checkpointer, after setting aside what it cannot read."""
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
      except Exception as error:  # A damaged file can raise any exception.
        newest = _newest(self._path)
        if newest is None:
          raise
        self._set_aside(newest, error)

  def _remove(self):
    """Removes all checkpoints of the stage."""
    if not jax.process_index():
      shutil.rmtree(self._path, ignore_errors=True)

  def _set_aside(self, position, error):
    """Renames a checkpoint, which may be whole: reading can fail for a time."""
    path = self._path / str(position)
    aside = path.with_suffix(_UNREADABLE)
    before = _newest(self._path, below=position)
    logging.warning(
      "%s: cannot be read (%s): it is kept as %s; %s",
      path,
      model_checkpoints.short_reason(error),
      aside.name,
      "the stage starts anew"
      if before is None
      else f"trying the one before, {before}",
    )
    hosts.barrier("unreadable checkpoint")
    if not jax.process_index():
      shutil.rmtree(aside, ignore_errors=True)
      path.rename(aside)
    hosts.barrier("unreadable checkpoint set aside")

  def latest(
    self, layout: StateLayout, run: state_lib.RunState
  ) -> tuple[int, state_lib.RunState, Any] | None:
    """Reads the latest checkpoint that is not damaged.

    `run` is the state before the first epoch. Returns the position that the
    checkpoint was written at, the state, and the JSON beside it; None if there
    is no checkpoint.

    Raises:
      InputError: if the data has changed since.
    """
    abstract = self._to_tree(layout.abstract(run))
    while (position := _newest(self._path)) is not None:
      try:
        tree = self._checkpointer.load(position, abstract)
        metadata = self._checkpointer.metadata(position).custom_metadata
        beside, inputs = metadata["beside"], metadata.get("inputs", "")
        damaged = model_checkpoints.differing(metadata, tree)
        if damaged:
          raise ValueError(f"the checksum of {damaged[0]} differs")
      except Exception as error:  # A damaged file can raise any exception.
        self._set_aside(position, error)
        self._checkpointer = self._open()
        continue
      self._check_scalers(tree["scalers"])
      if inputs and inputs != self._inputs:
        logging.info(
          "%s: starts anew, because what it builds on has changed",
          self._path.name,
        )
        self._checkpointer.close()
        hosts.barrier("training checkpoints of other inputs")
        self._remove()
        hosts.barrier("training checkpoints removed")
        self._checkpointer = self._open()
        return None
      self._latest_written = position
      best = model_checkpoints.from_disk(state_lib.Best, tree["run"].best)
      run = tree["run"]._replace(best=best)
      return position, layout.to_devices(run), beside
    return None

  def due(self) -> bool:
    """Returns whether enough time has passed since the last checkpoint."""
    return time.monotonic() - self._last_save >= self._seconds

  def save(
    self,
    position: int,
    layout: StateLayout,
    run: state_lib.RunState,
    valid_loss: float,
    beside: Any,
  ) -> None:
    """Starts to write a checkpoint; a failure is logged, training goes on.

    Args:
      position: position in training, counted over all epochs.
      layout: the conversion of the runs.
      run: their state at that position.
      valid_loss: the mean over runs, by which the best one is kept.
      beside: JSON to return with the state.
    """
    self.finish()
    tree = self._to_tree(layout.to_global(run))
    try:
      response = self._checkpointer.save_async(
        position,
        tree,
        force=True,
        metrics={"valid_loss": float(valid_loss)},
        custom_metadata={
          **self._about,
          "inputs": self._inputs,
          "beside": beside,
          model_checkpoints.CHECKSUMS: checksums.of_tree(tree),
        },
      )
      self._writing = position, response
    except Exception as error:  # A full disk can raise any exception.
      self._log_failure(position, error)
    self._last_save = time.monotonic()

  def finish(self) -> None:
    """Waits until the checkpoint that is being written is complete."""
    if self._writing is None:
      return
    (position, response), self._writing = self._writing, None
    try:
      response.result()
      self._latest_written = position
    except Exception as error:  # Orbax wraps the error of its thread.
      self._log_failure(position, error)

  def close(self) -> None:
    """Waits for the checkpoint being written, and closes the folder."""
    self.finish()
    self._checkpointer.close()

  def _log_failure(self, position, error):
    before = "there is no earlier one"
    if self._latest_written is not None:
      before = f"checkpoint {self._latest_written} is kept"
    logging.warning(
      "%s: was not written (%s): %s",
      self._path / str(position),
      model_checkpoints.short_reason(error),
      before,
    )
    if jax.process_count() > 1:
      # The other processes would wait for this one's part for ever.
      raise error
    self._checkpointer = self._open()

  def _to_tree(self, run):
    best = model_checkpoints.to_disk(run.best)
    return {"run": run._replace(best=best), "scalers": self._scalers}

  def _check_scalers(self, saved):
    for old, new in zip(saved, self._scalers, strict=True):
      for field, a, b in zip(new._fields, old, new, strict=True):
        if not np.allclose(a, b, rtol=1e-5, atol=1e-6):
          raise errors.InputError(
            f"{self._path}: was trained on other data (its {field} differs):"
            " give the same, choose another --workdir, or start anew with"
            " --noresume."
          )
