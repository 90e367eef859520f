import dataclasses
import threading
import time

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import scaling
from btw_jax.data import streaming
from support import dataset_files


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("modalities", [(), ("ecg", "vitals")])
def test_what_stays_on_disk_is_what_is_read_at_once(stays, average, modalities):
  stays = dataclasses.replace(
    stays, average_steps=average, modalities=modalities
  )
  actual = assembly.load(dataset_files.STAYS, stays)
  expected = assembly.load(
    dataset_files.STAYS, dataclasses.replace(stays, stream=False)
  )
  assert actual.modalities == expected.modalities
  assert actual.widths == expected.widths
  assert actual.num_steps == expected.num_steps
  assert actual.num_classes == expected.num_classes == 4
  rows = np.array([3, 0, 4])
  for split, streamed in actual.splits.items():
    examples = expected.splits[split]
    np.testing.assert_array_equal(streamed.target, examples.target)
    np.testing.assert_array_equal(streamed.ids, examples.ids)
    np.testing.assert_array_equal(streamed.subjects, examples.subjects)
    read, some = streamed.read(rows), examples.take(rows)
    assert read.target.dtype == some.target.dtype
    for m in actual.modalities:
      np.testing.assert_array_equal(read.features[m], some.features[m])
      np.testing.assert_array_equal(streamed.present[m], examples.present[m])
      if not average and some.steps[m].times is not None:
        np.testing.assert_array_equal(read.steps[m].times, some.steps[m].times)
    part = streamed.take(rows)
    np.testing.assert_array_equal(part.read(np.array([1])).ids, read.ids[1:2])
  # Both readers give the same scaling, although one reads in chunks.
  fitted = scaling.fit(actual), scaling.fit(expected)
  for a, b in zip(*fitted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_only_what_is_prepared_can_stay_on_disk(stays):
  with pytest.raises(
    errors.InputError, match="--reading=stream: digits can only be"
  ):
    assembly.load("digits", catalog.Options(stream=True))
  with pytest.raises(
    errors.InputError, match="prepare it again with --split_by=s"
  ):
    assembly.load(
      dataset_files.STAYS, dataclasses.replace(stays, split_by="subject")
    )


def test_a_stream_keeps_order_position_and_reads_ahead():
  produced, lock = [], threading.Lock()

  def make(item):
    time.sleep(0.02 * (item % 3 == 0))
    with lock:
      produced.append(item)
    return item * item

  stream = streaming.Stream(make, list(range(20)))
  assert next(stream) == 0
  assert stream.position == 1
  end = time.monotonic() + 10
  while len(produced) < 3 and time.monotonic() < end:
    time.sleep(0.01)
  # The thread prepares some items in advance, but not all.
  assert 3 <= len(produced) <= 10
  assert [next(stream) for _ in range(4)] == [1, 4, 9, 16]
  again = streaming.Stream(make, list(range(20)), start=stream.position)
  rest = list(stream)
  assert rest == list(again) == [i * i for i in range(5, 20)]
  assert stream.position == again.position == 20


def test_what_goes_wrong_on_a_thread_is_raised():
  def make(item):
    if item == 2:
      raise errors.InputError("record 2 is damaged")
    return item

  stream = streaming.Stream(make, [0, 1, 2, 3])
  assert [next(stream), next(stream)] == [0, 1]
  with pytest.raises(errors.InputError, match="record 2 is damaged"):
    next(stream)


def test_batches_that_are_kept_stay_as_they_were(stays):
  train = assembly.load(dataset_files.STAYS, stays).splits["train"]
  plan = [np.array([i, i + 1]) for i in range(0, 12, 2)]
  kept = list(streaming.Stream(train.read, plan))
  for rows, batch in zip(plan, kept, strict=True):
    again = train.read(rows)
    for m in train.modalities:
      np.testing.assert_array_equal(batch.features[m], again.features[m])
