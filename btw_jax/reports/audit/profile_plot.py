"""Picture of a profile: interactions against the accuracy that is lost."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

import matplotlib as mpl
from matplotlib import figure as figure_lib

from btw_jax.reports import palette
from btw_jax.reports import svg
from btw_jax.reports import tables
from btw_jax.reports.audit import interactions as audit_interactions

# More names than this would cover each other.
_MOST_NAMES = 12


def picture(
  points: Sequence[Mapping[str, Any]],
  correlations: Sequence[Mapping[str, Any]],
  path: str | os.PathLike,
) -> None:
  """Draws each atom against the accuracy lost without the first source."""
  first = points[0]["first"]
  names = audit_interactions.name_atoms(points[:1])
  rho = {r["atom"]: r for r in correlations if r["lost"] == "lost_first"}
  with mpl.rc_context(svg.STYLE | {"text.parse_math": False}):
    figure = figure_lib.Figure((4 * svg.WIDTH, 4.2), layout="constrained")
    for place, (ax, (atom, name)) in enumerate(
      zip(figure.subplots(1, 4, sharey=True), names.items(), strict=True)
    ):
      style = {**palette.line(place), "linestyle": "none", "markersize": 7}
      ax.plot(
        [point[atom] for point in points],
        [100 * point["lost_first"] for point in points],
        **style,
      )
      for point in points if len(points) <= _MOST_NAMES else ():
        label = point["task"] or point["audit"]
        ax.annotate(
          label,
          (point[atom], 100 * point["lost_first"]),
          xytext=(6, 4),
          textcoords="offset points",
        )
      title = name
      if atom in rho:
        p = tables.p_text(rho[atom]["p_value"])
        title += f": ρ = {rho[atom]['rho']:+.2f}, {p}"
      ax.set_title(title)
      ax.set_xlabel(f"{name}, nats")
      ax.margins(0.18)
      if place == 0:
        ax.set_ylabel(f"accuracy lost without {first}, points")
    figure.savefig(path, format="png", dpi=110)
