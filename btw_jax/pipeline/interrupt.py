"""Ctrl-C and SIGTERM as a request to stop at a safe place."""

import os
import signal
import sys
import threading

# A program that was stopped exits with this plus the number of the signal: 130
# for Ctrl-C, 143 for SIGTERM.
EXIT_STATUS = 128


class Interrupted(Exception):
  """A run has stopped as requested, at a place where its files are complete."""

  def __init__(self, message: str, number: int = signal.SIGINT):
    """Says what was saved, and which signal asked for it."""
    super().__init__(message)
    self.number = number


class Interrupt:
  """Turns the first Ctrl-C or SIGTERM into a request; a second one exits.

  Attributes:
    requested: whether this process has received a signal.
    number: of the signal.
  """

  def __init__(self):
    """Starts to listen."""
    self.requested, self.number = False, signal.SIGINT
    # Python calls signal handlers between two of its own instructions, and an
    # epoch on the devices may be one. A thread reads the signal at once.
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end)
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, lambda number, frame: None)
    threading.Thread(target=self._listen, args=(read_end,), daemon=True).start()

  def _listen(self, read_end):
    while True:
      (number,) = os.read(read_end, 1)
      if self.requested:
        # At once: files that are being written are replaced in one step, so
        # none is left half written.
        os._exit(EXIT_STATUS + number)
      self.requested, self.number = True, number
      message = "\nstopping at the next safe place; press again to stop at once"
      sys.stderr.write(message + "\n")
      sys.stderr.flush()
