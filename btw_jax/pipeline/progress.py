"""The progress of a run: a bar on a terminal, log lines elsewhere."""

import sys
import time

from absl import logging
import tqdm

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
  """Counts the epochs of all stages, and estimates the time left."""

  def __init__(self, total: int):
    """Starts the clock for `total` epochs."""
    self._total, self._done = total, 0
    self._last = time.monotonic()
    self._last_done = 0
    self._bar = None
    if sys.stderr.isatty():
      self._bar = tqdm.tqdm(total=total, unit="epoch", dynamic_ncols=True)

  def advance(self, text: str) -> None:
    """Counts one epoch, and shows the text beside the count."""
    self._done += 1
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update()
      return
    now = time.monotonic()
    too_soon = now - self._last < _SECONDS_BETWEEN_LINES
    if too_soon and self._done < self._total:
      return
    # The latest pace, not the mean, because compilation comes first.
    pace = (now - self._last) / (self._done - self._last_done)
    self._last, self._last_done = now, self._done
    left = pace * (self._total - self._done)
    logging.info(
      "epoch %d of %d, %s, %.0f s left", self._done, self._total, text, left
    )

  def skip(self, epochs: int) -> None:
    """Counts epochs that a training checkpoint holds already."""
    self._done += epochs
    self._last, self._last_done = time.monotonic(), self._done
    if self._bar is not None:
      self._bar.update(epochs)

  def close(self) -> None:
    """Closes the bar."""
    if self._bar is not None:
      self._bar.close()
