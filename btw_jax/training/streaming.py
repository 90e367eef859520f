"""The same training for sets that stay on disk: one program call per batch.

Each process reads the examples of its own slots. All seeds see the same
batches, in the order that the first one would see them in, so that every
example is read once per epoch.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.data import batch_source
from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.parallel import hosts
from btw_jax.parallel import placement
from btw_jax.training import epoch as epoch_lib
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# Examples that are predicted at a time.
_CHUNK = 256
# Steps after which a program asks whether to stop.
_BETWEEN = 16
# Of a split whose examples are shared and whose unimodal outputs are not.
_SPLIT = (types.Split(None, 0), None)
_SAME, _SPREAD = device_map.REPLICATED, device_map.SHARDED


class Program:
  """All runs, taken an epoch further batch by batch.

  Attributes:
    run: their state, `[R, S, ...]`.
    axes: what of it is spread over devices.
    num_turns: batches of an epoch.
    sums: of the steps of an epoch that has begun.
  """

  def __init__(
    self,
    trainer: trainer_lib.Trainer,
    choices: Sequence[vectorized_runs.RunSpec],
    seeds: Sequence[int],
    train: types.Split,
    valid: types.Split,
  ):
    """Starts every run.

    Args:
      trainer: what to train.
      choices: R cells.
      seeds: S of them; the first decides on the order of examples.
      train: training split, its batch a `batch_source.DiskBatches`.
      valid: validation split, likewise.
    """
    self._trainer = trainer
    self._cells = vectorized_runs.stack_params(trainer.rule, choices)
    self._seeds = jnp.asarray(seeds)
    self._train = _OnDisk(train, trainer.batch_size)
    self._valid = _OnDisk(valid, jax.device_count())
    self._order = jax.jit(trainer.order, static_argnums=3)
    self.num_turns = self._train.layout.num_batches
    self.sums = Sums()
    num_examples = len(train.batch.examples)
    run, cell, seed, every = (
      vectorized_runs.PER_RUN, vectorized_runs.PER_SETTING, vectorized_runs.PER_SEED, vectorized_runs.SHARED,
    )  # fmt: skip
    self.run, self.axes = vectorized_runs.init(
      trainer, len(choices), self._seeds, self._train.first()
    )
    spread = self.axes
    params = vectorized_runs.params_axes(trainer, self.run.train.params, 2)
    refreshed = None
    if trainer.rule.weighs:
      counts = _SPREAD if trainer.rule.examples else None
      refreshed = state_lib.Refreshed(_SPREAD, _SAME, counts)

    def mapped(function, axes, in_axes, out_axes, **options):
      return device_map.parallelise(
        vectorized_runs.map_runs(function, axes),
        in_axes,
        out_axes,
        how=trainer.parallelism,
        **options,
      )

    self._steps = _of_buckets(
      trainer, train.batch,
      lambda own: mapped(
        own.batch_step, (run, cell, seed, every, every),
        (spread, _SAME, _SAME, _SPREAD, _SPREAD), (spread, _SAME),
        donate_first=True,
      ),
    )  # fmt: skip
    self._outputs = _of_buckets(
      trainer, train.batch,
      lambda own: mapped(
        functools.partial(epoch_lib.train_outputs, own),
        (run, cell, every, every),
        (spread, _SAME, _SPREAD, _SPREAD), _SPREAD,
      ),
    )  # fmt: skip
    self._predict = _of_buckets(
      trainer, valid.batch,
      lambda own: mapped(
        functools.partial(epoch_lib.predict, own), (run, run, cell, _SPLIT),
        (params, _SAME, _SAME, _SPREAD), _SPREAD,
      ),
    )  # fmt: skip
    self._refresh = mapped(
      functools.partial(epoch_lib.refresh, trainer, num_examples),
      (cell, seed, every, _SPLIT, run),
      (_SAME, _SAME, _SAME, _SPREAD, _SPREAD), refreshed,
    )  # fmt: skip
    self._guide = mapped(
      functools.partial(epoch_lib.guide_after, trainer), (run, run, every),
      (spread, refreshed, _SPREAD), _SAME,
    )  # fmt: skip
    self._close = mapped(
      functools.partial(epoch_lib.close, trainer),
      (run, cell, every, every, run, run, every),
      (spread, _SAME, _SAME, _SPREAD, refreshed, _SPREAD, _SPREAD),
      (spread, _SAME),
    )  # fmt: skip

  def __call__(
    self, epoch: int, between: Callable[[], bool] = lambda: False
  ) -> dict[str, chex.Array] | None:
    """Trains an epoch, or what is left of it.

    Args:
      epoch: its number, from 0.
      between: called after some batches; whether to stop there.

    Returns:
      What the runs log, `[R, S, ...]`; None if it was stopped.
    """
    log = self._train_epoch(epoch, between)
    if log is None:
      return None
    present = self._train.small.batch.present
    refreshed = guide = None
    if self._trainer.rule.weighs:
      refreshed = self._refreshed(epoch)
      guide = self._guide(self.run, refreshed, present)
    outputs, _ = _predict(
      self._predict, self.run.train.params, guide, self._cells, self._valid
    )
    self.run, closing = self._close(
      self.run,
      self._cells,
      epoch,
      present,
      refreshed,
      hosts.shard(outputs),
      self._valid.small.batch,
    )
    return log | closing

  def examples(self, epoch: int, seed: int, step: int) -> np.ndarray:
    """Which examples this process put into a batch of the latest epoch.

    Args:
      epoch: its number.
      seed: position of a seed; all see the same.
      step: of the epoch.

    Returns:
      Their numbers.
    """
    del epoch, seed
    return self._plan[step].rows.reshape(-1)

  def _train_epoch(self, epoch, between):
    own, trainer = self._train, self._trainer
    places = self._order(
      self._seeds[0], epoch, own.slots, own.layout.num_examples
    )
    plan = plans.epoch(
      own.layout,
      own.slots,
      np.asarray(places),
      own.source.bucket,
      (int(self._seeds[0]), epoch),
      _largest,
    )
    found = []
    for planned, batch, rows in own.batches(plan, start=self.sums.num_steps):
      self.run, sums = self._steps[planned.bucket](
        self.run, self._cells, self._seeds, batch, rows
      )
      found.append(sums)
      if len(found) == _BETWEEN:
        self.sums.add(found)
        found = []
        if self.sums.num_steps < len(plan) and between():
          return None
    self.sums.add(found)
    total, self.sums = self.sums.total(), Sums()
    self._plan = plan
    return trainer.training_log(total, len(plan))

  def _refreshed(self, epoch):
    if not epoch_lib.due(self._trainer, epoch):
      return epoch_lib.kept(self.run)
    own, found = self._train, []
    for planned, batch, rows in own.batches(own.plan()):
      outputs = self._outputs[planned.bucket](
        self.run, self._cells, batch, rows
      )
      found.append(hosts.local_shards(outputs))
    outputs = hosts.shard(own.join(found))
    return self._refresh(self._cells, self._seeds, epoch, own.small, outputs)


class Sums:
  """What the steps of an epoch add up to.

  Added one by one, in double precision: an epoch that was stopped in between
  and taken up again has the same sums to the last bit.

  Attributes:
    num_steps: that were added.
  """

  def __init__(self, state: Mapping[str, Any] | None = None):
    """Starts at nothing, or goes on.

    Args:
      state: of other sums, to go on from.
    """
    state = state or {"num_steps": 0, "leaves": [], "skipped": []}
    self.num_steps = state["num_steps"]
    self._leaves = [np.asarray(x) for x in state["leaves"]]
    self._skipped, self._like = [*state["skipped"]], None

  def state(self) -> dict[str, Any]:
    """All there is to know of them, as JSON."""
    return {
      "num_steps": self.num_steps,
      "leaves": [x.tolist() for x in self._leaves],
      "skipped": self._skipped,
    }

  def add(self, steps: Sequence[chex.ArrayTree]) -> None:
    """Adds what steps returned.

    Args:
      steps: of each its sums, and `skipped` `[R, S]`.
    """
    for sums in jax.device_get(steps):
      skipped = sums.pop("skipped")
      self._skipped += [
        [r, s, self.num_steps, int(skipped[r, s])]
        for r, s in np.argwhere(skipped).tolist()
      ]
      leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(sums)]
      if self.num_steps:
        leaves = [a + b for a, b in zip(self._leaves, leaves, strict=True)]
      self._leaves, self._like = leaves, (sums, skipped.shape)
      self.num_steps += 1

  def total(self) -> chex.ArrayTree:
    """The sums, and of each step whether it was skipped, `[R, S, T]`."""
    like, shape = self._like
    leaves = [x.astype(np.float32) for x in self._leaves]
    total = jax.tree.unflatten(jax.tree.structure(like), leaves)
    total["skipped"] = np.zeros((*shape, self.num_steps), np.int32)
    for r, s, step, count in self._skipped:
      total["skipped"][r, s, step] = count
    return total


class _OnDisk:
  """A split that every process reads its slots of.

  Attributes:
    source: the split.
    layout: which example is where.
    slots: those of this process.
    small: presence, targets and unimodal outputs, on the devices.
  """

  def __init__(self, split, num_slots):
    self.source = split.batch
    self.layout = plans.by_bucket(self.source.bucket, num_slots)
    self.slots = placement.my_slots(num_slots)
    # Slots of a device.
    self._each = len(self.slots) // jax.local_device_count()
    small = types.Batch(None, self.source.present, self.source.target)
    self.small = placement.place(split._replace(batch=small), self.layout).split

  def first(self):
    """A split to start runs from: an example beside the presence of all."""
    batch = jax.tree.map(
      lambda x: np.repeat(x[None], jax.local_device_count(), axis=0),
      self.source.first(),
    )
    batch = hosts.shard(batch._replace(present=None))
    present = self.small.batch.present
    return types.Split(batch._replace(present=present), None)

  def plan(self):
    """All examples once."""
    return plans.in_order(
      self.layout, self.slots, self.source.bucket, _CHUNK, _largest
    )

  def batches(self, plan, start=0):
    """Reads batches; each as planned, by device, and where its examples are."""
    starts = np.arange(self._each)[:, None] * self.layout.length
    for planned, batch in self.source.batches(plan, start=start):
      places = placement.by_device(planned.places)
      rows = (starts + places).reshape(len(places), -1)
      yield planned, placement.by_device(batch), rows

  def join(self, parts):
    """`[D, ..., n, K]` of what was computed of each batch of the plan."""

    def by_slot(x):
      return x.reshape(*x.shape[:-2], self._each, -1, x.shape[-1])

    whole = np.concatenate([by_slot(x) for x in parts], axis=-2)
    whole = whole[..., : self.layout.length, :]
    return whole.reshape(*whole.shape[:-3], -1, whole.shape[-1])


def predict(
  trainer: trainer_lib.Trainer,
  cell: state_lib.RunParams,
  params: chex.ArrayTree,
  guide: state_lib.UnseenPrior | None,
  split: types.Split,
) -> tuple[np.ndarray, np.ndarray]:
  """Outputs of one cell's runs for a split on disk, targets not read.

  Args:
    trainer: what was trained.
    cell: what the runs are about.
    params: `[S, ...]`.
    guide: `[S, ...]`, or None to weigh equally.
    split: its batch a `batch_source.DiskBatches`; `unimodal` is `[S, M, N, K]`.

  Returns:
    Outputs `[S, U, N, K]` and the weights used `[S, N, M]`.
  """
  of_buckets = _of_buckets(
    trainer,
    split.batch,
    lambda own: device_map.parallelise(
      jax.vmap(
        functools.partial(epoch_lib.predict, own), (0, 0, None, _SPLIT[0])
      ),
      (vectorized_runs.params_axes(trainer, params, 1), _SAME, _SAME, _SPREAD),
      _SPREAD,
      how=trainer.parallelism,
    ),
  )
  own = _OnDisk(split, jax.device_count())
  found = _predict(of_buckets, params, guide, cell, own)
  return tuple(placement.restore_own(own.layout, x) for x in found)


def _predict(of_buckets, params, guide, cell, own):
  """Outputs `[D, ..., U, n, K]` and weights `[D, ..., n, M]` of a process."""
  found = []
  unimodal = None
  if guide is not None:
    unimodal = hosts.local_shards(own.small.unimodal)
  for planned, batch, rows in own.batches(own.plan()):
    outputs = None
    if unimodal is not None:
      outputs = np.stack(
        [x[:, :, r] for x, r in zip(unimodal, rows, strict=True)]
      )
    part = types.Split(batch._replace(target=None), outputs)
    found.append(
      hosts.local_shards(of_buckets[planned.bucket](params, guide, cell, part))
    )
  return tuple(own.join(parts) for parts in zip(*found, strict=True))


def _largest(bucket):
  """The largest of each batch's buckets, over the slots of all processes."""
  return hosts.gather(bucket[None]).max(axis=0)


def _of_buckets(
  trainer: trainer_lib.Trainer,
  source: batch_source.DiskBatches,
  make: Callable[[trainer_lib.Trainer], Any],
) -> list[Any]:
  """Of each bucket, what is made of a trainer for batches of its shape."""
  found = []
  for bucket in range(len(source.buckets.num_steps)):
    sizes = dataclasses.replace(
      trainer.network.sizes, num_steps=batch_source.num_steps(source, bucket)
    )
    network = trainer.network.clone(sizes=sizes)
    found.append(make(dataclasses.replace(trainer, network=network)))
  return found
