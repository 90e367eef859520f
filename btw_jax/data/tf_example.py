"""Where the features of a serialised `tf.train.Example` lie.

Protocol buffers copy what they parse; to put a sequence into a batch it is
enough to know where it begins and ends. Wire format:
protobuf.dev/programming-guides/encoding; messages: TensorFlow's `example.proto`
and `feature.proto`.
"""

# The first byte of a field: its number and, in the last three bits, its wire
# type, here always the one with a length.
_FIRST, _SECOND = 1 << 3 | 2, 2 << 3 | 2


def parse(record: bytes) -> dict[str, tuple[int, int]]:
  """Where in a serialised `tf.train.Example` the values of its features lie.

  `Example {1: Features {1: {1: name, 2: Feature {kind: {1: values}}}}}`, a
  field being its number and wire type, the length of its content, its content.

  Args:
    record: the message, its lists of numbers packed, as they are in proto3.

  Returns:
    Name -> start and end of the only byte string, or of the packed numbers;
    an empty list ends where it starts.

  Raises:
    ValueError: if the bytes are no such message.
  """
  found = {}
  at, end = _content(record, 0, _FIRST)
  while at < end:
    at, entry_end = _content(record, at, _FIRST)
    start, at = _content(record, at, _FIRST)
    name = record[start:at].decode()
    at, value_end = _content(record, at, _SECOND)
    if at < value_end:
      # The kind: bytes, floats or integers.
      at, value_end = _content(record, at, None)
    if at < value_end:
      at, value_end = _content(record, at, _FIRST)
    if value_end != entry_end:
      raise ValueError(f"{name!r} is no single value")
    found[name] = at, value_end
    at = entry_end
  return found


def _content(record, at, tag):
  """Start and end of the content of the field at a place."""
  if record[at] != tag and (tag is not None or record[at] & 7 != _FIRST & 7):
    raise ValueError(f"byte {at} begins no field that is expected there")
  length, shift, at = record[at + 1], 7, at + 2
  if length > 127:
    # Seven bits a byte, the lowest first.
    length &= 127
    while record[at] > 127:
      length |= (record[at] & 127) << shift
      shift += 7
      at += 1
    length |= record[at] << shift
    at += 1
  return at, at + length
