from tensorboardX.proto import event_pb2

from btw_jax.pipeline import tensorboard
from support import event_files


def test_what_is_logged_again_replaces_what_was(tmp_path, monkeypatch):
  seconds = iter(range(10**9, 2 * 10**9))
  monkeypatch.setattr("time.time", lambda: float(next(seconds)))
  for resume, steps in ((False, (0, 1, 2)), (True, (1, 2))):
    writer = tensorboard.EventWriter(tmp_path, resume=resume)
    for step in steps:
      writer.write("run", step, {"loss": step + 0.5 * resume})
    writer.close()
  events = list(event_files.read(tmp_path / "run"))
  # A start at step 1 tells readers to forget what was there from 1 on.
  start = event_pb2.SessionLog.START
  assert events == [
    (0, None, start), (0, "loss", 0.0), (1, "loss", 1.0), (2, "loss", 2.0),
    (1, None, start), (1, "loss", 1.5), (2, "loss", 2.5),
  ]  # fmt: skip
  tensorboard.EventWriter(tmp_path)
  assert not (tmp_path / "run").exists()
