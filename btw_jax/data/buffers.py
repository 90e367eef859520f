"""Arrays whose memory is used again once nobody holds them.

Batches from disk are tens of megabytes. Fresh memory of that size comes page by
page from the kernel, which takes as long as copying a batch does.
"""

from collections.abc import Sequence
import ctypes
import threading
import weakref

import numpy as np


class Buffers:
  """Hands out arrays; threads may share it."""

  def __init__(self):
    """Holds nothing yet."""
    self._free, self._lock = {}, threading.Lock()

  def empty(self, shape: Sequence[int], dtype: type) -> np.ndarray:
    """An array of arbitrary content.

    Args:
      shape: of the array.
      dtype: of its numbers.

    Returns:
      The array. When it and all views of it are gone, another array of as many
      bytes may have its memory.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
      return np.empty(shape, dtype)
    with self._lock:
      free = self._free.setdefault(size, [])
      memory = free.pop() if free else np.empty(size, np.uint8)
    # Views refer to whatever owns the memory; this owner's end tells that no
    # view is left.
    owner = (ctypes.c_uint8 * size).from_buffer(memory)
    weakref.finalize(owner, free.append, memory)
    return np.frombuffer(owner, dtype).reshape(shape)
