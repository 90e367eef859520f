"""The base of the methods that balance modalities."""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar, NamedTuple

import chex
from flax import linen as nn
import jax.numpy as jnp
import numpy as np

from btw_jax import hooks
from btw_jax import tasks


class Setting(NamedTuple):
  """The setting that a method is tuned by.

  Attributes:
    name: in the field's words.
    default: the published value.
    low: the smallest candidate.
    high: the largest candidate.
    log: whether candidates are spaced evenly on a logarithmic scale.
    limit: values must be below it.
  """

  name: str
  default: float
  low: float
  high: float
  log: bool = False
  limit: float = float("inf")

  def candidates(self, number: int) -> list[float]:
    """Returns so many values to choose from, the default first.

    They cover the range from `low` to `high`; the default takes the place of
    the value that is closest to it.
    """
    if number == 1:
      return [self.default]
    space = np.geomspace if self.log else np.linspace
    values = space(self.low, self.high, number)
    scale = np.log if self.log else np.asarray
    closest = np.argmin(np.abs(scale(values) - scale(self.default)))
    others = np.delete(values, closest)
    return [self.default, *(float(f"{value:.3g}") for value in others)]


@dataclasses.dataclass(frozen=True)
class Setup:
  """The parts that a method is built from, besides its setting.

  Attributes:
    num_modalities: M.
    embedding_dim: D, width of an embedding.
    acts_on: "updates" or "gradients", what factors of encoders multiply.
    seeds: the S seeds of the run.
    teacher: the network of the unimodal models, or None.
    teacher_params: its parameters, `[S, ...]`, or None.
  """

  num_modalities: int
  embedding_dim: int
  acts_on: str = "updates"
  seeds: Sequence[int] = ()
  teacher: nn.Module | None = None
  teacher_params: chex.ArrayTree | None = None


@dataclasses.dataclass(frozen=True)
class Balance(hooks.Hook):
  """A hook that balances modalities.

  Attributes:
    num_modalities: M.
    setting: what it is tuned by.
    warm_up: number of epochs in which it changes nothing.
  """

  num_modalities: int
  setting: ClassVar[Setting]
  warm_up: ClassVar[int] = 0

  @classmethod
  def make(cls, setup: Setup) -> "Balance":
    """Builds the method."""
    return cls(setup.num_modalities)

  @classmethod
  def check(cls, network: nn.Module, batch_size: int) -> str | None:
    """Returns why the method cannot train a network, or None if it can."""
    del network, batch_size

  @classmethod
  def doubt(cls, num_epochs: int, acts_on: str) -> str | None:
    """Returns why the method, or its setting, changes nothing; None if not."""
    del acts_on
    if num_epochs > cls.warm_up:
      return None
    return (
      f"changes nothing in its first {cls.warm_up} epochs, and --num_epochs is"
      f" {num_epochs}"
    )

  @classmethod
  def network(cls, network: nn.Module, task: tasks.Task) -> nn.Module:
    """Returns the network to train in place of the multimodal network."""
    del task
    return network

  def value(self, step: hooks.Step) -> chex.Array | float:
    """Returns the value of the setting in a step."""
    return self.setting.default if step.value is None else step.value


@dataclasses.dataclass(frozen=True)
class Modulation(Balance):
  """A method that multiplies the gradient or update of each encoder.

  Its state holds `factors` `[M]`.

  Under Adam, a factor of the gradient that changes slowly cancels nearly, as
  the optimizer divides by the gradient's own size; a factor of the update does
  not.

  Attributes:
    acts_on: "updates" or "gradients".
  """

  acts_on: str = "updates"

  @classmethod
  def make(cls, setup: Setup) -> "Modulation":
    """Builds the method."""
    return cls(setup.num_modalities, setup.acts_on)

  def change_gradients(self, step, owners, gradients, apart):
    """Multiplies the gradients, if the factors act on these."""
    del apart
    if self.acts_on != "gradients":
      return gradients
    return self.modulate(step, owners, gradients)

  def change_updates(self, step, owners, updates):
    """Multiplies the updates, if the factors act on these."""
    if self.acts_on != "updates":
      return updates
    return self.modulate(step, owners, updates)

  def modulate(
    self, step: hooks.Step, owners: hooks.Owners, tree: chex.ArrayTree
  ) -> chex.ArrayTree:
    """Multiplies the encoders' part of a tree by their factors."""
    return owners.scale(tree, step.state["factors"])


def next_epoch(state: dict) -> dict:
  """Counts an epoch in the state of a method."""
  return state | {"epoch": state["epoch"] + jnp.int32(1)}
