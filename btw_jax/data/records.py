"""Examples as records on disk, read back by number.

A record is a `tf.train.Example` in an ArrayRecord file, as TFDS writes it and
anybody's TFDS reads it. Reading many of them is most of what training from
disk costs, so here they are decoded straight into the arrays of a batch: of the
protocol buffer only the ends of its fields are looked at, and every sequence is
copied once.
"""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
from typing import NamedTuple

from array_record.python import array_record_module
import numpy as np

from btw_jax import errors
from btw_jax.data import buffers as buffers_lib
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import tf_example

# Records that are held undecoded at a time: few, so that they are still in the
# cache when they are decoded.
_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class RecordSchema:
  """What a record has of a modality.

  Attributes:
    width: features, D.
    num_steps: most steps of any example, T; 0 for a vector.
    times: whether steps have times.
    observed: whether values can be missing from a step.
  """

  width: int
  num_steps: int
  times: bool = False
  observed: bool = False


class Index(NamedTuple):
  """What is small of some records.

  Attributes:
    present: modality -> `[N]` bool.
    length: modality -> `[N]` int, for those that come in steps.
    target: `[N]` or `[N, C]`.
    ids: `[N]` strings.
    subjects: `[N]` strings, empty where nobody knows.
  """

  present: Mapping[str, np.ndarray]
  length: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  subjects: np.ndarray


class Reader:
  """Records of one split, by number.

  Attributes:
    layout: modality -> what a record has of it.
    subjects: whether records say whom they are of.
    name: the folder, for messages.
  """

  def __init__(
    self,
    paths: Sequence[str],
    layout: Mapping[str, RecordSchema],
    target_shape: Sequence[int],
    *,
    subjects: bool,
    name: str,
  ):
    """Opens the files.

    Args:
      paths: of ArrayRecord files, in order.
      layout: modality -> what a record has of it.
      target_shape: of one example's target.
      subjects: whether records say whom they are of.
      name: the folder, for messages.

    Raises:
      InputError: if a file is missing or cut short.
    """
    self.layout, self.name = dict(layout), name
    self._target_shape, self.subjects = tuple(target_shape), subjects
    # For reading in any order; threads may share them.
    options = "readahead_buffer_size:0,max_parallelism:0"
    try:
      self._files = [
        array_record_module.ArrayRecordReader(str(path), options)
        for path in paths
      ]
      counts = [file.num_records() for file in self._files]
    except (OSError, ValueError, RuntimeError, IndexError) as error:
      reason = " ".join(str(error).split())
      raise errors.InputError(
        f"{name}: cannot be read ({reason}): prepare it again."
      ) from error
    self._starts = np.cumsum([0, *counts])
    self._buffers = buffers_lib.Buffers()

  def __len__(self) -> int:
    """Number of records."""
    return int(self._starts[-1])

  def lengthened(self, layout: Mapping[str, RecordSchema]) -> "Reader":
    """The same records, in arrays with as many steps as a layout says."""
    reader = copy.copy(self)
    reader.layout = dict(layout)
    return reader

  def raw(self, wanted: np.ndarray) -> list[bytes]:
    """Records undecoded.

    Args:
      wanted: their numbers.

    Returns:
      As many byte strings.

    Raises:
      InputError: if the file is damaged.
    """
    wanted = np.asarray(wanted)
    found = [b""] * len(wanted)
    files = np.searchsorted(self._starts, wanted, side="right") - 1
    try:
      for file in np.unique(files):
        places = np.flatnonzero(files == file)
        numbers = (wanted[places] - self._starts[file]).tolist()
        read = self._files[file].read(numbers)
        for place, record in zip(places.tolist(), read, strict=True):
          found[place] = record
    except (OSError, ValueError, RuntimeError) as error:
      reason = " ".join(str(error).split())
      raise errors.InputError(
        f"{self.name}: record {wanted[0]} or one of {len(wanted)} from there"
        f" cannot be read ({reason}): prepare it again."
      ) from error
    return found

  def read(
    self, wanted: np.ndarray, num_steps: Mapping[str, int] | None = None
  ) -> dataset_lib.Examples:
    """Records as arrays.

    Args:
      wanted: their numbers, N of them.
      num_steps: modality -> T of its array, at least as many as any of these
        records has; the most of the split by default.

    Returns:
      The examples.

    Raises:
      InputError: if the file is damaged.
    """
    small = _Metadata(len(wanted), self.layout, self._target_shape)
    arrays = _Arrays(
      len(wanted), self.layout, num_steps, small.length, self._buffers
    )
    self._decode(wanted, small, arrays)
    return dataset_lib.Examples(
      features=arrays.values,
      present=small.present,
      target=small.target,
      ids=np.array(small.ids, str),
      files={f: self.name for f in (*self.layout, "target", "id")},
      steps=arrays.steps,
      subjects=np.array(small.subjects, str) if self.subjects else None,
    )

  def index(self, wanted: np.ndarray) -> Index:
    """What is small of records.

    Args:
      wanted: their numbers, N of them.

    Returns:
      The index.

    Raises:
      InputError: if the file is damaged.
    """
    small = _Metadata(len(wanted), self.layout, self._target_shape)
    self._decode(wanted, small)
    return Index(
      small.present,
      small.length,
      small.target,
      np.array(small.ids, str),
      np.array(small.subjects, str),
    )

  def _decode(self, wanted, *parts):
    # In the order in which they lie on disk.
    order = np.argsort(wanted, kind="stable")
    for start in range(0, len(wanted), _AT_ONCE):
      rows = order[start : start + _AT_ONCE]
      records = self.raw(wanted[rows])
      for row, record in zip(rows.tolist(), records, strict=True):
        try:
          found = tf_example.parse(record)
          for part in parts:
            part.put(row, record, found)
        except (ValueError, KeyError, IndexError) as error:
          raise errors.InputError(
            f"{self.name}: record {wanted[row]} is not as this project writes"
            f" them ({error!r}): prepare it again."
          ) from error


class _Metadata:
  """What is small of some examples, filled record by record."""

  def __init__(self, count, layout, target_shape):
    self.ids, self.subjects = [""] * count, [""] * count
    self.target = np.zeros((count, *target_shape), np.float32)
    self.present = {m: np.zeros(count, bool) for m in layout}
    self.length = {
      m: np.zeros(count, np.int32) for m, own in layout.items() if own.num_steps
    }
    self._fields = [
      (m, f"{m}/values", 4 * own.width)
      if own.num_steps
      else (m, f"{m}/present", 0)
      for m, own in layout.items()
    ]

  def put(self, row, record, found):
    """Takes one record, whose values lie where `found` says."""
    start, end = found["id"]
    self.ids[row] = record[start:end].decode()
    if "subject" in found:
      start, end = found["subject"]
      self.subjects[row] = record[start:end].decode()
    self.target[row] = _numbers(
      record, found["target"], self.target.shape[1:], self.target.dtype
    )
    for modality, field, size in self._fields:
      start, end = found[field]
      if size:
        self.length[modality][row] = (end - start) // size
        self.present[modality][row] = end > start
      else:
        self.present[modality][row] = record[start:end] == b"\x01"


class _Arrays:
  """Values, times and masks of some examples, filled record by record."""

  def __init__(self, count, layout, num_steps, length, buffers):
    self.values, self.steps, self._fields = {}, {}, []
    for modality, own in layout.items():
      steps = (num_steps or {}).get(modality, own.num_steps)
      shape = (count, steps, own.width) if own.num_steps else (count, own.width)
      # Written once: what is past an end is zeroed when the record is put.
      self.values[modality] = buffers.empty(shape, np.float32)
      self._fields.append((modality, "values", self.values[modality]))
      if own.num_steps:
        times = np.empty(shape[:2], np.float32) if own.times else None
        observed = np.empty(shape, bool) if own.observed else None
        self.steps[modality] = dataset_lib.Steps(
          length[modality], times, observed
        )
        self._fields += [(modality, "times", times)] * own.times
        self._fields += [(modality, "observed", observed)] * own.observed
    self._fields = [
      (array, f"{m}/{field}", (-1, *array.shape[2:]))
      for m, field, array in self._fields
    ]

  def put(self, row, record, found):
    """Takes one record, whose values lie where `found` says."""
    for target, field, shape in self._fields:
      values = _numbers(record, found[field], shape, target.dtype)
      own = target[row]
      if len(values) == len(own):
        own[:] = values
      else:
        own[: len(values)] = values
        own[len(values) :] = 0


def _numbers(record, place, shape, dtype):
  """The numbers at a place, in a shape of which the first size may be free."""
  start, end = place
  count, rest = divmod(end - start, dtype.itemsize)
  if rest:
    raise ValueError(f"{end - start} bytes for numbers of {dtype.itemsize}")
  return np.frombuffer(record, dtype, count, start).reshape(shape)
