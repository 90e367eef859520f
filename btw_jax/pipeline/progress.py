"""The progress of a run: a bar on a terminal, log lines elsewhere."""

from collections.abc import Callable, Iterator
import contextlib
import os
import sys
import threading
import time

from absl import logging
import tqdm

# The bar needs so many columns.
_LEAST_COLUMNS = 60
_BAR = "{desc} |{bar:12}| {n_fmt}/{total_fmt} {elapsed}{postfix}"
# Elsewhere than on a terminal, lines come no more and no less often than this.
_LEAST_SECONDS, _MOST_SECONDS = 5.0, 15.0


@contextlib.contextmanager
def doing(activity: str) -> Iterator[None]:
  """Says what goes on, at its start and as long as it takes."""
  logging.info("%s ...", activity)
  start = last = time.monotonic()

  def remind():
    nonlocal last
    now = time.monotonic()
    if now - last >= _MOST_SECONDS:
      last = now
      logging.info("%s: %.0f s so far", activity, now - start)

  ended = _call_every_second(remind)
  try:
    yield
  finally:
    ended.set()


def _call_every_second(function: Callable[[], None]) -> threading.Event:
  """Calls a function from another thread until the event is set."""
  ended = threading.Event()

  def call():
    while not ended.wait(1.0):
      function()

  threading.Thread(target=call, daemon=True).start()
  return ended


def _is_terminal():
  """Returns True if a bar can be drawn."""
  if not sys.stderr.isatty():
    return False
  try:
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
  except (OSError, ValueError):
    return True
  return columns >= _LEAST_COLUMNS


class Progress:
  """Counts the epochs of each stage, and estimates the time left.

  A stage first compiles its program, which takes a large part of a short run.
  """

  def __init__(self, num_stages: int, num_epochs: int):
    """Starts the clock.

    Args:
      num_stages: number of stages, each with a program of its own.
      num_epochs: number of epochs of each stage.
    """
    self._num_stages, self._num_epochs = num_stages, num_epochs
    self._stage, self._name, self._epoch = 0, "", 0
    self._turns_left = 0
    self._compile_seconds = self._epoch_seconds = 0.0
    self._activity, self._start = "", time.monotonic()
    # The time of the latest line; the time and the epoch of the latest count.
    self._last = self._paced = self._start
    self._last_epoch = 0
    self._bar = None
    if _is_terminal():
      self._bar = tqdm.tqdm(
        total=num_epochs, bar_format=_BAR, dynamic_ncols=True
      )
      logging.get_absl_logger().addFilter(self._clear_bar)
    self._ended = _call_every_second(self.remind)

  def begin(
    self, name: str, num_epochs: int, turn: int = 0, num_turns: int = 1
  ) -> None:
    """Begins a stage of so many epochs, which compiles its program first.

    A stage may take several turns, each with a program and all epochs; `turn`
    counts them from 0.
    """
    self._stage += not turn
    self._name = name
    if num_turns > 1:
      self._name += f", turn {turn + 1} of {num_turns}"
    self._turns_left = num_turns - turn - 1
    self._epoch, self._num_epochs = 0, num_epochs
    self.do(f"compiling {self._where()}")
    if self._bar is not None:
      self._bar.reset(num_epochs)

  def do(self, activity: str) -> None:
    """Begins something that takes a while, and says so."""
    self._activity, self._start = activity, time.monotonic()
    if self._bar is not None:
      self._bar.set_description_str(activity, refresh=False)
      self._bar.set_postfix_str("")
    else:
      self._log(f"{activity} ...")

  def resume(self, num_epochs: int) -> None:
    """Begins the epochs, after those that a training checkpoint holds."""
    self._compile_seconds = time.monotonic() - self._start
    self._activity, self._start = self._where(), time.monotonic()
    self._epoch = self._last_epoch = num_epochs
    self._last = self._paced = self._start
    if self._bar is not None:
      self._bar.set_description_str(self._activity)
      self._bar.update(num_epochs)

  def advance(self, text: str) -> None:
    """Counts one epoch, and shows the text beside the count."""
    self._epoch += 1
    now = time.monotonic()
    # The latest pace, not the mean, because other programs may have ended.
    pace = (now - self._paced) / (self._epoch - self._last_epoch)
    self._start = now
    if self._bar is not None:
      self._epoch_seconds = pace
      self._paced, self._last_epoch = now, self._epoch
      left = f"{text}, {self._seconds_left():.0f} s left"
      self._bar.set_postfix_str(left, refresh=False)
      self._bar.update()
    elif now - self._last >= _LEAST_SECONDS or self._epoch == self._num_epochs:
      self._epoch_seconds = pace
      self._paced, self._last_epoch = now, self._epoch
      self._log(
        f"{self._where()}: epoch {self._epoch} of {self._num_epochs}, {text},"
        f" {self._seconds_left():.0f} s left"
      )

  def skip_stage(self) -> None:
    """Counts a stage that is not needed."""
    self._stage += 1

  def close(self) -> None:
    """Ends the bar or the lines."""
    self._ended.set()
    if self._bar is not None:
      logging.get_absl_logger().removeFilter(self._clear_bar)
      self._bar.close()

  @property
  def position(self) -> str:
    """The stage and the epoch that is finished, as words."""
    return f"{self._where()}, epoch {self._epoch} of {self._num_epochs}"

  def _where(self):
    return f"stage {self._stage} of {self._num_stages}, {self._name}"

  def _seconds_left(self):
    """Estimates the time left; later stages compile and train as this one."""
    stages = self._num_stages - self._stage + self._turns_left
    epochs = self._num_epochs - self._epoch + stages * self._num_epochs
    return stages * self._compile_seconds + epochs * self._epoch_seconds

  def _log(self, line):
    self._last = time.monotonic()
    logging.info("%s", line)

  def remind(self) -> None:
    """Moves the clock of the bar, or says what goes on if no line has."""
    if self._bar is not None:
      self._bar.refresh()
      return
    now = time.monotonic()
    if self._activity and now - self._last >= _MOST_SECONDS:
      self._log(f"{self._activity}: {now - self._start:.0f} s so far")

  def _clear_bar(self, record):
    """Clears the line of the bar before a line of the log, which it covers."""
    del record
    self._bar.clear()
    return True
