"""The setting that a model chose, as text. It imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

# The plain model, and the one without idle modalities.
BASE, GATE = "uniform", "gate"


def label(name: str, weighting: str, row: Mapping[str, Any]) -> str:
  """Returns a method's name, with its setting if the name does not tell it.

  Args:
    name: name of the method.
    weighting: its name in its run.
    row: its row of the run's results.
  """
  choice = row["choice"]
  text = setting(weighting, choice)
  is_told = text == weighting or weighting.endswith(f"@{value(choice):g}")
  is_usual = row.get("candidates", 1) == 1 and text == "λ = 1"
  if is_told or is_usual:
    return name
  if name.endswith(")"):
    return f"{name[:-1]}, {text})"
  return f"{name} ({text})"


def setting(weighting: str, choice: Mapping[str, Any]) -> str:
  """Returns what a weighting chose: "α = 0.3", "mi, λ = 1" or "without b"."""
  variant = choice["variant"]
  if choice.get("balance"):
    # The table of what was tuned gives the whole name.
    return f"{choice['setting'].partition(' of ')[0]} = {choice['value']:g}"
  if variant == GATE:
    return f"without {', '.join(choice['closed'])}"
  if variant == BASE:
    return variant
  strength = f"λ = {choice['strength']:.3g}"
  is_own = weighting.partition("@")[0] == variant
  return strength if is_own else f"{variant}, {strength}"


def value(choice: Mapping[str, Any]) -> float:
  """Returns the number that a setting is chosen by."""
  return choice["value"] if choice.get("balance") else choice["strength"]
