"""Questions as arrays, ready for the language model."""

from typing import NamedTuple

import numpy as np

from btw_jax import types

TEXT, IMAGE, AUDIO = 0, 1, 2


class QuestionSet(NamedTuple):
  """N questions.

  Attributes:
    ids: `[N]` texts.
    tasks: `[N]` names.
    wordings: `[N]` int, the wording of the question among those of its split.
    tokens: `[N, T]` int, with padding anywhere.
    images: `[N, H, W]` from 0 to 1.
    audio: `[N, F, Mel]` log-mel frames; None without audio.
    audio_length: `[N]` int, valid frames; None without audio.
    present: `[N, M]` bool, the modalities that a question shows.
    relevant: `[N, M]` bool, the modalities that its answer depends on.
    options: `[N, K]` token ids, padding where a question has fewer.
    labels: `[N]` int, position of the answer among the options.
    shown: `[N]` int, the digit in the image; -1 if unknown.
    spoken: `[N]` int, the spoken digit; -1 if there is none.
    parameter: `[N]` int, the number in the text; -1 if there is none.
  """

  ids: np.ndarray
  tasks: np.ndarray
  wordings: np.ndarray
  tokens: np.ndarray
  images: np.ndarray
  audio: np.ndarray | None
  audio_length: np.ndarray | None
  present: np.ndarray
  relevant: np.ndarray
  options: np.ndarray
  labels: np.ndarray
  shown: np.ndarray
  spoken: np.ndarray
  parameter: np.ndarray

  @property
  def answers(self) -> np.ndarray:
    """The token ids `[N]` of the answers."""
    return np.take_along_axis(self.options, self.labels[:, None], axis=1)[:, 0]

  def take(self, rows: np.ndarray) -> "QuestionSet":
    """Returns the questions at some positions, or of a mask."""
    return QuestionSet(*(None if x is None else x[rows] for x in self))

  def recombine(self, rows: np.ndarray) -> "QuestionSet":
    """Builds questions whose modalities come from given rows.

    Args:
      rows: `[n, M]`, for each modality the question that it is taken from; all
        but image and audio comes with the text. The labels are those of the
        text's question.
    """
    text = self.take(rows[:, TEXT])
    text = text._replace(
      images=self.images[rows[:, IMAGE]], shown=self.shown[rows[:, IMAGE]]
    )
    if self.audio is None:
      return text
    sound = rows[:, AUDIO]
    return text._replace(
      audio=self.audio[sound],
      audio_length=self.audio_length[sound],
      spoken=self.spoken[sound],
    )

  def to_batch(self) -> types.Batch:
    """Returns the questions as a batch of the language network."""
    number, num_modalities = self.present.shape
    images = self.images.reshape(number, -1)
    width = max(self.tokens.shape[1], images.shape[1])
    features = np.zeros((number, num_modalities, width), np.float32)
    features[:, TEXT, : self.tokens.shape[1]] = self.tokens
    features[:, IMAGE, : images.shape[1]] = images
    sequences = ()
    if self.audio is not None:
      length = self.audio_length[:, None].astype(np.int32)
      sequences = (types.Steps(self.audio[:, None], length),)
    return types.Batch(
      features,
      self.present,
      self.answers.astype(np.int32),
      sequences,
      self.relevant,
    )


def concatenate(parts: list[QuestionSet]) -> QuestionSet:
  """Joins sets of questions that have the same shapes."""
  return QuestionSet(
    *(
      None if values[0] is None else np.concatenate(values)
      for values in zip(*parts, strict=True)
    )
  )
