"""What training against interference costs a step."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from btw_jax import interventions
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from experiments.benchmarks import timing
from experiments.benchmarks import train as train_suite

_KINDS = ("noise", "shuffle", "mismatch")


def run(rounds: int) -> list[dict[str, str]]:
  """Steps with a hook against plain ones, at the size of CMU-MOSI.

  Args:
    rounds: turns of each side.

  Returns:
    Rows of a table.
  """
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
          f"adversarial step, {attack.num_steps} of ascent",
          (attack,),
          f"at most {2 + attack.num_steps}",
        )
        for attack in attacks
      ),
      ("heuristic step, 1 copy", (copies,), ""),
      ("heuristic step, 4 copies", (four,), ""),
      ("all three, 1 copy, 2 of ascent", (copies, attacks[0]), ""),
    ):
      first, second, ratio = timing.compare(
        _steps(views, num_seeds), plain, rounds
      )
      count = train_suite.NUM_STEPS * num_seeds
      rows.append(
        timing.row(
          f"{name} / plain, {num_seeds} seed(s)",
          first / count,
          second / count,
          ratio,
          target,
        )
      )
  return rows


def _copies(seeds: Sequence[int]) -> heuristic.Heuristic:
  """Of standardised features."""
  shape = len(train_suite.WIDTHS), max(train_suite.WIDTHS)
  usual = interventions.FeatureStats(
    np.zeros(shape), np.ones(shape, np.float32), np.zeros(shape)
  )
  return heuristic.Heuristic(_KINDS, [1.0] * len(_KINDS), usual, seeds)


def _steps(views, num_seeds):
  plain = train_suite.trainer(("uniform",))
  hook = mitigation.Mitigation(views, consistency=0.01) if views else None
  own = dataclasses.replace(plain, hook=hook)
  return train_suite.steps(own, num_seeds)
