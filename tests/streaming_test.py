import dataclasses
import threading
import time

import files
import hypothesis
from hypothesis import strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import buffers
from btw_jax.data import catalog
from btw_jax.data import plans
from btw_jax.data import scaling
from btw_jax.data import streaming


@pytest.fixture
def stays(tmp_path):
  """A prepared data set of irregular sequences, on disk and in memory."""
  files.mimic(tmp_path, "los", missing=True)
  files.prepare("mimic_los_missing", tmp_path, tmp_path / "out")
  return catalog.Options(
    data_dir=str(tmp_path / "out"), average_steps=False, stream=True
  )


NAME = "tfds:mimic_los_missing"


@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("modalities", [(), ("ecg", "vitals")])
def test_what_stays_on_disk_is_what_is_read_at_once(stays, average, modalities):
  stays = dataclasses.replace(
    stays, average_steps=average, modalities=modalities
  )
  found = catalog.load(NAME, stays)
  expected = catalog.load(NAME, dataclasses.replace(stays, stream=False))
  assert found.modalities == expected.modalities
  assert found.widths == expected.widths
  assert found.num_steps == expected.num_steps
  assert found.num_classes == expected.num_classes == 4
  rows = np.array([3, 0, 4])
  for split, streamed in found.splits.items():
    examples = expected.splits[split]
    np.testing.assert_array_equal(streamed.target, examples.target)
    np.testing.assert_array_equal(streamed.ids, examples.ids)
    np.testing.assert_array_equal(streamed.subjects, examples.subjects)
    read, some = streamed.read(rows), examples.take(rows)
    assert read.target.dtype == some.target.dtype
    for m in found.modalities:
      np.testing.assert_array_equal(read.features[m], some.features[m])
      np.testing.assert_array_equal(streamed.present[m], examples.present[m])
      if not average and some.steps[m].times is not None:
        np.testing.assert_array_equal(read.steps[m].times, some.steps[m].times)
    part = streamed.take(rows)
    np.testing.assert_array_equal(part.read(np.array([1])).ids, read.ids[1:2])
  # Standardised alike, though in parts.
  fitted = scaling.fit(found), scaling.fit(expected)
  for a, b in zip(*fitted, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_scaling_in_parts_is_scaling_at_once(stays, monkeypatch):
  dataset = catalog.load(NAME, dataclasses.replace(stays, stream=False))
  whole = scaling.fit(dataset)
  monkeypatch.setattr("btw_jax.data.dataset._CHUNK", 5)
  train = dataset.splits["train"]
  assert [len(part) for part in train.chunks()] == [5, 5, 2]
  for a, b in zip(scaling.fit(dataset), whole, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)
  # Against NumPy over all that is there.
  for m, modality in enumerate(dataset.modalities):
    there = train.observed(modality) & train.present[modality][:, None, None]
    x = train.features[modality].astype(np.float64)
    for d in range(0, x.shape[2], 29):
      own = x[..., d][there[..., d]]
      np.testing.assert_allclose(whole.mean[m, d], own.mean(), atol=1e-6)
      if own.std() > 0:
        np.testing.assert_allclose(
          whole.inverse_std[m, d], 1 / own.std(), rtol=1e-5
        )


def test_held_out_examples_are_the_same_on_disk_and_in_memory(tmp_path):
  rng = np.random.default_rng(0)
  for split, n in (("train", 60), ("test", 20)):
    np.savez(
      tmp_path / f"{split}.npz", x_a=rng.normal(size=(n, 3)), y=np.arange(n) % 2
    )
  files.prepare("npz", tmp_path, tmp_path / "out")
  options = catalog.Options(data_dir=str(tmp_path / "out"), seed=3)
  memory, disk = (
    catalog.load("tfds:npz", dataclasses.replace(options, stream=s))
    for s in (False, True)
  )
  for split in memory.splits:
    np.testing.assert_array_equal(
      memory.splits[split].ids, disk.splits[split].ids
    )
  assert memory.drawn
  assert "12 of 60 training examples held out" in " ".join(disk.notes)


def test_only_what_is_prepared_can_stay_on_disk(stays):
  with pytest.raises(
    errors.InputError, match="--reading=stream: digits is read"
  ):
    catalog.load("digits", catalog.Options(stream=True))
  with pytest.raises(
    errors.InputError, match="prepare it with --split_by=subj"
  ):
    catalog.load(NAME, dataclasses.replace(stays, split_by="subject"))


BUCKETS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def _places(layout, seed):
  """What slots see in an epoch, `[batches, B]`, drawn by NumPy."""
  rng = np.random.default_rng(seed)
  rows = layout.rows(np.arange(layout.num_slots))
  drawn = [
    rng.permutation(np.flatnonzero(own != plans.PADDING)) for own in rows
  ]
  return np.stack([own[: layout.num_batches] for own in drawn], axis=1)


@hypothesis.given(BUCKETS, st.integers(1, 9), st.integers(0, 99))
def test_an_epoch_sees_each_example_at_most_once_in_its_bucket(
  bucket, num_slots, seed
):
  bucket = np.array(bucket)
  layout = plans.by_bucket(bucket, num_slots)
  slots, places = np.arange(num_slots), _places(layout, seed)
  plan = plans.epoch(layout, slots, places, bucket, (seed, 0))
  every = layout.rows(slots)
  assert sorted(every[every != plans.PADDING]) == list(range(len(bucket)))
  seen = [row for batch in plan for row in batch.rows[:, 0].tolist()]
  assert len(seen) == len(set(seen))
  # No more is left out than a batch would hold.
  assert len(bucket) - len(seen) < num_slots
  for batch in plan:
    # Each slot keeps to its own examples.
    np.testing.assert_array_equal(
      batch.rows[:, 0], every[slots, batch.places[:, 0]]
    )
    assert batch.bucket == bucket[batch.rows].max()
  mixed = [b for b in plan if len(set(bucket[b.rows].ravel().tolist())) > 1]
  assert len(mixed) <= 2 * len(set(bucket.tolist()))


def test_with_one_bucket_slots_keep_their_order():
  layout = plans.SlotLayout(23, 5)
  places = _places(layout, 0)
  plan = plans.epoch(layout, np.arange(5), places, np.zeros(23, int), (0, 0))
  found = np.concatenate([batch.places for batch in plan], axis=1)
  np.testing.assert_array_equal(found.T, places)
  np.testing.assert_array_equal(
    layout.rows([3, 4]), [[3, 8, 13, 18, plans.PADDING],
                          [4, 9, 14, 19, plans.PADDING]]
  )  # fmt: skip


@hypothesis.given(BUCKETS, st.integers(1, 9), st.integers(1, 30))
def test_a_pass_sees_each_example_once(bucket, num_slots, at_once):
  bucket = np.array(bucket)
  layout = plans.by_bucket(bucket, num_slots)
  slots = np.arange(num_slots)
  plan = plans.in_order(layout, slots, bucket, at_once)
  rows = np.concatenate([batch.rows for batch in plan], axis=1)
  assert sorted(rows[rows != plans.PADDING]) == list(range(len(bucket)))
  assert len({batch.rows.shape for batch in plan}) == 1
  assert plan[0].rows.size <= max(at_once, num_slots)
  every = np.append(bucket, 0)
  for batch in plan:
    assert batch.bucket == every[batch.rows].max()
  np.testing.assert_array_equal(rows[:, : layout.length], layout.rows(slots))


@hypothesis.given(BUCKETS, st.sampled_from([2, 4, 6]), st.integers(0, 99))
def test_processes_share_every_batch(bucket, num_slots, seed):
  """What two plan, each for half of the slots, is what one plans for all."""
  bucket = np.array(bucket)
  layout = plans.by_bucket(bucket, num_slots)
  places = _places(layout, seed)
  halves = np.split(np.arange(num_slots), 2)

  def plan_epoch(slots, largest=lambda x: x):
    return plans.epoch(
      layout, slots, places[:, slots], bucket, (seed, 0), largest
    )

  def plan_pass(slots, largest=lambda x: x):
    return plans.in_order(layout, slots, bucket, 8, largest)

  for make in (plan_epoch, plan_pass):
    of_halves = []
    for slots in halves:
      make(slots, lambda x: of_halves.append(x) or x)
    largest = np.maximum(*of_halves)
    whole = make(np.arange(num_slots))
    parts = [make(slots, lambda x: largest) for slots in halves]
    for one, *shared in zip(whole, *parts, strict=True):
      assert {part.bucket for part in shared} == {one.bucket}
      for name in ("rows", "places"):
        joined = np.concatenate([getattr(part, name) for part in shared])
        np.testing.assert_array_equal(joined, getattr(one, name))


@pytest.mark.parametrize("count", [1, 2, 4, 50])
def test_buckets_hold_every_example_in_few_shapes(stays, count):
  # Notes and ecg have as many steps, hence may be of one group.
  train = catalog.load(NAME, stays).splits["train"].padded({"ecg": 5})
  assert train.num_steps[2] == train.num_steps[4] == 5
  shapes = zip(train.modalities, train.num_steps, train.widths, strict=True)
  buckets = plans.make_buckets(
    train.length,
    {m: (steps, width) for m, steps, width in shapes},
    [["vitals"], ["hourly"], ["notes", "ecg"], ["cxr"]],
    count,
  )
  assert 1 <= len(buckets.num_steps) <= count
  most = dict(zip(train.modalities, train.num_steps, strict=True))
  assert dict(buckets.num_steps[-1]) == most
  assigned = buckets.assign(train.length, len(train))
  for m in train.modalities:
    longest = np.array([shape[m] for shape in buckets.num_steps])
    assert np.all(train.length[m] <= longest[assigned])
  for shape in buckets.num_steps[:-1]:
    assert shape["notes"] == shape["ecg"]
  if count > 1:
    # They save some of the padding.
    first = buckets.num_steps[0]
    assert sum(first.values()) < sum(most.values())
    assert len(set(assigned.tolist())) > 1


def test_a_stream_keeps_order_position_and_reads_ahead():
  made, lock = [], threading.Lock()

  def make(item):
    time.sleep(0.02 * (item % 3 == 0))
    with lock:
      made.append(item)
    return item * item

  stream = streaming.Stream(make, list(range(20)))
  assert next(stream) == 0
  assert stream.position == 1
  end = time.monotonic() + 10
  while len(made) < 3 and time.monotonic() < end:
    time.sleep(0.01)
  # Some are ready before they are asked for, but not all.
  assert 3 <= len(made) <= 10
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


def _address(array):
  return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_no_view_is_left():
  own = buffers.Buffers()
  first = own.empty((4, 5), np.float32)
  first[:] = 1
  place = _address(first)
  # A view of a view keeps it, however the array is called.
  view = first.reshape(20)[3:].view(np.uint8)
  del first
  second = own.empty((20,), np.float32)
  assert _address(second) != place
  second[:] = 2
  np.testing.assert_array_equal(view.view(np.float32), 1)
  del view
  third = own.empty((5, 4), np.float32)
  assert _address(third) == place
  assert _address(own.empty((5, 3), np.float32)) != place
  assert own.empty((0, 3), np.float32).shape == (0, 3)


def test_what_jax_holds_is_not_written_to():
  own = buffers.Buffers()
  array = own.empty((256, 256), np.float32)
  array[:] = 1
  held = jnp.asarray(array)
  del array
  for _ in range(3):
    own.empty((256, 256), np.float32)[:] = 2
  np.testing.assert_array_equal(held, 1)


def test_batches_that_are_kept_stay_as_they_were(stays):
  train = catalog.load(NAME, stays).splits["train"]
  plan = [np.array([i, i + 1]) for i in range(0, 12, 2)]
  kept = list(streaming.Stream(train.read, plan))
  for rows, batch in zip(plan, kept, strict=True):
    again = train.read(rows)
    for m in train.modalities:
      np.testing.assert_array_equal(batch.features[m], again.features[m])
