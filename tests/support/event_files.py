"""Events as TensorBoard reads them."""

import struct

from tensorboardX.proto import event_pb2


def read(folder):
  """Step, tag and value of all scalars, with starts as tags of None."""
  for path in sorted(folder.iterdir()):
    blob = path.read_bytes()
    while blob:
      # Length and its checksum, the event and its checksum.
      (length,) = struct.unpack("<Q", blob[:8])
      event = event_pb2.Event.FromString(blob[12 : 12 + length])
      blob = blob[16 + length :]
      if event.HasField("session_log"):
        yield event.step, None, event.session_log.status
      for value in event.summary.value:
        yield event.step, value.tag, value.simple_value
