"""The reading of examples from records on disk, by number.

A record is a `tf.train.Example` in an ArrayRecord file, in the format of TFDS.
Reading records takes most of the time of training from disk. They are therefore
decoded straight into the arrays of a batch: only the positions of the fields of
the protocol buffer are parsed, and every sequence is copied once.
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

# The records that are read before they are decoded: few, so that they are still
# in the CPU's cache by then.
_CHUNK_SIZE = 8


@dataclasses.dataclass(frozen=True)
class RecordSchema:
  """The fields and sizes of a modality in a record.

  Attributes:
    width: the number of features, D.
    num_steps: the largest number of steps of an example, T; 0 for a vector.
    times: True if the record has the times of steps.
    observed: True if the record has a mask of observed values.
  """

  width: int
  num_steps: int
  times: bool = False
  observed: bool = False


class Index(NamedTuple):
  """The metadata of N records: everything but features.

  Attributes:
    present: modality -> `[N]` bool.
    length: sequence modality -> `[N]` int.
    target: `[N]` or `[N, C]`.
    ids: `[N]` strings.
    subjects: `[N]` strings, empty if unknown.
  """

  present: Mapping[str, np.ndarray]
  length: Mapping[str, np.ndarray]
  target: np.ndarray
  ids: np.ndarray
  subjects: np.ndarray


class Reader:
  """A reader of the records of one split, by number.

  Attributes:
    schemas: modality -> schema.
    subjects: True if the records name the subject of each example.
    name: the folder, for messages.
  """

  def __init__(
    self,
    paths: Sequence[str],
    schemas: Mapping[str, RecordSchema],
    target_shape: Sequence[int],
    *,
    subjects: bool,
    name: str,
  ):
    """Opens the ArrayRecord files of a split, in order.

    `target_shape` is the shape of one example's target.

    Raises:
      InputError: if a file is missing or truncated.
    """
    self.schemas, self.name = dict(schemas), name
    self._target_shape, self.subjects = tuple(target_shape), subjects
    # Random access gains nothing from read-ahead. Threads may share a reader.
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
    """Returns the number of records."""
    return int(self._starts[-1])

  def with_schemas(self, schemas: Mapping[str, RecordSchema]) -> "Reader":
    """Returns a reader of the same records that pads to other schemas."""
    reader = copy.copy(self)
    reader.schemas = dict(schemas)
    return reader

  def raw(self, numbers: np.ndarray) -> list[bytes]:
    """Reads the records with the given numbers, without decoding them.

    Raises:
      InputError: if the file is damaged.
    """
    numbers = np.asarray(numbers)
    records = [b""] * len(numbers)
    files = np.searchsorted(self._starts, numbers, side="right") - 1
    try:
      for file in np.unique(files):
        positions = np.flatnonzero(files == file)
        in_file = (numbers[positions] - self._starts[file]).tolist()
        contents = self._files[file].read(in_file)
        for position, record in zip(positions.tolist(), contents, strict=True):
          records[position] = record
    except (OSError, ValueError, RuntimeError) as error:
      reason = " ".join(str(error).split())
      raise errors.InputError(
        f"{self.name}: record {numbers[0]} or one of the {len(numbers)} records"
        f" read with it cannot be read ({reason}): prepare it again."
      ) from error
    return records

  def read(
    self, numbers: np.ndarray, num_steps: Mapping[str, int] | None = None
  ) -> dataset_lib.Examples:
    """Reads the N records with the given numbers.

    Args:
      numbers: `[N]`.
      num_steps: modality -> T of its array, at least the largest length of
        these records; the T of its schema by default.

    Raises:
      InputError: if the file is damaged.
    """
    metadata = _Metadata(len(numbers), self.schemas, self._target_shape)
    arrays = _Arrays(
      len(numbers), self.schemas, num_steps, metadata.length, self._buffers
    )
    self._decode(numbers, metadata, arrays)
    return dataset_lib.Examples(
      features=arrays.values,
      present=metadata.present,
      target=metadata.target,
      ids=np.array(metadata.ids, str),
      files={f: self.name for f in (*self.schemas, "target", "id")},
      steps=arrays.steps,
      subjects=np.array(metadata.subjects, str) if self.subjects else None,
    )

  def index(self, numbers: np.ndarray) -> Index:
    """Reads the metadata of the N records with the given numbers.

    Raises:
      InputError: if the file is damaged.
    """
    metadata = _Metadata(len(numbers), self.schemas, self._target_shape)
    self._decode(numbers, metadata)
    return Index(
      metadata.present,
      metadata.length,
      metadata.target,
      np.array(metadata.ids, str),
      np.array(metadata.subjects, str),
    )

  def _decode(self, numbers, *outputs):
    """Writes the records to `outputs`, `_Metadata` or `_Arrays`."""
    # Reading is fastest in the order in which the records lie on disk.
    order = np.argsort(numbers, kind="stable")
    for start in range(0, len(numbers), _CHUNK_SIZE):
      rows = order[start : start + _CHUNK_SIZE]
      records = self.raw(numbers[rows])
      for row, record in zip(rows.tolist(), records, strict=True):
        try:
          spans = tf_example.parse(record)
          for output in outputs:
            output.put(row, record, spans)
        except (ValueError, KeyError, IndexError) as error:
          raise errors.InputError(
            f"{self.name}: record {numbers[row]} does not have the format of"
            f" this project ({error!r}): prepare it again."
          ) from error


class _Metadata:
  """The metadata of N examples, filled record by record."""

  def __init__(self, count, schemas, target_shape):
    self.ids, self.subjects = [""] * count, [""] * count
    self.target = np.zeros((count, *target_shape), np.float32)
    self.present = {m: np.zeros(count, bool) for m in schemas}
    self.length = {
      m: np.zeros(count, np.int32) for m, s in schemas.items() if s.num_steps
    }
    # The presence of a sequence follows from its number of steps, and that from
    # the number of bytes: 4 a value.
    self._fields = [
      (m, f"{m}/values", 4 * s.width) if s.num_steps else (m, f"{m}/present", 0)
      for m, s in schemas.items()
    ]

  def put(self, row, record, spans):
    """Writes one record to `row`; `spans` is the result of `parse`."""
    start, end = spans["id"]
    self.ids[row] = record[start:end].decode()
    if "subject" in spans:
      start, end = spans["subject"]
      self.subjects[row] = record[start:end].decode()
    self.target[row] = _read_numbers(
      record, spans["target"], self.target.shape[1:], self.target.dtype
    )
    for modality, field, step_bytes in self._fields:
      start, end = spans[field]
      if step_bytes:
        self.length[modality][row] = (end - start) // step_bytes
        self.present[modality][row] = end > start
      else:
        self.present[modality][row] = record[start:end] == b"\x01"


class _Arrays:
  """The features, times and masks of N examples, filled record by record."""

  def __init__(self, count, schemas, num_steps, length, buffers):
    self.values, self.steps, self._fields = {}, {}, []
    for modality, s in schemas.items():
      steps = (num_steps or {}).get(modality, s.num_steps)
      shape = (count, steps, s.width) if s.num_steps else (count, s.width)
      # The arrays need no zeros: `put` sets the padding to 0.
      self.values[modality] = buffers.empty(shape, np.float32)
      self._fields.append((modality, "values", self.values[modality]))
      if s.num_steps:
        times = np.empty(shape[:2], np.float32) if s.times else None
        observed = np.empty(shape, bool) if s.observed else None
        self.steps[modality] = dataset_lib.Steps(
          length[modality], times, observed
        )
        self._fields += [(modality, "times", times)] * s.times
        self._fields += [(modality, "observed", observed)] * s.observed
    self._fields = [
      (array, f"{m}/{field}", (-1, *array.shape[2:]))
      for m, field, array in self._fields
    ]

  def put(self, row, record, spans):
    """Writes one record to `row`; `spans` is the result of `parse`."""
    for array, field, shape in self._fields:
      values = _read_numbers(record, spans[field], shape, array.dtype)
      out = array[row]
      if len(values) == len(out):
        out[:] = values
      else:
        out[: len(values)] = values
        out[len(values) :] = 0


def _read_numbers(record, span, shape, dtype):
  """Returns the numbers in a span; the first size of `shape` may be -1."""
  start, end = span
  count, remainder = divmod(end - start, dtype.itemsize)
  if remainder:
    raise ValueError(
      f"{end - start} bytes are not numbers of {dtype.itemsize} bytes"
    )
  return np.frombuffer(record, dtype, count, start).reshape(shape)
