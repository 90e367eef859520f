"""The picture of a run shows the tables of made-up runs."""

from matplotlib import figure as figure_lib
from matplotlib import image
import numpy as np
import pytest

from btw_jax.reports import study as study_lib
from btw_jax.reports import training_plot
from support import run_files
from support import studies


def _run(folder, *methods):
  """Writes a run of the uniform model and of the methods."""
  problem = studies.problem({name: (0.0, 0.0) for name in methods})
  return run_files.write(folder, problem).path


@pytest.fixture
def drawn(tmp_path, monkeypatch):
  """Returns title -> (label -> drawn values, limits) of a picture's panels."""
  figures = []
  save = figure_lib.Figure.savefig

  def keep(figure, *args, **options):
    figures.append(figure)
    save(figure, *args, **options)

  monkeypatch.setattr(figure_lib.Figure, "savefig", keep)
  path = tmp_path / "picture.png"
  training_plot.picture(_run(tmp_path / "run", "kl", "mi", "auto"), path)
  panels = {
    ax.get_title(): (
      {line.get_label(): line.get_ydata() for line in ax.get_lines()},
      ax.get_ylim(),
    )
    for ax in figures[0].get_axes()
  }
  return panels, path


def _fall(first):
  return first - 0.1 * np.arange(run_files.NUM_EPOCHS)


def test_each_panel_shows_its_rows_of_the_tables(drawn):
  panels, path = drawn
  # Auto chose mi, so both are one line; a refit is not shown.
  assert list(panels) == [
    "training loss", "validation loss", "loss of each modality alone",
    "kl: weights", "mi, auto: weights",
  ]  # fmt: skip
  losses = run_files.LOSSES
  lines = {"uniform": "uniform", "kl": "kl", "mi, auto": "mi"}
  for title, factor in (("training loss", 0.5), ("validation loss", 1.0)):
    assert list(panels[title][0]) == list(lines)
    for label, name in lines.items():
      expected = factor * _fall(losses[name])
      np.testing.assert_allclose(panels[title][0][label], expected)
  for name, values in panels["loss of each modality alone"][0].items():
    np.testing.assert_allclose(values, _fall(losses[name]))
  for title, name in (("kl: weights", "kl"), ("mi, auto: weights", "mi")):
    rise = run_files.WEIGHT_STEPS[name] * np.arange(run_files.NUM_EPOCHS)
    np.testing.assert_allclose(panels[title][0]["a"], 0.5 + rise)
  # Panels of the same quantity share their scale.
  assert panels["training loss"][1] == panels["validation loss"][1]
  assert panels["kl: weights"][1] == panels["mi, auto: weights"][1]
  height, width = image.imread(path).shape[:2]
  assert width > 1000 and height < 3 * width


def test_many_methods_are_split(tmp_path):
  names = ("kl", "mi", "auto", *studies.BALANCED)
  figure = training_plot.draw(_run(tmp_path / "run", *names))
  axes = figure.get_axes()
  assert [ax.get_title() for ax in axes] == [
    *["training loss", "validation loss"] * 2, "loss of each modality alone",
    "kl: weights", "mi, auto: weights",
  ]  # fmt: skip
  for first, second in ((axes[0], axes[2]), (axes[1], axes[3])):
    labels = [
      [line.get_label() for line in ax.get_lines()] for ax in (first, second)
    ]
    assert labels[0][0] == labels[1][0] == "uniform"
    assert sum(map(len, labels)) == 2 + 2 + len(studies.BALANCED)
    assert first.get_ylim() == second.get_ylim()


def test_a_run_of_one_weighting_needs_no_weights(tmp_path):
  """The picture is the same, byte by byte, for the same files."""
  paths = [tmp_path / f"{n}.png" for n in range(2)]
  run = _run(tmp_path / "run")
  assert len(study_lib.read([("", run)])[0].results["rows"]) == 1
  for path in paths:
    training_plot.picture(run, path)
  assert paths[0].read_bytes() == paths[1].read_bytes()
  # Letters of 10 points are 10 pixels high on a page that is 390 pixels wide.
  width = image.imread(paths[0]).shape[1] / training_plot.DPI
  assert 10 / 72 * 390 / width >= 10
