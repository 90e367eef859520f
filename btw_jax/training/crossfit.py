"""Validation of each example at an epoch that the example did not choose.

The best epoch has a low validation loss partly by luck: the more a run moves
from epoch to epoch, the more so. To compare runs, validation examples are
divided into two halves. The outputs for an example are those of the best epoch
of the other half (cross-fitting).
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.data import plans
from btw_jax.parallel import device_map
from btw_jax.training import state as state_lib

# Validation examples that are compared at most. More would cost memory, for
# every run, and tell no more.
_MAX_EXAMPLES = 2**14


def rows(num_examples: int) -> np.ndarray:
  """Returns the numbers of the validation examples that are compared."""
  return np.arange(0, num_examples, _stride(num_examples))


def half(places: np.ndarray) -> np.ndarray:
  """Returns the half, 0 or 1, of the examples at these places of `rows`."""
  return places % 2


def _stride(num_examples):
  return max(1, -(-num_examples // _MAX_EXAMPLES))


def init(
  num_models: int, num_examples: int, num_outputs: int
) -> state_lib.CrossFit:
  """Returns the state before the first epoch.

  U models are validated on N examples, with K outputs each.
  """
  shape = (num_models, len(rows(num_examples)), num_outputs)
  return state_lib.CrossFit(
    jnp.full((num_models, 2), jnp.inf, jnp.float32),
    jnp.full(shape, jnp.nan, jnp.float32),
  )


def update(
  crossfit: state_lib.CrossFit,
  outputs: chex.Array,
  losses: chex.Array,
  where: chex.Array,
  may_improve: chex.Array,
  layout: plans.SlotLayout,
  axis_name: str | tuple[str, str],
) -> state_lib.CrossFit:
  """Takes an epoch's outputs where the other half of the examples improved.

  Args:
    crossfit: the state before the epoch.
    outputs: `[U, n, K]` outputs for this device's validation examples.
    losses: `[U, n]` their losses.
    where: `[U, n]` bool, the examples that count for a model.
    may_improve: `[U]` bool, False for models that patience has stopped.
    layout: of the validation split, static; it numbers the examples.
    axis_name: the mapped axes that the examples are sharded over.

  Returns:
    The state after the epoch, the same on all devices.
  """
  slots = device_map.device_slots(layout.num_slots, axis_name)
  numbers = jnp.asarray(layout.rows(range(layout.num_slots)))[slots]
  places, skipped = jnp.divmod(
    numbers.reshape(-1), _stride(layout.num_examples)
  )
  # `divmod` leaves padding, −1, negative.
  is_example = (places >= 0) & (skipped == 0)
  num_places = crossfit.outputs.shape[1]
  # A place past the end is dropped.
  places = jnp.where(is_example, places, num_places)
  empty = jnp.zeros(crossfit.outputs.shape, outputs.dtype)
  gathered = empty.at[:, places].set(outputs, mode="drop")
  by_half = half(places) == jnp.arange(2)[:, None]
  counted = where[:, None] & by_half & is_example
  gathered, totals, counts = jax.lax.psum(
    (
      gathered,
      jnp.sum(jnp.where(counted, losses[:, None], 0.0), axis=-1),
      jnp.sum(counted, axis=-1).astype(losses.dtype),
    ),
    axis_name,
  )
  # A half without examples goes by all of them.
  overall = totals.sum(-1, keepdims=True) / jnp.maximum(
    counts.sum(-1, keepdims=True), 1.0
  )
  means = jnp.where(counts > 0, totals / jnp.maximum(counts, 1.0), overall)
  improved = (means < crossfit.loss) & may_improve[:, None]
  # The other half decides about an example.
  decided = improved[:, 1 - half(np.arange(num_places))]
  return state_lib.CrossFit(
    jnp.where(improved, means, crossfit.loss),
    jnp.where(decided[..., None], gathered, crossfit.outputs),
  )
