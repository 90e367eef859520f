"""The golden folders: tiny models, and what the reference makes of inputs.

`make_golden_models` writes them.
"""

import functools
import json
import pathlib
import shutil

import numpy as np
from safetensors import numpy as safetensors_numpy

from btw_jax.models.pretrained import catalog

ROOT = pathlib.Path(__file__).resolve().parents[1] / "golden"
NAMES = sorted(path.name for path in ROOT.iterdir())


@functools.cache
def model(name):
  return catalog.load(ROOT / name)


@functools.cache
def arrays(name):
  """Returns the inputs and outputs of a folder, by name."""
  with np.load(ROOT / name / "golden.npz") as file:
    return dict(file)


def copy(name, tmp_path):
  """Returns a copy of a folder, to damage it."""
  return pathlib.Path(shutil.copytree(ROOT / name, tmp_path / name))


def edit_config(folder, **values):
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(folder, edit, file="model.safetensors"):
  """Writes a file anew, with what `edit` makes of its arrays."""
  path = folder / file
  tensors = safetensors_numpy.load_file(path)
  edit(tensors)
  safetensors_numpy.save_file(tensors, path)
