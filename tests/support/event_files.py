"""The helper reads event files as TensorBoard does."""

import struct

from tensorboardX.proto import event_pb2


def read(folder):
  """Yields step, tag and value of all scalars; starts have the tag None."""
  for path in sorted(folder.iterdir()):
    blob = path.read_bytes()
    while blob:
      # A record has a length, its checksum, the event and its checksum.
      (length,) = struct.unpack("<Q", blob[:8])
      event = event_pb2.Event.FromString(blob[12 : 12 + length])
      blob = blob[16 + length :]
      if event.HasField("session_log"):
        yield event.step, None, event.session_log.status
      for value in event.summary.value:
        yield event.step, value.tag, value.simple_value
