"""Which experts the modalities use, from a run's `routing.csv`."""

from collections.abc import Mapping, Sequence
import csv
import os
import pathlib
from typing import NamedTuple

from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import svg

_PREFIX = "expert"


class Shares(NamedTuple):
  """How each modality spreads over the experts.

  Attributes:
    modalities: M names.
    values: `[S, L, M, E]`, the share of a modality's gates that each expert
      got in the last epoch, of every seed and layer.
  """

  modalities: tuple[str, ...]
  values: np.ndarray


def read(path: str | os.PathLike, run: str, strength: float) -> Shares:
  """Reads the last epoch of one run of a program.

  Args:
    path: of `routing.csv`.
    run: the weighting.
    strength: its strength.

  Returns:
    The shares.

  Raises:
    ValueError: if the file holds no such run.
  """
  with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
    rows = [
      row
      for row in csv.DictReader(file)
      if row["stage"] == "multimodal"
      and row["run"] == run
      and float(row["strength"]) == strength
    ]
  if not rows:
    raise ValueError(f"{path}: has no run {run!r} of strength {strength:g}.")
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
  """How much two modalities share experts, `Σ_e min(p_a(e), p_b(e))`.

  One minus their total variation distance: 1 if they use the same experts
  alike, 0 if they have none in common. Experts may be numbered anyhow.

  Args:
    values: `[..., M, E]` shares, summing to 1.

  Returns:
    `[..., M, M]` in [0, 1].
  """
  pairs = np.minimum(values[..., :, None, :], values[..., None, :, :])
  return pairs.sum(axis=-1)


def compare(
  shares: Shares, apart: Sequence[str]
) -> list[Mapping[str, np.ndarray]]:
  """Mean overlap within and between two kinds of modalities.

  Args:
    shares: of a run.
    apart: modalities of one kind, say noise; the others are of the other.

  Returns:
    For each layer: "within apart", "within others" and "between", `[S]` each.

  Raises:
    ValueError: if a name is unknown, or a kind has fewer than two modalities.
  """
  unknown = sorted(set(apart) - set(shares.modalities))
  if unknown:
    raise ValueError(
      f"{unknown[0]!r} is no modality: use some of"
      f" {', '.join(shares.modalities)}."
    )
  kind = np.isin(shares.modalities, apart)
  if min(kind.sum(), (~kind).sum()) < 2:
    raise ValueError("give two modalities or more, and leave two or more out.")
  found = overlaps(shares.values)
  other = ~np.eye(len(kind), dtype=bool)

  def mean(mask):
    return found[..., mask].mean(axis=-1)

  means = {
    "within apart": mean(other & kind & kind[:, None]),
    "within others": mean(other & ~kind & ~kind[:, None]),
    "between": mean(kind & ~kind[:, None]),
  }
  num_layers = shares.values.shape[1]
  return [
    {k: v[:, layer] for k, v in means.items()} for layer in range(num_layers)
  ]


def picture(shares: Shares, path: str | os.PathLike) -> None:
  """Draws the first seed's experts, and overlaps averaged over seeds.

  Args:
    shares: of a run.
    path: of the PNG file.
  """
  num_layers = shares.values.shape[1]
  found = overlaps(shares.values).mean(axis=0)
  drawing = figure_lib.Figure((11, 1 + 3 * num_layers), layout="constrained")
  axes = drawing.subplots(num_layers, 2, squeeze=False, width_ratios=(2, 1))
  names = list(shares.modalities)
  for layer, (left, right) in enumerate(axes):
    image = left.imshow(
      shares.values[0, layer], cmap="Blues", vmin=0, aspect="auto"
    )
    left.set_title(
      f"layer {layer + 1}: share of a modality's gates, first seed"
    )
    left.set_xlabel("expert")
    left.set_xticks(range(shares.values.shape[-1]))
    left.set_yticks(range(len(names)), names)
    drawing.colorbar(image, ax=left)
    image = right.imshow(found[layer], cmap="Blues", vmin=0, vmax=1)
    right.set_title(f"shared experts, {len(shares.values)} seeds")
    right.set_xticks(range(len(names)), names, rotation=90)
    right.set_yticks(range(len(names)), names)
    for place in np.ndindex(found[layer].shape):
      value = found[layer][place]
      right.text(
        place[1], place[0], f"{value:.2f}".removeprefix("0"),
        ha="center", va="center", fontsize=7,
        color="white" if value > 0.6 else "black",
      )  # fmt: skip
  drawing.savefig(path, dpi=110)


def panel(shares: Shares, name: str) -> svg.Panel:
  """Draws the experts that modalities use in the last layer, mean of seeds.

  Experts of a seed are numbered by how much they are used: their own numbers
  mean nothing.

  Args:
    shares: of a run.
    name: of the run.

  Returns:
    The panel.
  """
  values = shares.values[:, -1]
  order = np.argsort(-values.sum(axis=1), axis=-1, kind="stable")
  values = np.take_along_axis(values, order[:, None], axis=-1).mean(axis=0)

  def plot(ax):
    image = ax.imshow(values, cmap="Blues", vmin=0, aspect="auto")
    ax.set_xlabel("expert, by use")
    ax.set_yticks(range(len(shares.modalities)), shares.modalities)
    ax.figure.colorbar(image, ax=ax, label="share of gates")

  return svg.draw(f"routing_{name}", f"{name}: experts of the last layer", plot)
