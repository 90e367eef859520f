"""Runs that train in turns."""

import itertools

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from btw_jax import types
from btw_jax.models import networks
from btw_jax.training import loop
from btw_jax.training import turns
from btw_jax.training import vectorized_runs
from support import problems

_SIZES = st.integers(1, 12)


@hypothesis.given(_SIZES, _SIZES, st.integers(1, 160))
def test_turns_hold_every_run_once_and_no_more_than_fit(
  num_settings, num_seeds, most
):
  shape = num_settings, num_seeds
  found = turns.split(shape, lambda r, s: r * s <= most)
  count = np.zeros(shape, int)
  sizes = set()
  for turn in found:
    count[turn.settings, turn.seeds] += 1
    sizes.add(count[turn.settings, turn.seeds].shape)
  assert np.all(count == 1)
  assert all(r * s <= max(most, 1) for r, s in sizes)
  # Seeds are split first; settings of one seed only where they must be.
  if num_settings <= most:
    assert {r for r, _ in sizes} == {num_settings}
  else:
    assert {s for _, s in sizes} == {1}
  # No fewer turns of equal parts would do.
  if num_settings <= most:
    fewer = len(found) - 1
    assert fewer == 0 or num_settings * -(-num_seeds // fewer) > most


@hypothesis.given(_SIZES, _SIZES, st.integers(1, 160))
def test_results_of_turns_are_joined_in_their_places(
  num_settings, num_seeds, most
):
  shape = num_settings, num_seeds
  found = turns.split(shape, lambda r, s: r * s <= most)
  whole = {
    "a": np.arange(num_settings * num_seeds * 2.0).reshape(*shape, 2),
    "b": (np.arange(num_settings * num_seeds).reshape(shape), None),
  }
  parts = [
    {
      "a": whole["a"][turn.settings, turn.seeds],
      "b": (whole["b"][0][turn.settings, turn.seeds], None),
    }
    for turn in found
  ]
  joined = turns.join(found, parts, shape)
  np.testing.assert_array_equal(joined["a"], whole["a"])
  np.testing.assert_array_equal(joined["b"][0], whole["b"][0])
  assert joined["b"][0].dtype == whole["b"][0].dtype


@pytest.mark.parametrize("own", [False, True])
def test_a_turn_sees_the_examples_of_its_seeds(own):
  batch = problems.batch(8)
  if own:
    batch = types.Batch(
      *(
        None if x is None else np.stack([x + 0, x * 0, x + 0])
        for x in batch[:3]
      )
    )
  unimodal = np.arange(3 * 2 * 8 * 3).reshape(3, 2, 8, 3)
  split = types.Split(batch, unimodal)
  part = turns.select(split, turns.Turn(slice(0, 1), slice(1, 3)))
  np.testing.assert_array_equal(part.unimodal, unimodal[1:])
  expected = batch.features[1:] if own else batch.features
  np.testing.assert_array_equal(part.batch.features, expected)


@pytest.mark.training
@pytest.mark.parametrize(
  "network", [networks.Concatenation, problems.mixture()]
)
def test_the_memory_of_many_runs_is_known_from_that_of_one(network):
  trainer = problems.trainer(network, problems.RULE)
  specs = [
    vectorized_runs.RunSpec(variant, strength, 1.0)
    for variant, strength in itertools.product(("uniform", "kl+mi"), (0.5, 1.0))
  ]
  seeds = [0, 1, 2]
  splits = [
    types.Split(problems.batch(number), np.zeros((3, 3, number, 3), np.float32))
    for number in (400, 100)
  ]
  found, memory = turns.plan(trainer, specs, seeds, *splits, num_bytes=1)
  assert len(found) == 12
  actual = loop.make_runner(trainer, specs, seeds, *splits).num_bytes()
  assert 0.6 < memory.needed(4, 3) / actual < 1.7
  found, memory = turns.plan(trainer, specs, seeds, *splits, num_bytes=10**12)
  assert (len(found), memory) == (1, None)
