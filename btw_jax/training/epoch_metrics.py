"""Sums of the steps of an epoch that is trained batch by batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import numpy as np


class EpochSums:
  """The sums over the steps of one epoch.

  Steps are added one by one in double precision, so that an epoch that was
  stopped in between and resumed has the same sums to the last bit.

  Attributes:
    num_steps: number of steps added.
  """

  def __init__(self, state: Mapping[str, Any] | None = None):
    """Starts empty, or from the `state` of other sums."""
    state = state or {"num_steps": 0, "leaves": [], "skipped": []}
    self.num_steps = state["num_steps"]
    self._leaves = [np.asarray(x) for x in state["leaves"]]
    self._skipped, self._example = [*state["skipped"]], None

  def state(self) -> dict[str, Any]:
    """Returns the sums as a dict that JSON can hold."""
    return {
      "num_steps": self.num_steps,
      "leaves": [x.tolist() for x in self._leaves],
      "skipped": self._skipped,
    }

  def add(self, steps: Sequence[chex.ArrayTree]) -> None:
    """Adds the results of `Trainer.step`, with `skipped` `[R, S]` each."""
    for sums in jax.device_get(steps):
      skipped = sums.pop("skipped")
      self._skipped += [
        [r, s, self.num_steps, int(skipped[r, s])]
        for r, s in np.argwhere(skipped).tolist()
      ]
      leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(sums)]
      if self.num_steps:
        leaves = [a + b for a, b in zip(self._leaves, leaves, strict=True)]
      self._leaves, self._example = leaves, (sums, skipped.shape)
      self.num_steps += 1

  def total(self) -> chex.ArrayTree:
    """Returns the sums, and `skipped` `[R, S, T]` of every step."""
    example, shape = self._example
    leaves = [x.astype(np.float32) for x in self._leaves]
    total = jax.tree.unflatten(jax.tree.structure(example), leaves)
    total["skipped"] = np.zeros((*shape, self.num_steps), np.int32)
    for r, s, step, count in self._skipped:
      total["skipped"][r, s, step] = count
    return total
