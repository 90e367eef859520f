"""Event files that TensorBoard reads, written without TensorFlow."""

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
  """Event files, one folder per run; only the first process writes."""

  def __init__(self, path: str | os.PathLike, *, resume: bool = False):
    """Removes the folder of all runs, unless `resume` keeps its files.

    TensorBoard drops the steps of kept files that are written again.
    """
    self._path, self._writers = pathlib.Path(path), {}
    self._silent = jax.process_index() > 0
    if not resume and not self._silent:
      shutil.rmtree(self._path, ignore_errors=True)

  def write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
    """Writes a step of a run, tag -> value; it is on disk on return."""
    if self._silent:
      return
    folder = self._path / run
    with files.name_in_errors(folder):
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

  def _add(self, writer, step, **fields):
    event = event_pb2.Event(wall_time=time.time(), step=step, **fields)
    writer.write_event(event)
