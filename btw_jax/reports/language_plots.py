"""The picture of interference in language models."""

from collections.abc import Mapping
import os

import matplotlib as mpl
from matplotlib import figure as figure_lib
import numpy as np

from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import training_plot

_BAR = 0.8


def interference(
  shares: Mapping[str, Mapping[str, np.ndarray]], path: str | os.PathLike
) -> None:
  """Draws the changed decisions of each model as bars, into a PNG file.

  `shares` is model -> perturbation -> `[S]` percent, one value per seed.
  """
  kinds = list(next(iter(shares.values())))
  places, height = np.arange(len(kinds)), _BAR / len(shares)
  with mpl.rc_context(svg.STYLE):
    figure = figure_lib.Figure(
      (5.4, 0.9 + 0.3 * len(kinds)),
      layout="constrained",
      dpi=training_plot.DPI,
    )
    ax = figure.subplots()
    for number, (model, of_kinds) in enumerate(shares.items()):
      values = np.stack([of_kinds[kind] for kind in kinds])
      ax.barh(
        places + (number + 0.5) * height - _BAR / 2,
        values.mean(axis=1),
        height,
        xerr=values.std(axis=1, ddof=1) if values.shape[1] > 1 else None,
        label=model,
        color=palette.LIGHT.series[number % len(palette.LIGHT.series)],
      )
    ax.set_yticks(places, kinds)
    ax.invert_yaxis()
    ax.set_xlim(0)
    ax.set_xlabel("decisions changed, %")
    svg.legend(ax)
    figure.savefig(path, format="png", metadata={"Software": None})
