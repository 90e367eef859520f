import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from btw_jax.data import assembly
from btw_jax.data import plans
from support import dataset_files

BUCKETS = st.lists(st.integers(0, 3), min_size=1, max_size=60)


def _places(layout, seed):
  """Draws the places `[batches, B]` of an epoch with NumPy."""
  rng = np.random.default_rng(seed)
  rows = layout.rows(np.arange(layout.num_slots))
  drawn = [
    rng.permutation(np.flatnonzero(slot_rows != plans.PADDING))
    for slot_rows in rows
  ]
  return np.stack(
    [slot_rows[: layout.num_batches] for slot_rows in drawn], axis=1
  )


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
  # Fewer examples than one batch are left out.
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
  planned = np.concatenate([batch.places for batch in plan], axis=1)
  np.testing.assert_array_equal(planned.T, places)
  np.testing.assert_array_equal(
    layout.rows([3, 4]), [[3, 8, 13, 18, plans.PADDING],
                          [4, 9, 14, 19, plans.PADDING]]
  )  # fmt: skip


@hypothesis.given(BUCKETS, st.integers(1, 9), st.integers(1, 30))
def test_a_pass_sees_each_example_once(bucket, num_slots, at_once):
  bucket = np.array(bucket)
  layout = plans.by_bucket(bucket, num_slots)
  slots = np.arange(num_slots)
  plan = plans.full_pass(layout, slots, bucket, at_once)
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
  """Two plans, each for half of the slots, equal one plan for all."""
  bucket = np.array(bucket)
  layout = plans.by_bucket(bucket, num_slots)
  places = _places(layout, seed)
  halves = np.split(np.arange(num_slots), 2)

  def plan_epoch(slots, largest=lambda x: x):
    return plans.epoch(
      layout, slots, places[:, slots], bucket, (seed, 0), largest
    )

  def plan_pass(slots, largest=lambda x: x):
    return plans.full_pass(layout, slots, bucket, 8, largest)

  for make in (plan_epoch, plan_pass):
    of_halves = []
    for slots in halves:
      make(slots, lambda x: of_halves.append(x) or x)
    largest = np.maximum(*of_halves)
    full = make(np.arange(num_slots))
    parts = [make(slots, lambda x: largest) for slots in halves]
    for one, *shared in zip(full, *parts, strict=True):
      assert {part.bucket for part in shared} == {one.bucket}
      for name in ("rows", "places"):
        joined = np.concatenate([getattr(part, name) for part in shared])
        np.testing.assert_array_equal(joined, getattr(one, name))


@pytest.mark.parametrize("count", [1, 2, 4, 50])
def test_buckets_hold_every_example_in_few_shapes(stays, count):
  # Notes and ecg have the same number of steps and may share a group.
  train = (
    assembly.load(dataset_files.STAYS, stays).splits["train"].padded({"ecg": 5})
  )
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
    # Several buckets save some of the padding.
    first = buckets.num_steps[0]
    assert sum(first.values()) < sum(most.values())
    assert len(set(assigned.tolist())) > 1
