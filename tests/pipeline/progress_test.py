import io
import logging as std_logging
import re
import sys
import types

from absl import logging
import pytest

from btw_jax.pipeline import progress as progress_lib


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self):
    return True


@pytest.fixture
def clock(monkeypatch):
  """Returns a clock that stands still until its `now` is set."""
  clock = types.SimpleNamespace(now=100.0)
  fake = types.SimpleNamespace(monotonic=lambda: clock.now)
  monkeypatch.setattr(progress_lib, "time", fake)
  return clock


@pytest.fixture
def log(monkeypatch):
  """Returns a function that makes the log and the bar write to a stream."""
  logger = logging.get_absl_logger()
  before = logger.level

  def start(stream):
    monkeypatch.setattr(sys, "stderr", stream)
    handler = std_logging.StreamHandler(stream)
    monkeypatch.setattr(logger, "handlers", [handler])
    # Setting the attribute would leave what the logger remembers of levels.
    logger.setLevel(std_logging.INFO)
    return stream

  yield start
  logger.setLevel(before)


def test_later_stages_compile_and_train_in_the_time_left(clock, log):
  stream = log(io.StringIO())
  progress = progress_lib.Progress(2, 5)
  progress.begin("unimodal", 5)
  clock.now += 10
  progress.resume(0)
  for _ in range(5):
    clock.now += 6
    progress.advance("mean loss 1")
  progress.begin("multimodal", 5)
  clock.now += 20
  progress.resume(3)
  clock.now += 8
  progress.advance("mean loss 2")
  clock.now += 1
  progress.advance("mean loss 3")
  progress.close()
  lines = stream.getvalue().splitlines()
  assert lines[0] == "compiling stage 1 of 2, unimodal ..."
  # 5 - k epochs of 6 s, then 10 s to compile and 5 epochs of 6 s.
  for k, line in enumerate(lines[1:6], 1):
    assert line == (
      f"stage 1 of 2, unimodal: epoch {k} of 5, mean loss 1,"
      f" {6 * (5 - k) + 10 + 30} s left"
    )
  assert lines[6] == "compiling stage 2 of 2, multimodal ..."
  assert lines[7].endswith("epoch 4 of 5, mean loss 2, 8 s left")
  assert lines[8].endswith("epoch 5 of 5, mean loss 3, 0 s left")


def test_a_line_comes_while_a_program_compiles(clock, log):
  stream = log(io.StringIO())
  progress = progress_lib.Progress(1, 5)
  progress.begin("unimodal", 5)
  clock.now += 14
  progress.remind()
  assert stream.getvalue().count("\n") == 1
  clock.now += 1
  progress.remind()
  assert stream.getvalue().endswith(
    "compiling stage 1 of 1, unimodal: 15 s so far\n"
  )
  clock.now += 14
  progress.remind()
  assert stream.getvalue().count("\n") == 2
  # Short epochs get a line now and then; three of them took 2 + 2 + 21 seconds.
  progress.resume(0)
  for _ in range(2):
    clock.now += 2
    progress.advance("mean loss 1")
  assert stream.getvalue().count("\n") == 2
  clock.now += 15
  progress.remind()
  clock.now += 6
  progress.advance("mean loss 1")
  *_, reminder, line = stream.getvalue().splitlines()
  assert reminder == "stage 1 of 1, unimodal: 15 s so far"
  assert line.endswith("epoch 3 of 5, mean loss 1, 17 s left")
  progress.close()


def test_the_bar_counts_the_epochs_of_a_stage_and_makes_way(log):
  stream = log(Terminal())
  progress = progress_lib.Progress(2, 4)
  progress.begin("unimodal", 4)
  assert "compiling stage 1 of 2, unimodal" in stream.getvalue()
  progress.resume(1)
  progress.advance("mean loss 1")
  # The bar is drawn at most ten times a second, and with every activity.
  progress.do("testing")
  assert re.search(r"testing \|.*\| 2/4 ", stream.getvalue())
  stream.truncate(0)
  logging.info("a line of the log")
  # The bar is overwritten by spaces before the line begins.
  assert re.match(r"^\x00*\r +\ra line of the log\n", stream.getvalue())
  progress.close()
  stream.truncate(0)
  logging.info("another line")
  assert stream.getvalue().lstrip("\x00") == "another line\n"


def test_reminders_within_an_epoch_do_not_change_the_time_left(clock, log):
  stream = log(io.StringIO())
  progress = progress_lib.Progress(1, 4)
  progress.begin("multimodal", 4)
  progress.resume(0)
  for _ in range(2):
    for _ in range(3):
      clock.now += 10
      progress.remind()
    clock.now += 10
    progress.advance("mean loss 1")
  lines = stream.getvalue().splitlines()
  assert lines[-1].endswith("epoch 2 of 4, mean loss 1, 80 s left")
  assert sum("s so far" in line for line in lines) >= 2
  progress.close()
