"""Random orders and samples of the training examples, drawn slot by slot.

Keys are folded from (seed, stream, epoch, slot) and never carried, so a resumed
run draws the same numbers, and so does a run on another number of devices.
"""

import chex
import jax
import jax.numpy as jnp

from btw_jax import threefry
from btw_jax.data import plans

# The independent streams of random numbers of a run.
INIT, SHUFFLE, DROPOUT, SAMPLE, HOOK = range(5)


def stream_key(seed: chex.Array, stream: int) -> chex.PRNGKey:
  """Returns the key of one random stream of a run."""
  return threefry.fold_in(jax.random.key(seed), stream)


def epoch_order(
  seed: chex.Array,
  epoch: chex.Array,
  slots: chex.Array,
  layout: plans.SlotLayout,
) -> chex.Array:
  """Draws the order in which `[n]` slots see their examples in an epoch.

  Returns `[num_batches, n]` places of examples within their slot. A slot with
  one example more than the others leaves out a different one every epoch.
  """
  places = _shuffle_slots(SHUFFLE, seed, epoch, slots, layout)
  return places[:, : layout.num_batches].T


def sample_rows(
  seed: chex.Array,
  epoch: chex.Array,
  slots: chex.Array,
  layout: plans.SlotLayout,
  num_samples: int,
) -> chex.Array | None:
  """Samples the rows that the nearest-neighbour estimate of information uses.

  Returns `[C]` rows of the examples of these `[n]` slots, which lie side by
  side, equally many of each slot and about `num_samples` over all devices. None
  stands for all examples.
  """
  if layout.num_examples <= num_samples:
    return None
  per_slot = max(1, num_samples // layout.num_slots)
  places = _shuffle_slots(SAMPLE, seed, epoch, slots, layout)[:, :per_slot]
  starts = jnp.arange(len(slots))[:, None] * layout.length
  return (starts + places).reshape(-1)


def _shuffle_slots(stream, seed, epoch, slots, layout):
  """Shuffles the places `[n, L]` of the examples of each slot."""
  key = threefry.fold_in(stream_key(seed, stream), epoch)
  bits = threefry.bits(threefry.fold_in(key, slots), layout.length)
  place = jnp.arange(layout.length)
  filled = place * layout.num_slots + slots[:, None] < layout.num_examples
  # Padding gets the largest number, hence is sorted behind all examples.
  largest = jnp.uint32(2**32 - 1)
  return jnp.argsort(jnp.where(filled, bits >> 1, largest), axis=1)
