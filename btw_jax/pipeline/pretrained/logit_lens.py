"""Interactions (PID) of a pretrained model's decisions after every layer.

The state after a layer is mapped to logits as that of the last layer is ("logit
lens"), for questions with an image: as they are, with the image alone and with
the text alone. arXiv 2606.00959 reports nothing up to a fifth of the depth,
then unique information, and synergy in the last fifth.
"""

from collections.abc import Sequence
import math
import os
import pathlib

import numpy as np

from btw_jax.data.answers import arrays as answer_arrays
from btw_jax.data.answers import read_options
from btw_jax.data.sources import questions as questions_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import progress
from btw_jax.pipeline.audit import interactions as audit_interactions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import roles
from btw_jax.pipeline.language import interactions_plots
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import questions

_TO_BITS = 1 / math.log(2)
NAMES = ("redundant", "vision", "text", "synergistic")
TABLE, PICTURE = "layers.json", "layers.png"


def measure(
  answerer: questions.Answerer, entries: Sequence[questions_lib.Entry]
) -> np.ndarray:
  """Decomposes the decisions before the first layer and after each.

  Args:
    answerer: the model.
    entries: questions with an image.

  Returns:
    `[L + 1, 4]` bits: redundant, unique to the image, unique to the text,
    synergistic.

  Raises:
    InputError: if an image cannot be read.
  """
  asks = [answerer.ask(e, questions.picture_of(e)) for e in entries]
  batch_size = answerer.batch_size
  with progress.doing("answering after every layer"):
    stats = answers_lib.statistics(answerer.model, asks, batch_size)
    passes = {
      name: answers_lib.score_layers(
        answerer.model,
        asks,
        batch_size,
        masked=masked,
        stats=stats,
        seed=answerer.seed,
      )
      for name, masked in (
        ("both", None),
        ("vision", answers_lib.TEXT),
        ("text", answers_lib.VISION),
      )
    }
  with progress.doing("decomposing after every layer"):
    return _TO_BITS * np.stack(
      [
        _atoms({name: x[layer] for name, x in passes.items()})
        for layer in range(len(passes["both"]))
      ]
    )


def _atoms(log_probs):
  """Returns the atoms `[4]` of one layer in nats, as in an audit."""
  answers = answer_arrays.from_arrays(
    {k: np.where(np.isneginf(x), np.nan, x) for k, x in log_probs.items()},
    options_read=read_options.ReadOptions(scores="logits"),
  )
  (pair,) = roles.pairs(roles.assign(list(answers.decisions)))
  atoms = audit_interactions.measure(answers, pair, options_lib.Options()).row[
    "atoms"
  ]
  means = [atoms[name]["mean"] for name in audit_interactions.ATOMS]
  if pair.first != "vision":
    means[1], means[2] = means[2], means[1]
  return np.array(means)


def write(folder: str | os.PathLike, bits: np.ndarray) -> list[pathlib.Path]:
  """Writes the table and the picture of `measure`, and returns their paths."""
  folder = pathlib.Path(folder)
  files.write_json(
    folder / TABLE,
    {
      "unit": "bits",
      "layers": [
        dict(zip(NAMES, map(float, row), strict=True)) for row in bits
      ],
    },
  )
  files.write(
    folder / PICTURE,
    lambda file: interactions_plots.layers(
      {"first source: image, second: text": (bits, None)}, file
    ),
  )
  return [folder / TABLE, folder / PICTURE]


def rows(bits: np.ndarray) -> list[dict[str, str]]:
  """Returns a row per layer, for the screen; layer 0 is before the first."""
  return [
    {
      "layer": f"{layer}",
      **{name: f"{x:.3f}" for name, x in zip(NAMES, row, strict=True)},
    }
    for layer, row in enumerate(bits)
  ]
