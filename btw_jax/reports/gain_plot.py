"""Plots of the gain of every method, with its 95 % interval."""

from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables

_COLORS = {1: "C2", 0: "0.45", -1: "C3"}


def draw_gains(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws one panel for each tested metric of a problem."""
  return [_draw_metric(problem, metric) for metric in problem.metrics]


def _draw_metric(problem, metric):
  comparisons = [c for c in problem.comparisons.values() if c.metric == metric]
  column = tables.COLUMNS[metric]

  def plot(ax):
    ax.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    for place, c in enumerate(comparisons):
      gain, low, high = (column.factor * x for x in (c.gain, *c.interval))
      ax.plot([low, high], [place] * 2, color=_COLORS[c.verdict], lw=2)
      ax.plot(gain, place, "o", color=_COLORS[c.verdict], ms=5)
    ax.set_yticks(range(len(comparisons)), [c.method for c in comparisons])
    ax.set_ylim(len(comparisons) - 0.5, -0.5)
    ax.set_xlabel("improvement with 95 % interval (right is better)")

  title = f"improvement in {column.heading} over {problem.base.name}"
  height = 1.5 + 0.3 * len(comparisons)
  return svg.draw(f"gain_{metric}", title, plot, height=height)
