"""Parity of pretrained models with PyTorch's `transformers`, in float32.

The golden folders of the tests hold tiny random models with what the reference
computes; `tests/support/make_golden_models.py` writes them.
"""

from collections.abc import Iterator
import pathlib

import numpy as np
from PIL import Image

from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import images
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import vision
from btw_jax.models.pretrained import vision_language

_GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"


def run(rounds: int) -> list[dict[str, str]]:
  """Compares every family; nothing here depends on the clock."""
  del rounds
  return [*_rows()]


def _rows() -> Iterator[dict[str, str]]:
  """Yields the largest difference from the reference, family by family."""
  for folder in sorted(_GOLDEN.iterdir()):
    with np.load(folder / "golden.npz") as file:
      arrays = dict(file)
    model = catalog.load(folder)
    for name, ours, expected in _outputs(model, arrays):
      difference = np.abs(np.asarray(ours) - expected).max()
      yield {
        "family": folder.name,
        "compared": name,
        "largest difference": f"{difference:.1e}",
        "target": "1e-05" if name == "pixels" else "1e-04",
      }


def _outputs(model, arrays):
  """Yields what is compared, our numbers, and those of the reference."""
  where = arrays.get("attention_mask", np.zeros(0)) > 0
  params, config = model.params, model.config
  if model.architecture.startswith(("Bert", "Roberta")):
    segments = arrays.get("token_type_ids")
    states = bert.encode(params, config, arrays["input_ids"], where, segments)
    yield "states", states[where], arrays["out_hidden"][where]
  elif isinstance(config, llama.Config):
    embeddings = llama.embed(params, arrays["input_ids"])
    states = llama.decode(params, config, embeddings, where)
    logits = llama.logits(params, config, states)
    yield "logits", logits[where], arrays["out_logits"][where]
  elif isinstance(config, vision_language.Config):
    pixels = arrays["pixel_values"]
    pixels = pixels if pixels.ndim == 5 else pixels[:, None]
    logits = vision_language.logits(
      params, config, arrays["input_ids"], where, pixels
    )
    yield "logits", logits[where], arrays["out_logits"][where]
  else:
    states = vision.encode(params, config, arrays["pixel_values"])
    yield "states", states, arrays["out_hidden"]
  if "picture_0" in arrays:
    processor = images.read(model.folder)
    pairs = [
      (
        images.preprocess(
          processor, Image.fromarray(arrays[f"picture_{number}"])
        ).pixels,
        arrays[f"pixels_{number}"],
      )
      for number in range(sum(name.startswith("picture_") for name in arrays))
    ]
    ours, expected = (
      np.concatenate([x.ravel() for x in part])
      for part in zip(*pairs, strict=True)
    )
    yield "pixels", ours, expected
