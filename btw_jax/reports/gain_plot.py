"""Plots of the change by every method, with its 95 % interval."""

from btw_jax.reports import palette
from btw_jax.reports import study as study_lib
from btw_jax.reports import svg
from btw_jax.reports import tables


def draw_gains(problem: study_lib.Problem) -> list[svg.Panel]:
  """Draws one panel for each tested metric of a problem, if there are tests.

  The signs are those of the tables: a negative change of an error is better.
  """
  if not problem.comparisons:
    return []
  return svg.draw([_drawing(problem, metric) for metric in problem.metrics])


def _drawing(problem, metric):
  comparisons = [c for c in problem.comparisons.values() if c.metric == metric]
  column, change = tables.COLUMNS[metric], tables.CHANGES[metric]
  factor = column.sign * column.factor

  def plot(ax):
    ax.axvline(0, color=palette.LIGHT.soft, linewidth=1.2, linestyle=":")
    for place, c in enumerate(comparisons):
      color = palette.VERDICTS[c.verdict]
      marker = palette.VERDICT_MARKERS[c.verdict]
      low, high = (factor * end for end in c.interval)
      ax.plot([low, high], [place] * 2, color=color, lw=2)
      ax.plot(factor * c.gain, place, marker, color=color, ms=7)
    ax.set_yticks(range(len(comparisons)), [c.method for c in comparisons])
    ax.set_ylim(len(comparisons) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=5)
    arrow = "better →" if column.sign > 0 else "← better"
    ax.set_xlabel(f"{change}\n{arrow}")

  name = change.partition(",")[0]
  title = f"{name} from {problem.base.name}, 95 % interval"
  height = 1.6 + 0.3 * len(comparisons)
  return svg.Drawing(f"gain_{metric}", title, plot, height)
