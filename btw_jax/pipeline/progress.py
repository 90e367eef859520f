"""A bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time

from absl import logging
import tqdm

# Seconds between plain lines.
_EVERY = 5.0


class Progress:
  """Counts epochs of all stages."""

  def __init__(self, total: int):
    """Starts the clock.

    Args:
      total: epochs to come.
    """
    self._total, self._done = total, 0
    self._last = time.monotonic()
    self._last_done = 0
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(total=total, unit="epoch", dynamic_ncols=True)

  def advance(self, text: str) -> None:
    """One epoch is done.

    Args:
      text: what to show beside the count.
    """
    self._done += 1
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update()
      return
    now = time.monotonic()
    if now - self._last < _EVERY and self._done < self._total:
      return
    # The latest pace, not the mean: compiling comes first.
    pace = (now - self._last) / (self._done - self._last_done)
    self._last, self._last_done = now, self._done
    left = pace * (self._total - self._done)
    logging.info(
      "epoch %d of %d, %s, %.0f s left", self._done, self._total, text, left
    )

  def skip(self, epochs: int) -> None:
    """Some epochs need not be done.

    Args:
      epochs: how many.
    """
    self._done += epochs
    self._last, self._last_done = time.monotonic(), self._done
    if self._bar is not None:
      self._bar.update(epochs)

  def close(self) -> None:
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()
