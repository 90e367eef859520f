"""The choices of a person who has answers read."""

import dataclasses

from btw_jax import errors

SCORES = (
  "auto", "probabilities", "log_probabilities", "logits", "log_likelihoods",
)  # fmt: skip
SIGNS = ("auto", "likelihood", "loss")
LENGTHS = ("none", "characters", "bytes")


@dataclasses.dataclass(frozen=True)
class ReadOptions:
  """The choices of a person who has answers read.

  Attributes:
    format: a name in `catalog.FORMATS`, or "auto" to recognise each file.
    scores: one of `SCORES`: the meaning of the numbers of the options.
    sign: one of `SIGNS`: "loss" negates the numbers.
    length: one of `LENGTHS`: the length of the option text by which
      log-likelihoods are divided.
    least_mass: in lists of the likeliest tokens, the probability that the
      letters of the options must hold together; a question below it gets the
      uniform distribution (.3 in arXiv 2606.00959).
  """

  format: str = "auto"
  scores: str = "auto"
  sign: str = "auto"
  length: str = "none"
  least_mass: float = 0.3

  def check(self) -> None:
    """Raises `InputError`, which names the flag, if a choice is unknown."""
    for flag, known in (
      ("scores", SCORES), ("sign", SIGNS), ("length", LENGTHS),
    ):  # fmt: skip
      errors.check_names(flag, [getattr(self, flag)], known, "choice")
    if not 0 <= self.least_mass <= 1:
      raise errors.InputError(
        f"--least_mass={self.least_mass}: give a probability from 0 to 1."
      )
