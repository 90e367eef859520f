"""The role of each condition: what the model was shown, told by its name."""

from collections.abc import Mapping, Sequence
import itertools
import re
from typing import NamedTuple

from btw_jax import errors
from btw_jax.data.answers import joining

# A name with one of these words is an input that was changed.
_CHANGES = frozenset(
  (
    "adversarial", "attacked", "black", "blank", "blurred", "changed",
    "exchanged", "irrelevant", "masked", "mean", "misleading", "mismatch",
    "mismatched", "noise", "noisy", "perturbed", "random", "shuffled",
    "swapped", "unrelated", "white", "wrong", "zero", "zeros",
  )
)  # fmt: skip
_WITHOUT = re.compile(r"(?:without|no|wo)_(.+)")
_ONLY = re.compile(r"only_(.+)|(.+)_only")
# All modalities but the one that conditions name, where only one has a name.
REST = "rest"


class Roles(NamedTuple):
  """The roles of all conditions.

  Attributes:
    reference: the condition that shows everything; None if there is none.
    modalities: names of the modalities, in the order of the conditions.
    shows: condition -> the modalities that it shows, all others taken away.
    changes: conditions whose input was changed: noise, another image, ...
  """

  reference: str | None
  modalities: tuple[str, ...]
  shows: Mapping[str, frozenset[str]]
  changes: tuple[str, ...]

  @property
  def by_shown(self) -> dict[frozenset[str], str]:
    """Modalities -> the first condition that shows exactly these."""
    return {shown: name for name, shown in reversed(self.shows.items())}

  @property
  def alone(self) -> dict[str, str]:
    """Modality -> the first condition that shows this modality alone."""
    by_shown = self.by_shown
    return {
      modality: by_shown[frozenset([modality])]
      for modality in self.modalities
      if frozenset([modality]) in by_shown
    }


class Pair(NamedTuple):
  """Two sources of a decision, each of one or more modalities.

  Attributes:
    first: name of the first source.
    second: name of the second source.
    control: name of what all three passes show; empty if nothing.
    both: the condition with both sources.
    only_first: the condition with the first source.
    only_second: the condition with the second source.
  """

  first: str
  second: str
  control: str
  both: str
  only_first: str
  only_second: str


def assign(
  conditions: Sequence[str],
  modalities: Sequence[str] = (),
  reference: str = "",
) -> Roles:
  """Tells the roles of conditions by their names.

  Args:
    conditions: names of the conditions. `both`, `all` and the like show
      everything, `vision` and `only_vision` one modality, `vision+text`
      several, `without_vision` all others. A name with a word such as `noise`
      or `misleading` is a changed input.
    modalities: names of the modalities; by default, every name that is none of
      the others is one.
    reference: the condition that shows everything; told by its name by default.

  Raises:
    InputError: naming what is unknown.
  """
  if reference:
    errors.check_names("reference", [reference], conditions, "condition")
  else:
    known = [
      condition
      for name in joining.REFERENCES
      for condition in conditions
      if condition.lower() == name
    ]
    reference = known[0] if known else ""
  others = [name for name in conditions if name != reference]
  shown = {name: parts for name in others if (parts := _shown(name))}
  removed = {name: parts for name in others if (parts := _removed(name))}
  mentioned = [
    m for parts in (*shown.values(), *removed.values()) for m in parts
  ]
  universe = tuple(dict.fromkeys(modalities or mentioned))
  if modalities:
    errors.check_names("modalities", modalities, sorted(set(mentioned)))
  elif len(universe) == 1 and removed:
    universe = (*universe, REST)
  shows = {}
  for name in others:
    if set(removed.get(name, universe)) < set(universe):
      shows[name] = frozenset(universe).difference(removed[name])
    elif name in shown and set(shown[name]) <= set(universe):
      shows[name] = frozenset(shown[name])
  changes = tuple(name for name in others if name not in shows)
  return Roles(reference or None, universe, shows, changes)


def _removed(name):
  """Returns the modalities that a name takes away, in alphabetical order."""
  match = _WITHOUT.fullmatch(name)
  return tuple(sorted(match[1].split("+"))) if match else ()


def _shown(name):
  """Returns the modalities that a name shows; none if it is something else."""
  words = re.split(r"[_.\-+]", name.lower())
  if name.lower() in joining.REFERENCES:
    return ()
  if _removed(name) or not _CHANGES.isdisjoint(words):
    return ()
  match = _ONLY.fullmatch(name)
  name = next(filter(None, match.groups())) if match else name
  return tuple(name.split("+"))


def pairs(roles: Roles) -> list[Pair]:
  """Lists the pairs of sources whose three passes are there.

  Two conditions and a third that shows exactly what either of them shows make a
  pair; what both of them show is the control (Sensory PID).
  """
  if roles.reference is None:
    return []
  everything = frozenset(roles.modalities)
  by_shown = roles.by_shown | {everything: roles.reference}
  listed = []
  for one, two in itertools.combinations(by_shown, 2):
    union, control = one | two, one & two
    if union in (one, two) or union not in by_shown:
      continue
    # The order of the modalities, whatever the order of the files.
    one, two = sorted((one, two), key=lambda s: _order(roles, s - control))
    listed.append(
      Pair(
        _join(roles, one - control),
        _join(roles, two - control),
        _join(roles, control),
        by_shown[union],
        by_shown[one],
        by_shown[two],
      )
    )
  return sorted(listed, key=lambda p: (p.first, p.second, p.control))


def _order(roles, modalities):
  return [roles.modalities.index(m) for m in _sorted(roles, modalities)]


def _sorted(roles, modalities):
  return [m for m in roles.modalities if m in modalities]


def _join(roles, modalities):
  return "+".join(_sorted(roles, modalities))


def notes(roles: Roles) -> list[str]:
  """Returns a sentence for each condition that shows what another one does."""
  by_shown = roles.by_shown
  return [
    f"{name} shows the same as {by_shown[shown]}: weights and interactions use"
    f" {by_shown[shown]}"
    for name, shown in roles.shows.items()
    if by_shown[shown] != name
  ]


def describe(roles: Roles) -> str:
  """Returns one sentence that says the role of every condition."""
  parts = []
  if roles.reference is not None:
    parts.append(f"{roles.reference} shows everything")
  for name, shown in roles.shows.items():
    match = _WITHOUT.fullmatch(name)
    what = " and ".join(_sorted(roles, shown))
    if match:
      what = f"everything but {match[1]}"
    parts.append(f"{name} shows {what}")
  for name in roles.changes:
    again = name.lower() in joining.REFERENCES
    what = "shows everything, too" if again else "is a changed input"
    parts.append(f"{name} {what}")
  return "; ".join(parts)
