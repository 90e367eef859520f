"""Scalars as TensorBoard reads them, without TensorFlow."""

from collections.abc import Mapping
import os
import pathlib
import shutil
import time

import jax
from tensorboardX import event_file_writer
from tensorboardX import summary
from tensorboardX.proto import event_pb2

from btw_jax.pipeline import files


class EventWriter:
  """Event files, a folder for every run; only the first process writes."""

  def __init__(self, path: str | os.PathLike, *, go_on: bool = False):
    """Forgets what is there, unless to go on with it.

    Args:
      path: folder of all runs.
      go_on: keep the files that are there. What they tell of steps that are
        written again, TensorBoard then forgets.
    """
    self._path, self._writers = pathlib.Path(path), {}
    self._silent = jax.process_index() > 0
    if not go_on and not self._silent:
      shutil.rmtree(self._path, ignore_errors=True)

  def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
    """Adds a step of a run, on disk when it returns.

    Args:
      run: its name, a folder.
      step: number.
      scalars: tag -> value.
    """
    if self._silent:
      return
    folder = self._path / run
    with files.named(folder):
      if run not in self._writers:
        folder.mkdir(parents=True, exist_ok=True)
        writer = event_file_writer.EventsWriter(str(folder / "events"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(writer, step, session_log=start)
        self._writers[run] = writer
      writer = self._writers[run]
      for tag, value in scalars.items():
        self._add(writer, step, summary=summary.scalar(tag, value))
      writer.flush()

  def close(self) -> None:
    """Closes the files."""
    for writer in self._writers.values():
      writer.close()
    self._writers = {}

  def _add(self, writer, step, **what):
    event = event_pb2.Event(wall_time=time.time(), step=step, **what)
    writer.write_event(event)
