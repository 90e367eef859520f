"""Answers of models that are made up, for tests of audits."""

import dataclasses

import numpy as np

from btw_jax.data.answers import conditions


def log_softmax(logits):
  """Normalises logits `[N, C]`, where −inf marks a missing option."""
  return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def make(log_probs, labels=None, **fields):
  """Makes `Answers` of condition -> `[N, C]` log-probabilities."""
  first = next(iter(log_probs.values()))
  return conditions.Answers(
    **{
      "ids": np.array([f"q{row}" for row in range(len(first))]),
      "num_options": np.isfinite(first).sum(axis=1),
      "option_names": tuple("ABCDEFGH"[: first.shape[1]]),
      "decisions": {c: x.argmax(axis=1) for c, x in log_probs.items()},
      "log_probs": log_probs,
      "ceilings": {},
      "labels": labels,
      "columns": {},
      "files": {c: f"{c}.jsonl" for c in log_probs},
      "notes": (),
      **fields,
    }
  )


def draw(signals, num_questions=120, num_options=3, seed=0, **fields):
  """Draws answers; condition -> strength of the label in its logits.

  The noise of every condition is its own.
  """
  rng = np.random.default_rng(seed)
  labels = rng.integers(num_options, size=num_questions)
  log_probs = {
    name: log_softmax(
      signal * np.eye(num_options)[labels]
      + rng.normal(size=(num_questions, num_options))
    )
    for name, signal in signals.items()
  }
  return make(log_probs, **{"labels": labels} | fields)


def hard(answers):
  """Returns the same answers without probabilities."""
  return dataclasses.replace(answers, log_probs={}, ceilings={})
