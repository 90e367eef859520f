"""A picture of a data set and warnings, from the summary of `data.describe`."""

from collections.abc import Mapping
import os
from typing import Any

from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import named_rows
from btw_jax.reports import palette
from btw_jax.reports import tables

# split -> number of its series
_SPLITS = {"train": 0, "valid": 1, "test": 2}


def list_warnings(summary: Mapping[str, Any]) -> list[str]:
  """Lists ids, examples and subjects that repeat or that splits share."""
  lines = []
  for split, description in summary["splits"].items():
    for field in ("repeated ids", "repeated examples"):
      if description[field]:
        lines.append(f"{split}: {_quantity(description[field], field)}")
  for shared in summary["shared"]:
    first, second = shared["splits"]
    for field, count in shared.items():
      if field != "splits" and count:
        lines.append(f"{first} and {second} share {_quantity(count, field)}")
  return lines


def _quantity(count, field):
  # The summary's fields are plural nouns.
  return tables.quantity(count, field.removesuffix("s"))


def picture(
  name: str, summary: Mapping[str, Any], path: str | os.PathLike
) -> None:
  """Draws labels, missing modalities, values and constant columns to a PNG."""
  modalities = summary["modalities"]
  height = 5.5 + 0.25 * len(modalities)
  drawing = figure_lib.Figure((11, height), layout="constrained")
  axes = drawing.subplots(2, 2)
  _draw_labels(axes[0, 0], summary)
  shown = {
    "missing, %": (axes[0, 1], lambda split: 100 * split["missing"]),
    "constant columns": (axes[1, 1], lambda split: split["constant columns"]),
  }
  for title, (ax, value) in shown.items():
    _draw_bars(ax, title, modalities, value)
  _draw_values(axes[1, 0], modalities)
  sizes = ", ".join(
    f"{split} {description['examples']:,}"
    for split, description in summary["splits"].items()
  )
  drawing.suptitle(f"{name}, {summary['task']}: {sizes} examples")
  lines = list_warnings(summary)
  if lines:
    text = f"Warning: {'; '.join(lines)}"
    # A dollar sign in a name would begin a formula.
    text = text.replace("$", r"\$")
    drawing.supxlabel(text, fontsize=9, wrap=True)
  drawing.savefig(path, dpi=110)


def _draw_labels(ax, summary):
  """Draws the share of each label, or the label density, in every split."""
  splits = summary["splits"]
  for i, (split, description) in enumerate(splits.items()):
    labels, number = description["labels"], _SPLITS[split]
    if summary["task"] == "regression":
      total = max(sum(labels["counts"]), 1)
      shares = np.array(labels["counts"]) / total
      ax.stairs(
        100 * shares, labels["edges"], label=split, lw=1.5,
        color=palette.color(number), ls=palette.line(number)["linestyle"],
      )  # fmt: skip
      continue
    place = np.arange(len(labels)) + (i - (len(splits) - 1) / 2) * 0.27
    shares = np.array(list(labels.values())) / max(description["examples"], 1)
    style = palette.bar(number)
    ax.bar(place, 100 * shares, 0.27, label=split, **style)
    names = list(map(named_rows.label, labels))
    ax.set_xticks(np.arange(len(labels)), names, fontsize=8)
  multilabel = summary["task"] == "multilabel"
  ax.set_title("examples with each label, %" if multilabel else "labels, %")
  # Room for the legend above the bars.
  ax.margins(y=0.25)
  ax.legend(loc="upper center", ncols=3)


def _draw_bars(ax, title, modalities, value):
  """Draws a bar for every modality and split, `value(description)` long."""
  names = list(modalities)
  for m, modality in enumerate(modalities.values()):
    splits = modality["splits"]
    for i, (split, description) in enumerate(splits.items()):
      place = m + (i - (len(splits) - 1) / 2) * 0.27
      style = palette.bar(_SPLITS[split])
      ax.barh(place, value(description), 0.27, **style)
  ax.set_yticks(range(len(names)), list(map(named_rows.label, names)))
  ax.invert_yaxis()
  if not ax.dataLim.width:
    ax.text(0.5, 0.5, "none", transform=ax.transAxes, ha="center")
    ax.set_xticks([])
  ax.set_xlim(left=0)
  ax.set_title(title)


def _draw_values(ax, modalities):
  """Draws the mean and standard deviation of the valid values."""
  for m, modality in enumerate(modalities.values()):
    splits = modality["splits"]
    for i, (split, description) in enumerate(splits.items()):
      ax.errorbar(
        description["mean"], m + (i - (len(splits) - 1) / 2) * 0.2,
        xerr=description["std"], capsize=3, **palette.line(_SPLITS[split]),
      )  # fmt: skip
  titles = [
    f"{named_rows.label(name)}\n{m['shape']}" for name, m in modalities.items()
  ]
  ax.set_yticks(range(len(titles)), titles, fontsize=8)
  ax.invert_yaxis()
  ax.set_title("mean ± standard deviation of values")
