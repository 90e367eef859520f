"""Shares of the experts that each modality uses, from `routing.csv`."""

from collections.abc import Mapping, Sequence
import csv
import functools
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as figure_lib
from matplotlib import ticker
import numpy as np

from btw_jax import errors
from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import tables

_PREFIX = "expert"
# Stages whose models are not those of a run's results.
_TRIED = ("scale", "rate")
_REFIT = "refit_"


class Shares(NamedTuple):
  """The shares of each modality's gates by expert.

  Attributes:
    modalities: M names.
    values: `[S, L, M, E]`, by seed and layer: the share of a modality's gates
      that each expert received in the last epoch.
  """

  modalities: tuple[str, ...]
  values: np.ndarray


def read(path: str | os.PathLike, run: str, strength: float) -> Shares:
  """Reads the last epoch of one run and strength from `routing.csv`.

  The run is a variant, or a setting of a balancing method such as "ogm@0.3".

  Raises:
    InputError: if the file has no such rows.
  """
  by_run = {}
  with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
    for row in csv.DictReader(file):
      stage = row["stage"]
      if stage not in _TRIED and not stage.startswith(_REFIT):
        by_strength = by_run.setdefault(row["run"], {})
        by_strength.setdefault(str(float(row["strength"])), []).append(row)
  errors.check_names("run", [run], list(by_run), "weighting")
  by_strength = by_run[run]
  key = str(float(strength))
  errors.check_names("strength", [key], list(by_strength), f"strength of {run}")
  rows = by_strength[key]
  last = max(int(row["epoch"]) for row in rows)
  rows = [row for row in rows if int(row["epoch"]) == last]
  experts = [name for name in rows[0] if name.startswith(_PREFIX)]
  modalities = tuple(dict.fromkeys(row["modality"] for row in rows))
  seeds = list(dict.fromkeys(row["seed"] for row in rows))
  layers = list(dict.fromkeys(row["layer"] for row in rows))
  values = np.zeros((len(seeds), len(layers), len(modalities), len(experts)))
  for row in rows:
    place = (
      seeds.index(row["seed"]),
      layers.index(row["layer"]),
      modalities.index(row["modality"]),
    )
    values[place] = [float(row[name]) for name in experts]
  return Shares(modalities, values)


def overlaps(values: np.ndarray) -> np.ndarray:
  """Computes the overlap `[..., M, M]` of modalities: `Σ_e min(p_a, p_b)`.

  The shares `[..., M, E]` sum to 1 over experts. The overlap is one minus the
  total variation distance: 1 if both use the same experts equally, 0 if they
  share none. The order of the experts does not matter.
  """
  pairs = np.minimum(values[..., :, None, :], values[..., None, :, :])
  return pairs.sum(axis=-1)


def compare(
  shares: Shares, apart: Sequence[str]
) -> list[Mapping[str, np.ndarray]]:
  """Averages the overlap within and between two groups of modalities.

  `apart` names the modalities of one group, such as noise. Returns for each
  layer "within apart", "within others" and "between", `[S]` each.

  Raises:
    InputError: if a name is unknown, or a group has fewer than two modalities.
  """
  errors.check_names("apart", apart, shares.modalities)
  inside = np.isin(shares.modalities, apart)
  if min(inside.sum(), (~inside).sum()) < 2:
    raise errors.InputError(
      f"--apart={','.join(apart)}: name two modalities or more of"
      f" {', '.join(shares.modalities)}, and leave two or more out."
    )
  by_pair = overlaps(shares.values)
  # The overlap of a modality with itself is 1 and does not count.
  distinct = ~np.eye(len(inside), dtype=bool)

  def mean(mask):
    return by_pair[..., mask].mean(axis=-1)

  means = {
    "within apart": mean(distinct & inside & inside[:, None]),
    "within others": mean(distinct & ~inside & ~inside[:, None]),
    "between": mean(inside & ~inside[:, None]),
  }
  num_layers = shares.values.shape[1]
  return [
    {k: v[:, layer] for k, v in means.items()} for layer in range(num_layers)
  ]


def picture(shares: Shares, path: str | os.PathLike) -> None:
  """Draws the first seed's shares and the mean overlaps into a PNG file."""
  num_layers = shares.values.shape[1]
  by_pair = overlaps(shares.values).mean(axis=0)
  drawing = figure_lib.Figure((11, 1 + 3 * num_layers), layout="constrained")
  axes = drawing.subplots(num_layers, 2, squeeze=False, width_ratios=(2, 1))
  names = list(shares.modalities)
  for layer, (left, right) in enumerate(axes):
    image = left.imshow(
      shares.values[0, layer], cmap=palette.SEQUENTIAL, vmin=0, aspect="auto"
    )
    left.set_title(
      f"layer {layer + 1}: share of a modality's gates, first seed"
    )
    left.set_xlabel("expert")
    left.set_xticks(range(shares.values.shape[-1]))
    left.set_yticks(range(len(names)), names)
    drawing.colorbar(image, ax=left)
    image = right.imshow(
      by_pair[layer], cmap=palette.SEQUENTIAL, vmin=0, vmax=1
    )
    right.set_title(
      f"overlap of modalities, {tables.quantity(len(shares.values), 'seed')}"
    )
    right.set_xticks(range(len(names)), names, rotation=90)
    right.set_yticks(range(len(names)), names)
    for place in np.ndindex(by_pair[layer].shape):
      value = by_pair[layer][place]
      right.text(
        place[1], place[0], f"{value:.2f}".removeprefix("0"),
        ha="center", va="center", fontsize=7,
        color=palette.cell_ink(value),
      )  # fmt: skip
  drawing.savefig(path, dpi=110)


def panels(by_name: Mapping[str, Shares]) -> list[svg.Panel]:
  """Draws each modality's experts in the last layer, as a mean over seeds.

  The experts of each seed are sorted by use first: the number of an expert has
  no meaning across seeds. The colours of all panels have the same scale.
  """
  sorted_shares = {name: _sort(shares) for name, shares in by_name.items()}
  top = max((values.max() for values in sorted_shares.values()), default=1.0)

  def plot(name, ax):
    modalities = by_name[name].modalities
    image = ax.imshow(
      sorted_shares[name], cmap=palette.SEQUENTIAL, vmin=0, vmax=top,
      aspect="auto",
    )  # fmt: skip
    ax.set_xlabel("expert (sorted by use)")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    ax.set_yticks(range(len(modalities)), modalities)
    ax.figure.colorbar(image, ax=ax, label="share of gates")

  return svg.draw(
    [
      svg.Drawing(
        f"routing_{name.partition(',')[0]}",
        f"{name}: experts of the last layer",
        functools.partial(plot, name),
      )
      for name in by_name
    ]
  )


def _sort(shares):
  """Returns `[M, E]`: the last layer's shares, experts sorted by their use."""
  values = shares.values[:, -1]
  order = np.argsort(-values.sum(axis=1), axis=-1, kind="stable")
  return np.take_along_axis(values, order[:, None], axis=-1).mean(axis=0)
