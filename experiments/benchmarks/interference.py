"""Measures what the mitigations of interference add to a training step."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from btw_jax import interventions
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from btw_jax.reports import tables as tables_lib
from experiments.benchmarks import timing
from experiments.benchmarks import train as train_suite

_KINDS = ("noise", "shuffle", "mismatch")


def run(rounds: int) -> list[dict[str, str]]:
  """Measures steps with a mitigation against plain ones, sized as CMU-MOSI."""
  rows = []
  for num_seeds in (1, 10):
    seeds = tuple(range(num_seeds))
    plain = _steps((), num_seeds)
    attacks = [adversarial.Adversarial(num_steps=n) for n in (2, 5)]
    copies = _copies(seeds)
    four = dataclasses.replace(copies, num_views=4)
    for name, views, target in (
      *(
        (
          f"adversarial step, {attack.num_steps} ascent steps",
          (attack,),
          f"at most {2 + attack.num_steps}",
        )
        for attack in attacks
      ),
      ("heuristic step, 1 copy", (copies,), ""),
      ("heuristic step, 4 copies", (four,), ""),
      ("all three, 1 copy, 2 ascent steps", (copies, attacks[0]), ""),
    ):
      first, second, ratio = timing.compare(
        _steps(views, num_seeds), plain, rounds
      )
      count = train_suite.NUM_STEPS * num_seeds
      rows.append(
        timing.row(
          f"{name} / plain, {tables_lib.quantity(num_seeds, 'seed')}",
          first / count,
          second / count,
          ratio,
          target,
        )
      )
  return rows


def _copies(seeds: Sequence[int]) -> heuristic.Heuristic:
  """Builds the heuristic mitigation for standardised features."""
  shape = len(train_suite.WIDTHS), max(train_suite.WIDTHS)
  feature_stats = interventions.FeatureStats(
    np.zeros(shape), np.ones(shape, np.float32), np.zeros(shape)
  )
  return heuristic.Heuristic(_KINDS, [1.0] * len(_KINDS), feature_stats, seeds)


def _steps(views, num_seeds):
  plain = train_suite.make_trainer(("uniform",))
  if views:
    hook = mitigation.Mitigation(views, consistency=0.01)
    plain = dataclasses.replace(plain, hook=hook)
  return train_suite.steps(plain, num_seeds)
