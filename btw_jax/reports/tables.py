"""Figures as text, and rows as tables."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tabulate


class Column(NamedTuple):
  """How a metric is shown.

  Attributes:
    heading: with its unit.
    factor: to multiply values by.
    digits: after the point.
    sign: 1 if more is better, −1 if less is.
  """

  heading: str
  factor: float
  digits: int
  sign: int

  def mean_std(self, values: Sequence[float]) -> str:
    """See `mean_std`."""
    return mean_std(values, self.factor, self.digits)

  def difference(self, values: Sequence[float], base: Sequence[float]) -> str:
    """See `difference`."""
    return difference(values, base, self.factor, self.digits)

  def gain(
    self, gain: float, interval: tuple[float, float]
  ) -> tuple[str, str, str]:
    """A gain as the change of the metric that it is.

    Args:
      gain: positive if better.
      interval: of it.

    Returns:
      The change, and the lower and upper end of its interval.
    """
    factor = self.sign * self.factor
    low, high = sorted(factor * end for end in interval)
    # Adding 0 makes −0 one.
    each = (factor * gain + 0.0, low + 0.0, high + 0.0)
    return tuple(f"{x:+.{self.digits}f}" for x in each)


COLUMNS = {
  "accuracy": Column("accuracy %", 100.0, 2, 1),
  "mae": Column("MAE", 1.0, 3, -1),
  "nll": Column("NLL", 1.0, 3, -1),
  "ece": Column("ECE %", 100.0, 2, -1),
}


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
  """A table in Markdown.

  Args:
    lines: heading -> cell, the same headings in every row.

  Returns:
    The table.
  """
  return tabulate.tabulate(
    lines, headers="keys", tablefmt="github", disable_numparse=True
  )


def measured(found: Mapping[str, Any]) -> str:
  """A table in Markdown under the note that says how it was made.

  Args:
    found: `note`, and `rows` as `markdown` takes them.

  Returns:
    Both.
  """
  return f"{found['note']}\n\n{markdown(found['rows'])}"


def mean_std(values: Sequence[float], factor: float, digits: int) -> str:
  """A mean over seeds, ± their standard deviation if there are several.

  Args:
    values: one per seed.
    factor: to multiply them by.
    digits: after the point.

  Returns:
    The text of a cell.
  """
  values = np.asarray(values) * factor
  text = f"{values.mean():.{digits}f}"
  if len(values) > 1:
    text += f" ± {values.std(ddof=1):.{digits}f}"
  return text


def difference(
  values: Sequence[float], base: Sequence[float], factor: float, digits: int
) -> str:
  """A paired mean difference over seeds, ± its standard error.

  Args:
    values: one per seed.
    base: likewise, to be taken off.
    factor: to multiply differences by.
    digits: after the point.

  Returns:
    The text of a cell.
  """
  found = factor * (np.asarray(values) - base)
  text = f"{found.mean():+.{digits}f}"
  if len(found) > 1:
    error = found.std(ddof=1) / np.sqrt(len(found))
    text += f" ± {error:.{digits}f}"
  return text
