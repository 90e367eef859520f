"""A data set at a glance, from the summary of `data.describe`."""

from collections.abc import Mapping
import os
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

_COLOURS = {"train": "C0", "valid": "C1", "test": "C2"}


def odd(summary: Mapping[str, Any]) -> list[str]:
  """What a reader should look into.

  Args:
    summary: of a data set.

  Returns:
    A line each for ids, examples and subjects that repeat or are shared.
  """
  lines = []
  for split, own in summary["splits"].items():
    for what in ("repeated ids", "repeated examples"):
      if own[what]:
        lines.append(f"{split}: {own[what]} {what}")
  for shared in summary["shared"]:
    first, second = shared["splits"]
    for what, count in shared.items():
      if what != "splits" and count:
        lines.append(f"{first} and {second} share {count} {what}")
  return lines


def picture(
  name: str, summary: Mapping[str, Any], path: str | os.PathLike
) -> None:
  """Draws labels, missing modalities, values, lengths and constant columns.

  Args:
    name: of the data set.
    summary: of it.
    path: of the PNG file.
  """
  modalities = summary["modalities"]
  height = 5.5 + 0.25 * len(modalities)
  drawing = figure_lib.Figure((11, height), layout="constrained")
  axes = drawing.subplots(2, 2)
  _labels(axes[0, 0], summary)
  shown = {
    "missing, %": (axes[0, 1], lambda own: 100 * own["missing"]),
    "constant columns": (axes[1, 1], lambda own: own["constant columns"]),
  }
  for title, (ax, value) in shown.items():
    _bars(ax, title, modalities, value)
  _values(axes[1, 0], modalities)
  sizes = ", ".join(
    f"{split} {own['examples']:,}" for split, own in summary["splits"].items()
  )
  drawing.suptitle(f"{name}, {summary['task']}: {sizes} examples")
  lines = odd(summary)
  if lines:
    drawing.supxlabel("; ".join(lines), fontsize=9, color="C3", wrap=True)
  drawing.savefig(path, dpi=110)


def _labels(ax, summary):
  """Shares of the labels, or their density, in every split."""
  splits = summary["splits"]
  for i, (split, own) in enumerate(splits.items()):
    labels, style = own["labels"], {"color": _COLOURS[split], "label": split}
    if summary["task"] == "regression":
      total = max(sum(labels["counts"]), 1)
      shares = np.array(labels["counts"]) / total
      ax.stairs(100 * shares, labels["edges"], **style)
      continue
    place = np.arange(len(labels)) + (i - (len(splits) - 1) / 2) * 0.27
    shares = np.array(list(labels.values())) / max(own["examples"], 1)
    ax.bar(place, 100 * shares, 0.27, **style)
    ax.set_xticks(np.arange(len(labels)), list(labels), fontsize=8)
  several = summary["task"] == "multilabel"
  ax.set_title("examples with a label, %" if several else "labels, %")
  # Room for the legend above the bars.
  ax.margins(y=0.25)
  ax.legend(loc="upper center", ncols=3)


def _bars(ax, title, modalities, value):
  """A bar for every modality and split."""
  names = list(modalities)
  for m, own in enumerate(modalities.values()):
    splits = own["splits"]
    for i, (split, found) in enumerate(splits.items()):
      place = m + (i - (len(splits) - 1) / 2) * 0.27
      ax.barh(place, value(found), 0.27, color=_COLOURS[split])
  ax.set_yticks(range(len(names)), names)
  ax.invert_yaxis()
  if not ax.dataLim.width:
    ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center")
    ax.set_xticks([])
  ax.set_xlim(left=0)
  ax.set_title(title)


def _values(ax, modalities):
  """Mean and standard deviation of the values that are there."""
  for m, own in enumerate(modalities.values()):
    splits = own["splits"]
    for i, (split, found) in enumerate(splits.items()):
      ax.errorbar(
        found["mean"], m + (i - (len(splits) - 1) / 2) * 0.2,
        xerr=found["std"], fmt="o", capsize=3, color=_COLOURS[split],
      )  # fmt: skip
  titles = [f"{name}\n{own['shape']}" for name, own in modalities.items()]
  ax.set_yticks(range(len(titles)), titles, fontsize=8)
  ax.invert_yaxis()
  ax.set_title("mean ± standard deviation of values")
