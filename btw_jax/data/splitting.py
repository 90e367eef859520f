"""Random splits of examples into training, validation and test."""

from collections.abc import Mapping

import numpy as np
from sklearn import model_selection

from btw_jax import errors


def hold_out(
  target: np.ndarray, task: str, *, share: float, seed: int
) -> dict[str, np.ndarray]:
  """Holds out a random share of the training examples for validation.

  The draw is stratified by class if every class has enough examples. Returns
  the sorted rows of "train" and of "valid".

  Raises:
    InputError: if no example is left to train on.
  """
  num_examples = len(target)
  size = max(1, round(num_examples * share))
  if size >= num_examples:
    raise errors.InputError(
      f"--valid_share={share}: leaves none of {num_examples} examples to train"
      " on: give a smaller share or a valid split."
    )
  counts = np.unique(target, axis=0, return_counts=True)[1]
  # scikit-learn refuses to stratify if a class has a single example, or a part
  # has fewer examples than there are classes.
  stratify = task in ("binary", "multiclass") and counts.min() > 1
  stratify = stratify and len(counts) <= min(size, num_examples - size)
  train, valid = model_selection.train_test_split(
    np.arange(num_examples),
    test_size=size,
    stratify=target if stratify else None,
    random_state=seed,
  )
  return {"train": np.sort(train), "valid": np.sort(valid)}


def three_ways(
  num_examples: int, classes: np.ndarray | None = None, *, seed: int
) -> dict[str, np.ndarray]:
  """Draws the sorted rows of 60% train, 20% valid and 20% test.

  The draw is stratified by the `[N]` classes, if given.
  """
  train, others = model_selection.train_test_split(
    np.arange(num_examples),
    train_size=0.6,
    stratify=classes,
    random_state=seed,
  )
  valid, test = model_selection.train_test_split(
    others,
    train_size=0.5,
    stratify=None if classes is None else classes[others],
    random_state=seed,
  )
  rows = {"train": train, "valid": valid, "test": test}
  return {split: np.sort(r) for split, r in rows.items()}


def by_subject(
  subjects: np.ndarray, shares: Mapping[str, float], *, seed: int
) -> dict[str, np.ndarray]:
  """Draws splits that share no subject: split -> sorted rows.

  `subjects` `[N]` is the subject of each example; `shares` maps each split to
  its share of the subjects, and adds up to 1.

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
  # Rounding must leave at least one subject in every split: one for each split
  # up to this one, and one for each split after it.
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
  """Returns the pairs of splits that share subjects, and how many they share.

  `subjects` maps a split to the `[N]` subjects of its examples, or to None.
  """
  known = {s: set(names) for s, names in subjects.items() if names is not None}
  names = list(known)
  pairs = [
    (a, b, len(known[a] & known[b]))
    for i, a in enumerate(names)
    for b in names[i + 1 :]
  ]
  return [pair for pair in pairs if pair[2]]
