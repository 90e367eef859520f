"""What every method gains, with its interval."""

from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables

_COLORS = {1: "C2", 0: "0.45", -1: "C3"}


def of_problem(problem: study_lib.Problem) -> list[svg.Panel]:
  """A panel for decisions, and one for likelihood.

  Args:
    problem: of a study.

  Returns:
    Panels.
  """
  return [_gains(problem, metric) for metric in problem.metrics]


def _gains(problem, metric):
  own = [c for c in problem.comparisons.values() if c.metric == metric]
  column = tables.COLUMNS[metric]

  def plot(ax):
    ax.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    for place, found in enumerate(own):
      gain, low, high = (
        column.factor * x for x in (found.gain, *found.interval)
      )
      ax.plot([low, high], [place] * 2, color=_COLORS[found.verdict], lw=2)
      ax.plot(gain, place, "o", color=_COLORS[found.verdict], ms=5)
    ax.set_yticks(range(len(own)), [c.method for c in own])
    ax.set_ylim(len(own) - 0.5, -0.5)
    ax.set_xlabel(f"gain in {column.heading}, 95 % interval")

  title = f"{column.heading} against {problem.base.name}: right is better"
  height = 1.5 + 0.3 * len(own)
  return svg.draw(f"gain_{metric}", title, plot, height=height)
