"""The error that a wrong file, field or flag raises."""

from collections.abc import Sequence


class InputError(ValueError):
  """A one-line error: the wrong file, field or flag, and what to do about it.

  Programs print the message and exit with status 2. Every other exception is a
  defect and keeps its traceback.
  """

  def __init__(self, message: str):
    """Keeps a message; names from files stand in it as one line of text."""
    super().__init__(printable(message))


def printable(text: str) -> str:
  """Writes control characters, which could steer a terminal, as escapes."""
  return "".join(
    c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
  )


def check_names(
  flag: str, given: Sequence[str], known: Sequence[str], kind: str = "modality"
) -> list[str]:
  """Returns the names that a flag gives, or all known names if it is empty.

  Raises:
    InputError: naming the flag and the first name that is unknown.
  """
  unknown = [name for name in given if name not in known]
  if unknown:
    raise InputError(
      f"--{flag}={','.join(given)}: no {kind} {unknown[0]!r}: use some of"
      f" {', '.join(known)}."
    )
  return list(given or known)
