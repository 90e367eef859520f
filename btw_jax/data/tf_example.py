"""A parser that locates the features of a serialised `tf.train.Example`.

Protocol buffers copy the values they parse. To copy a sequence straight into a
batch, its start and end are enough. The wire format is that of
protobuf.dev/programming-guides/encoding, the messages are those of TensorFlow's
`example.proto` and `feature.proto`.
"""

# The first byte (tag) of fields 1 and 2. The last three bits are the wire type,
# here always 2: the content follows its length.
_FIRST, _SECOND = 1 << 3 | 2, 2 << 3 | 2


def parse(record: bytes) -> dict[str, tuple[int, int]]:
  """Locates the values of the features of a serialised `tf.train.Example`.

  The message is
  `Example {1: Features {1: {1: name, 2: Feature {kind: {1: values}}}}}`. A
  field is a tag, the length of its content and the content.

  Args:
    record: the message, with packed lists of numbers, as in proto3.

  Returns:
    Name -> start and end of the only byte string or of the packed numbers;
    an empty list ends where it starts.

  Raises:
    ValueError, IndexError: if the bytes are no such message.
  """
  spans = {}
  at, end = _content(record, 0, _FIRST)
  while at < end:
    at, entry_end = _content(record, at, _FIRST)
    start, at = _content(record, at, _FIRST)
    name = record[start:at].decode()
    at, value_end = _content(record, at, _SECOND)
    if at < value_end:
      # The tag says the kind of list: bytes, floats or integers.
      at, value_end = _content(record, at, None)
    if at < value_end:
      at, value_end = _content(record, at, _FIRST)
    if value_end != entry_end:
      raise ValueError(f"{name!r} is not a single value")
    spans[name] = at, value_end
    at = entry_end
  return spans


def _content(record, at, tag):
  """Returns start and end of the content of the field at `at`.

  `tag` is the expected first byte; None accepts any field of wire type 2.
  """
  if record[at] != tag and (tag is not None or record[at] & 7 != _FIRST & 7):
    raise ValueError(f"no expected field begins at byte {at}")
  length, shift, at = record[at + 1], 7, at + 2
  if length > 127:
    # The length is a varint: each byte adds seven bits, the lowest first; the
    # eighth bit marks that another byte follows.
    length &= 127
    while record[at] > 127:
      length |= (record[at] & 127) << shift
      shift += 7
      at += 1
    length |= record[at] << shift
    at += 1
  return at, at + length
