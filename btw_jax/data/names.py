"""The rule for the names of modalities, examples and classes."""

from collections.abc import Iterable
import re

from btw_jax import errors

# Control characters, and halves of characters that no file can hold.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# The names of modalities stand in file names, lists of flags and pictures,
# where a dollar sign begins a formula.
_NOT_IN_MODALITIES = re.compile(r"[/\\,=$]")
_MAX_LENGTH = 100
_MAX_SHOWN = 40


def check_modality(place: str, name: str) -> None:
  """Refuses a name of a modality that files or flags could not hold.

  Args:
    place: the file, for messages.
    name: the name.

  Raises:
    InputError: if the name is empty, has more than 100 characters, begins with
      a point or a hyphen, begins or ends with a blank, or has a control
      character, a slash of either kind, a comma, `=` or `$`.
  """
  reason = ""
  if not name or len(name) > _MAX_LENGTH:
    reason = f"has {len(name)} characters: give 1 to {_MAX_LENGTH}"
  elif wrong := _UNPRINTABLE.search(name) or _NOT_IN_MODALITIES.search(name):
    reason = f"has the character {wrong[0]!r}: use letters, digits and _ - + ."
  elif name[0] in ".-" or name != name.strip():
    reason = "begins with a point or a hyphen, or has a blank at an end"
  if reason:
    raise errors.InputError(
      f"{place}: the name of modality {name[:_MAX_SHOWN]!r} {reason}; rename it"
      " in the files."
    )


def check_texts(place: str, kind: str, texts: Iterable[str]) -> None:
  """Refuses ids, or names of classes, that no line of a file can hold.

  Args:
    place: the file, for messages.
    kind: what the texts are, such as "id".
    texts: one for each row.

  Raises:
    InputError: naming the first text that has a control character, such as the
      end of a line, or half a character.
  """
  texts = list(map(str, texts))
  if not _UNPRINTABLE.search("".join(texts)):
    return
  text, wrong = next(
    (text, match)
    for text, match in zip(texts, map(_UNPRINTABLE.search, texts), strict=True)
    if match
  )
  raise errors.InputError(
    f"{place}: the {kind} {text[:_MAX_SHOWN]!r} has the character"
    f" {wrong[0]!r}: replace it."
  )
