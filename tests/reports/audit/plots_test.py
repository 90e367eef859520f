"""The figures of an audit show its numbers where they belong."""

from matplotlib import figure as figure_lib
import numpy as np
import pytest

from btw_jax.reports import palette
from btw_jax.reports.audit import interaction_plots
from btw_jax.reports.audit import plots as audit_plots
from support import audit_contents as audits


def _axes(drawing):
  ax = figure_lib.Figure().subplots()
  drawing.plot(ax)
  return ax


def _bars(ax):
  """Returns label of a series -> the `[rows, 2]` ends of its bars."""
  return {
    bars.get_label(): np.array(
      [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    )
    for bars in ax.containers
    if hasattr(bars, "patches")
  }


def _names(ax):
  return [tick.get_text() for tick in ax.get_yticklabels()]


def _interaction_axes(*rows):
  drawings = interaction_plots.drawings(audits.content(interactions=rows))
  return [_axes(drawing) for drawing in drawings]


def test_each_panel_needs_its_numbers():
  panels = audit_plots.draw(audits.content())
  assert not any(panels.values())
  panels = audit_plots.draw(audits.everything())
  assert {name: len(of) for name, of in panels.items()} == {
    "conditions": 1, "changes": 2, "interactions": 2, "information": 1,
    "weights": 1,
  }  # fmt: skip
  without_labels = audits.content(changes=[audits.change("a", 0.4)])
  assert len(audit_plots.draw(without_labels)["changes"]) == 1


def test_accuracy_has_its_interval_and_that_of_guesses():
  content = audits.content(
    conditions=[audits.condition("a"), audits.condition("b", 0.5)]
  )
  (drawing,) = audit_plots._accuracy(content)
  ax = _axes(drawing)
  assert _names(ax) == ["b"]
  guess, interval, point = (line.get_xdata() for line in ax.lines)
  assert guess == pytest.approx([37.5, 37.5])
  assert interval == pytest.approx([48, 52])
  assert point == pytest.approx([50])
  content["num_labelled"] = 99
  (drawing,) = audit_plots._accuracy(content)
  assert len(_axes(drawing).lines) == 2


def test_changes_have_the_colour_of_their_verdict():
  rows = [
    audits.change("a", 0.4, -0.3),
    audits.change("b", 0.4, 0.3),
    audits.change("c", 0.4, 0.0),
  ]
  content = audits.content(changes=[*rows, {"condition": "d"}])
  share, accuracy = map(_axes, audit_plots._changes(content))
  assert _names(share) == _names(accuracy) == ["a", "b", "c"]
  assert share.lines[0].get_xdata() == pytest.approx([38, 42])
  assert share.get_xlim()[0] == 0
  points = accuracy.lines[2::2]
  assert [p.get_color() for p in points] == [
    palette.VERDICTS[verdict] for verdict in (-1, 1, 0)
  ]
  assert [float(p.get_xdata()[0]) for p in points] == pytest.approx(
    [-30, 30, 0]
  )


def test_stacked_atoms_add_up_on_both_sides_of_zero():
  """Positive atoms go to the right of 0, negative ones to the left."""
  stack, _ = _interaction_axes(
    audits.interaction(audits.atoms(0.4, -0.1, 0.05, -0.2)),
    audits.interaction(audits.atoms(0.1, 0.2, 0.3, 0.4), task="maths"),
  )
  assert _names(stack) == ["all", "maths"]
  bars = _bars(stack)
  assert list(bars) == [
    "redundant: either", "unique: vision", "unique: text",
    "synergistic: only both",
  ]  # fmt: skip
  ends = np.stack(list(bars.values()), axis=1)
  np.testing.assert_allclose(
    ends[0], [(0, 0.4), (0, -0.1), (0.4, 0.45), (-0.1, -0.3)]
  )
  np.testing.assert_allclose(
    ends[1], [(0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)]
  )
  assert stack.get_xlim()[0] < -0.3


def test_the_spread_and_the_gap_are_shown():
  _, parts = _interaction_axes(
    audits.interaction(audits.atoms(0.4, -0.1, 0.05, -0.2, spread=0.03)),
    audits.interaction(audits.atoms(0, 0, 0, 0, spread=None), task="one"),
  )
  ends = np.array(
    [
      [segment[:, 0] for segment in bars.lines[2][0].get_segments()]
      for bars in parts.containers
    ]
  )
  means = np.array([0.4, -0.1, 0.05, -0.2])
  np.testing.assert_allclose(ends[:, 0], means[:, None] + [-0.03, 0.03])
  np.testing.assert_allclose(ends[:, 1], 0)
  assert "gap at most 5e-04" in parts.get_xlabel()
  (band,) = parts.patches
  assert band.get_x() == -0.0005
  assert band.get_width() == 0.001


def test_cut_off_lists_have_a_bar_for_each_end():
  row = audits.interaction(audits.atoms(0.4, 0, 0, 0))
  row["at_ceiling"] = audits.atoms(0.3, 0, 0, 0)
  for ax in _interaction_axes(row):
    assert _names(ax) == ["all", "↳ at their limit"]
  stack, _ = _interaction_axes(row)
  redundant = _bars(stack)["redundant: either"]
  np.testing.assert_allclose(redundant, [(0, 0.4), (0, 0.3)])


def test_unsolved_rows_are_not_drawn():
  assert _interaction_axes(audits.interaction(None)) == []
  stack, _ = _interaction_axes(
    audits.interaction(audits.atoms(0.4, 0, 0, 0)),
    audits.interaction(None, task="maths"),
  )
  assert _names(stack) == ["all"]


def test_pairs_share_a_panel_unless_they_have_tasks():
  zero = audits.atoms(0.4, 0, 0, 0)
  pairs = [
    audits.interaction(zero),
    audits.interaction(zero, second="audio", control="text"),
  ]
  stack, _ = _interaction_axes(*pairs)
  assert _names(stack) == ["vision and text", "vision and audio\ngiven text"]
  assert "unique: first" in _bars(stack)
  axes = _interaction_axes(*pairs, audits.interaction(zero, task="maths"))
  assert [_names(ax) for ax in axes[::2]] == [["all", "maths"], ["all"]]
  assert "unique: audio" in _bars(axes[2])


def test_information_stands_beside_chance():
  (drawing,) = audit_plots._information(audits.everything())
  ax = _axes(drawing)
  np.testing.assert_allclose(_bars(ax)["information"], [(0, 0.3)])
  (chance,) = [c for c in ax.containers if "by chance" in c.get_label()]
  (segment,) = chance.lines[2][0].get_segments()
  # The mean ± 2 standard deviations.
  np.testing.assert_allclose(segment[:, 0], [0.1 - 0.04, 0.1 + 0.04])


def test_weights_have_a_bar_for_each_variant():
  (drawing,) = audit_plots._weights(audits.everything())
  ax = _axes(drawing)
  assert _names(ax) == ["vision", "text"]
  bars = _bars(ax)
  np.testing.assert_allclose(bars["uniform"], [(0, 0.5), (0, 0.5)])
  np.testing.assert_allclose(bars["kl+mi"], [(0, 0.8), (0, 0.2)])
  middles = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
  # The bars of a modality lie side by side, around its name.
  np.testing.assert_allclose(middles, [-0.2, 0.8, 0.2, 1.2])
