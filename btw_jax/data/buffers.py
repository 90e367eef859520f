"""A pool of arrays whose memory is reused when nobody refers to them any more.

Batches from disk are tens of megabytes. The kernel provides new memory of that
size page by page, which takes as long as copying a batch.
"""

from collections.abc import Sequence
import ctypes
import threading
import weakref

import numpy as np


class Buffers:
  """A pool of arrays that several threads may share."""

  def __init__(self):
    """Creates an empty pool."""
    self._free, self._lock = {}, threading.Lock()

  def empty(self, shape: Sequence[int], dtype: type) -> np.ndarray:
    """Returns an array with arbitrary content, like `np.empty`.

    Its memory returns to the pool once the array and all its views are gone.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
      return np.empty(shape, dtype)
    with self._lock:
      free = self._free.setdefault(size, [])
      memory = free.pop() if free else np.empty(size, np.uint8)
    # NumPy views refer to the object that owns the memory, not to each other:
    # when this owner is collected, no view of the memory is left.
    owner = (ctypes.c_uint8 * size).from_buffer(memory)
    weakref.finalize(owner, free.append, memory)
    return np.frombuffer(owner, dtype).reshape(shape)
