"""Decisions that change when the model is shown something else."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import divergences
from btw_jax.analysis import interference
from btw_jax.data.answers import conditions
from btw_jax.pipeline.audit import quality

_divergence = jax.jit(divergences.categorical_kl)


def measure(
  answers: conditions.Answers,
  reference: str,
  others: Sequence[str],
  groups: np.ndarray | None,
  num_resamples: int,
) -> list[dict[str, Any]]:
  """Compares every other condition with the reference.

  Args:
    answers: of all conditions.
    reference: the condition before the change.
    others: the conditions after a change.
    groups: `[N]` groups that are resampled together; none by default.
    num_resamples: of each interval.

  Returns:
    A row per condition, of the questions that both conditions answer:
    `flipped`, the share of decisions that change; `accuracy_before`,
    `accuracy_after` and `accuracy_change` of the labelled ones; `divergence`,
    KL(before ‖ after) in nats, unless a list of tokens is cut. Each has an
    interval beside it.
  """
  known = quality.labelled(answers)
  rows = []
  for name in others:
    before, after = answers.decisions[reference], answers.decisions[name]
    both = (before != conditions.NONE) & (after != conditions.NONE)
    values = {"flipped": (before != after, both)}
    if (known & both).any():
      right = [
        quality.is_right(answers, c).astype(float) for c in (reference, name)
      ]
      for field, value in (
        ("accuracy_before", right[0]),
        ("accuracy_after", right[1]),
        ("accuracy_change", right[1] - right[0]),
      ):
        values[field] = (value, known & both)
    whole = set(answers.log_probs) - set(answers.ceilings)
    if {reference, name} <= whole:
      divergence = _divergence(
        *(jnp.asarray(answers.log_probs[c]) for c in (reference, name))
      )
      values["divergence"] = (np.asarray(divergence), both)
    row = {"condition": name, "num_questions": int(both.sum())}
    if both.any():
      row |= _with_intervals(values, groups, num_resamples)
    rows.append(row)
  return rows


def _with_intervals(values, groups, num_resamples):
  """Returns field -> mean, and field_interval -> its ends.

  Fields that are of the same questions share resamples.
  """
  row = {}
  masks = {where.tobytes(): where for _, where in values.values()}
  for key, where in masks.items():
    fields = [f for f, (_, w) in values.items() if w.tobytes() == key]
    chosen = [np.asarray(values[f][0], float)[where] for f in fields]
    intervals = interference.interval(
      chosen,
      num_resamples=num_resamples,
      groups=None if groups is None else groups[where],
    )
    for field, value, interval in zip(fields, chosen, intervals, strict=True):
      row[field] = float(value.mean())
      row[f"{field}_interval"] = interval.tolist()
  return row
