"""Which examples to train on, to validate on and to test on."""

from collections.abc import Mapping

import numpy as np
from sklearn import model_selection

from btw_jax import errors


def hold_out(
  target: np.ndarray, task: str, *, share: float, seed: int
) -> dict[str, np.ndarray]:
  """Holds a seeded share of train out for validation.

  Args:
    target: `[N]` or `[N, C]`; classes keep their shares where each has enough.
    task: name of the task.
    share: to hold out.
    seed: of the draw.

  Returns:
    Rows of "train" and of "valid", in order.

  Raises:
    InputError: if nothing is left to train on.
  """
  num_examples = len(target)
  size = max(1, round(num_examples * share))
  if size >= num_examples:
    raise errors.InputError(
      f"--valid_share={share}: leaves nothing to train on of"
      f" {num_examples} examples: give a smaller share or a valid split."
    )
  counts = np.unique(target, axis=0, return_counts=True)[1]
  classes = task in ("binary", "multiclass") and counts.min() > 1
  classes = classes and len(counts) <= min(size, num_examples - size)
  kept, held = model_selection.train_test_split(
    np.arange(num_examples),
    test_size=size,
    stratify=target if classes else None,
    random_state=seed,
  )
  return {"train": np.sort(kept), "valid": np.sort(held)}


def three_ways(
  num_examples: int, classes: np.ndarray | None = None, *, seed: int
) -> dict[str, np.ndarray]:
  """Splits what comes in one piece: 60% train, 20% valid, 20% test.

  Args:
    num_examples: N.
    classes: `[N]`, which keep their shares; none by default.
    seed: of the draw.

  Returns:
    Split -> rows, in order.
  """
  train, rest = model_selection.train_test_split(
    np.arange(num_examples),
    train_size=0.6,
    stratify=classes,
    random_state=seed,
  )
  valid, test = model_selection.train_test_split(
    rest,
    train_size=0.5,
    stratify=None if classes is None else classes[rest],
    random_state=seed,
  )
  rows = {"train": train, "valid": valid, "test": test}
  return {split: np.sort(own) for split, own in rows.items()}


def by_subject(
  subjects: np.ndarray, shares: Mapping[str, float], *, seed: int
) -> dict[str, np.ndarray]:
  """Draws splits so that no subject is in two of them.

  Args:
    subjects: `[N]`, whom each example is of.
    shares: split -> its share of the subjects; they add up to 1.
    seed: of the draw.

  Returns:
    Split -> rows, in order.

  Raises:
    InputError: if there are fewer subjects than splits.
  """
  names, subject = np.unique(subjects, return_inverse=True)
  count = len(shares)
  if len(names) < count:
    raise errors.InputError(
      f"--split_by=subject: {len(names)} subjects for {count} splits: use"
      " --split_by=given."
    )
  order = np.random.default_rng(seed).permutation(len(names))
  ends = np.round(np.cumsum(list(shares.values())) * len(names))
  # Every split keeps a subject at least.
  ends = np.maximum(ends, np.arange(count) + 1)
  ends = np.minimum(ends, len(names) - np.arange(count)[::-1]).astype(int)
  rows, start = {}, 0
  for split, end in zip(shares, ends, strict=True):
    rows[split] = np.flatnonzero(np.isin(subject, order[start:end]))
    start = end
  return rows


def shared_subjects(
  subjects: Mapping[str, np.ndarray | None],
) -> list[tuple[str, str, int]]:
  """Subjects that are in two splits.

  Args:
    subjects: split -> `[N]`, or None where nobody knows.

  Returns:
    Two splits and how many subjects they share, for those that share some.
  """
  known = {s: set(own) for s, own in subjects.items() if own is not None}
  names = list(known)
  pairs = [
    (a, b, len(known[a] & known[b]))
    for i, a in enumerate(names)
    for b in names[i + 1 :]
  ]
  return [pair for pair in pairs if pair[2]]
