"""Numbers formatted as text, and rows formatted as tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tabulate


class Column(NamedTuple):
  """The format of a metric.

  Attributes:
    heading: name with the unit.
    factor: values are multiplied by it.
    digits: number of decimals.
    sign: 1 if higher values are better, −1 if lower values are.
  """

  heading: str
  factor: float
  digits: int
  sign: int

  def mean_std(self, values: Sequence[float]) -> str:
    """Formats values `[S]` with the function `mean_std`."""
    return mean_std(values, self.factor, self.digits)

  def difference(self, values: Sequence[float], base: Sequence[float]) -> str:
    """Formats a difference of `[S]` values with the function `difference`."""
    return difference(values, base, self.factor, self.digits)

  def change(
    self, gain: float, interval: tuple[float, float]
  ) -> tuple[str, str, str]:
    """Formats a gain and its interval as a change of the metric.

    A gain is positive if the method is better; the change of an error is then
    negative.

    Returns:
      The change, the lower and the upper end of its interval.
    """
    factor = self.sign * self.factor
    low, high = sorted(factor * end for end in interval)
    # Adding 0 turns −0 into 0.
    changes = (factor * gain + 0.0, low + 0.0, high + 0.0)
    return tuple(f"{x:+.{self.digits}f}" for x in changes)


class Table(NamedTuple):
  """A table with the sentences that explain it.

  Attributes:
    name: short name, for links.
    title: heading.
    caption: what the cells are.
    note: how to read the table.
    rows: heading -> cell, one mapping per row.
  """

  name: str
  title: str
  caption: str
  note: str
  rows: Sequence[Mapping[str, str]]


COLUMNS = {
  "accuracy": Column("accuracy %", 100.0, 2, 1),
  "mae": Column("MAE", 1.0, 3, -1),
  "nll": Column("NLL", 1.0, 3, -1),
  "ece": Column("ECE %", 100.0, 2, -1),
}

# metric -> its change, with the unit
CHANGES = {
  "accuracy": "Δ accuracy, points",
  "mae": "Δ MAE, unit of the target",
  "nll": "Δ NLL, nats",
}


def quantity(number: int, noun: str) -> str:
  """Formats a count with its noun: "1 epoch", "2 modalities", "1,500 runs"."""
  if number == 1:
    return f"1 {noun}"
  if noun.endswith("y"):
    return f"{number:,} {noun[:-1]}ies"
  return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
  """Formats rows, heading -> cell, as a Markdown table."""
  return tabulate.tabulate(
    rows, headers="keys", tablefmt="github", disable_numparse=True
  )


def with_note(table: Mapping[str, Any]) -> str:
  """Formats a table's `note` and, below it, its `rows` in Markdown."""
  return f"{table['note']}\n\n{markdown(table['rows'])}"


def mean_std(values: Sequence[float], factor: float, digits: int) -> str:
  """Formats the mean of values `[S]`, ± their standard deviation if S > 1."""
  values = np.asarray(values) * factor
  text = f"{values.mean():.{digits}f}"
  if len(values) > 1:
    text += f" ± {values.std(ddof=1):.{digits}f}"
  return text


def difference(
  values: Sequence[float], base: Sequence[float], factor: float, digits: int
) -> str:
  """Formats the mean of `values - base`, `[S]`, ± its standard error."""
  differences = factor * (np.asarray(values) - base)
  text = f"{differences.mean():+.{digits}f}"
  if len(differences) > 1:
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    text += f" ± {error:.{digits}f}"
  return text


def p_text(p_value: float) -> str:
  """Formats a p-value, for example "p = .034" or "p < .001"."""
  if p_value < 0.001:
    return "p < .001"
  return f"p = {p_value:.3f}".replace("0.", ".", 1)


def p_cell(p_value: float) -> str:
  """Formats a p-value for a column of them: ".034" or "< .001"."""
  return p_text(p_value).removeprefix("p ").removeprefix("= ")


def percent(share: float) -> str:
  """Formats a share as a number in percent, for example "57.6"."""
  return f"{100 * share:.1f}"


def interval(
  ends: tuple[float, float], factor: float, digits: int, *, sign: bool = False
) -> str:
  """Formats the ends of an interval, for example "41.4 to 47.3"."""
  plus = "+" if sign else ""
  # Adding 0 turns −0 into 0.
  low, high = (f"{factor * end + 0.0:{plus}.{digits}f}" for end in ends)
  return f"{low} to {high}"


def quote(name: str) -> str:
  """Puts a name that files give, such as "both", in quotation marks."""
  return f"“{name}”"


def listing(names: Sequence[str], most: int = 5) -> str:
  """Formats names as "a, b and c"; counts those after the first `most`."""
  names = list(names)
  if len(names) > most + 1:
    names = [*names[:most], f"{len(names) - most} more"]
  if len(names) == 1:
    return names[0]
  return f"{', '.join(names[:-1])} and {names[-1]}"
