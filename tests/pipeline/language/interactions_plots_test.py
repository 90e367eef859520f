from matplotlib import image
import numpy as np
import pytest

from btw_jax.pipeline.language import interactions_plots
from btw_jax.reports import palette


def _colors(path):
  """Returns how many pixels have the colour of each of the four atoms."""
  pixels = np.rint(255 * image.imread(path)[..., :3]).astype(int)
  colors = [palette.color(number) for number in range(4)]
  wanted = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors]
  return np.array([np.all(pixels == w, axis=-1).sum() for w in wanted])


@pytest.mark.parametrize("atom", range(4))
def test_bars_have_the_size_of_atoms(tmp_path, atom):
  path = tmp_path / "tasks.png"
  large, small = np.eye(4)[atom], 0.2 * np.ones(4)
  # The truth is pale, and has other colours.
  atoms = {"one": {"grid": large, "truth": small}, "two": {"masked": large}}
  interactions_plots.tasks(atoms, path)
  assert np.argmax(_colors(path)) == atom


def test_bars_are_stacked(tmp_path):
  path = tmp_path / "tasks.png"
  interactions_plots.tasks({"one": {"grid": np.ones(4)}}, path)
  counts = _colors(path)
  assert counts.min() > 0.4 * counts.max()


def test_every_task_has_a_panel(tmp_path):
  sizes = []
  for number in (1, 3):
    path = tmp_path / f"{number}.png"
    profile = np.linspace(0, [0.1, 0.5, 1.0, 2.0], 5)
    tasks = {
      f"task {n}\nimage, text": (profile, profile[-1]) for n in range(number)
    }
    interactions_plots.layers(tasks, path)
    assert np.all(_colors(path) > 100)
    sizes.append(image.imread(path).shape)
  assert sizes[1][0] > sizes[0][0] + 100
