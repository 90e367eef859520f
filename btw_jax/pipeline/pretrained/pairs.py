"""Questions for fine-tuning, each beside a view in which something misleads.

A question with an image is paired with itself after a statement that is wrong
or does not matter; a question without one with itself beside an image that does
not matter. arXiv 2505.19616.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import NamedTuple

import numpy as np

from btw_jax.data.sources import questions as questions_lib
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import questions


class Batch(NamedTuple):
  """Some questions and their perturbed views.

  Attributes:
    clean: the questions.
    perturbed: the views, in the same order.
    label: `[B]` position of the right option.
    weight: `[B]` factor in the loss, 0 for a question that fills the batch.
  """

  clean: answers_lib.Batch
  perturbed: answers_lib.Batch
  label: np.ndarray
  weight: np.ndarray


class Pairs:
  """Pairs of questions and perturbed views, drawn anew in every epoch."""

  def __init__(
    self,
    answerer: questions.Answerer,
    entries: Sequence[questions_lib.Entry],
    weights: Mapping[str, float] | None = None,
  ):
    """Reads the prompts of the questions.

    Args:
      answerer: the model that is asked.
      entries: the questions.
      weights: id -> factor of a question in the loss; 1 by default.

    Raises:
      InputError: if a question or an image does not fit the model.
    """
    self._answerer, self._entries = answerer, entries
    self._pictures = [
      questions.picture_of(entry) if entry.has_image else None
      for entry in entries
    ]
    self.clean = [
      answerer.ask(*pair) for pair in zip(entries, self._pictures, strict=True)
    ]
    self._facts = [fact for entry in entries for fact in entry.facts]
    self._shown = [picture for picture in self._pictures if picture is not None]
    self._labels = np.array([entry.label for entry in entries])
    weights = weights or {}
    self._weights = np.array(
      [weights.get(entry.id, 1.0) for entry in entries], np.float32
    )
    self._num_options = max(len(ask.prompt.letters) for ask in self.clean)

  @property
  def labels(self) -> np.ndarray:
    """The positions `[N]` of the right options."""
    return self._labels

  def perturb(self, seed: int, epoch: int) -> list[answers_lib.Ask]:
    """Draws a perturbed view of every question."""
    return [
      self._perturb(entry, picture, np.random.default_rng([seed, epoch, row]))
      for row, (entry, picture) in enumerate(
        zip(self._entries, self._pictures, strict=True)
      )
    ]

  def _perturb(self, entry, picture, rng):
    if picture is not None:
      statement = questions.misleading_text(entry, rng)
      if self._facts and rng.random() < 0.5:
        facts = entry.facts or self._facts
        statement = facts[rng.integers(len(facts))]
      return self._answerer.ask(entry, picture, statement)
    kinds = [*questions.IRRELEVANT, *(["exchanged"] if self._shown else [])]
    kind = kinds[rng.integers(len(kinds))]
    if kind == "exchanged":
      shown = self._shown[rng.integers(len(self._shown))]
    else:
      shown = questions.irrelevant_picture(kind, *rng.integers(2**31, size=2))
    return self._answerer.ask(entry, shown)

  def batches(self, seed: int, epoch: int, batch_size: int) -> "Batches":
    """Plans batches of few shapes with all questions, in random order.

    Questions of a batch have equally many tiles, and so have their views. The
    last batch of such a group is filled with questions of weight 0.
    """
    rng = np.random.default_rng([seed, epoch])
    perturbed = self.perturb(seed, epoch)
    tiles = np.array(
      [
        (clean.num_tiles, view.num_tiles)
        for clean, view in zip(self.clean, perturbed, strict=True)
      ]
    )
    chunks = []
    for kind in np.unique(tiles, axis=0):
      (members,) = np.nonzero((tiles == kind).all(axis=1))
      members = rng.permutation(members)
      size = min(batch_size, len(members))
      chunks += [
        (members[start : start + size], size)
        for start in range(0, len(members), size)
      ]
    order = rng.permutation(len(chunks))
    make = functools.partial(self._make, perturbed)
    return Batches([chunks[number] for number in order], make)

  def _make(self, perturbed, rows, size):
    """Makes the batch of some questions, filled up to a size."""
    filled = np.resize(rows, size)
    is_real = np.arange(size) < len(rows)
    return Batch(
      *(
        answers_lib.stack([asks[row] for row in filled], self._num_options)
        for asks in (self.clean, perturbed)
      ),
      self._labels[filled],
      np.where(is_real, self._weights[filled], 0.0).astype(np.float32),
    )


class Batches(Sequence[Batch]):
  """The batches of an epoch, each of which is made when it is asked for."""

  def __init__(
    self,
    chunks: Sequence[tuple[np.ndarray, int]],
    make: Callable[[np.ndarray, int], Batch],
  ):
    """Keeps the questions and the size of each batch, and how to make one."""
    self._chunks, self._make = chunks, make

  def __len__(self) -> int:
    """Returns the number of batches."""
    return len(self._chunks)

  def __getitem__(self, number: int) -> Batch:
    """Makes a batch."""
    return self._make(*self._chunks[number])
