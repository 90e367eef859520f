"""Preprocessing of images, as a model's folder describes it.

Three kinds: "crop" scales the shorter side and cuts out the middle (CLIP,
LLaVA), "square" scales to a fixed size (SigLIP), and "tiles" cuts a large image
into squares and adds the whole image as a last one (SmolVLM, Idefics3).
"""

import math
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import folder as folder_lib

CONFIG, NESTED_CONFIG = "preprocessor_config.json", "processor_config.json"
_KINDS = {
  "CLIPImageProcessor": "crop",
  "SiglipImageProcessor": "square",
  "Idefics3ImageProcessor": "tiles",
  "SmolVLMImageProcessor": "tiles",
}
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# The filters of Pillow by their numbers.
_FILTERS = {int(f): f for f in Image.Resampling}
_BICUBIC, _LANCZOS = (
  int(f) for f in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
)
_MAX_SIDE = 4096


class Processor(NamedTuple):
  """The way from an image to the pixels of a model.

  Attributes:
    kind: "crop", "square" or "tiles".
    shape: height and width of the pixels.
    scaled: length that a side is scaled to first: the shorter one of "crop",
      the longer one of "tiles".
    filter: the number of a filter of Pillow.
    factor: multiplies values from 0 to 255.
    mean: of each channel.
    std: of each channel.
    splits: whether "tiles" cuts images; otherwise there is one tile.
  """

  kind: str
  shape: tuple[int, int]
  scaled: int
  filter: int
  factor: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  splits: bool = False


class Tiles(NamedTuple):
  """The pixels of an image.

  Attributes:
    pixels: `[I, 3, height, width]`, row by row and the whole image last.
    rows: number of rows of tiles; 0 if the whole image is the only one.
    columns: number of columns of tiles.
  """

  pixels: np.ndarray
  rows: int = 0
  columns: int = 0


def read(folder: str | pathlib.Path) -> Processor:
  """Reads how a model's folder asks for images.

  Raises:
    InputError: naming the file and the field that is wrong.
  """
  folder = pathlib.Path(folder)
  is_nested = (folder / NESTED_CONFIG).exists() and not (
    folder / CONFIG
  ).exists()
  path = folder / (NESTED_CONFIG if is_nested else CONFIG)
  values = folder_lib.read_json(path, "the preprocessing of the model's images")
  fields = fields_lib.Fields(values, str(path))
  if is_nested:
    fields = fields.nested("image_processor")
  names = [
    f"{name}{ending}" for name in _KINDS for ending in ("", "Fast", "Pil")
  ]
  name = fields.choice("image_processor_type", names, "")
  for needed in ("do_resize", "do_rescale", "do_normalize"):
    if not fields.flag(needed, True):
      raise fields.wrong(needed, "this version needs true")
  kind = _KINDS[name.removesuffix("Fast").removesuffix("Pil")]
  filters = [*_FILTERS]
  default = _LANCZOS if kind == "tiles" else _BICUBIC
  used = fields.whole("resample", default)
  if used not in filters:
    raise fields.wrong("resample", f"give one of {filters}")
  is_clip = kind == "crop"
  half = (0.5,) * 3
  shape, scaled = _read_sizes(fields, kind)
  std = fields.numbers("image_std", 3, _CLIP_STD if is_clip else half)
  if min(std) <= 1e-6:
    raise fields.wrong("image_std", "give numbers above 1e-6")
  return Processor(
    kind,
    shape,
    scaled,
    used,
    fields.number("rescale_factor", 1 / 255),
    fields.numbers("image_mean", 3, _CLIP_MEAN if is_clip else half),
    std,
    kind == "tiles" and fields.flag("do_image_splitting", True),
  )


def _read_sizes(fields, kind):
  """Returns the shape of the pixels, and the length that is scaled to first."""
  if kind == "square":
    return fields.extent("size", 224), 0
  if kind == "crop":
    shape = fields.extent("crop_size", 224)
    scaled = fields.edge("size", "shortest_edge", 224)
    if not fields.flag("do_center_crop", True):
      raise fields.wrong("do_center_crop", "this version needs true")
    if scaled > _MAX_SIDE:
      raise fields.wrong("size", f"give at most {_MAX_SIDE}")
    if scaled < max(shape):
      raise fields.wrong("size", f"give at least 'crop_size', {max(shape)}")
    return shape, scaled
  side = fields.edge("max_image_size", "longest_edge", 364)
  scaled = fields.edge("size", "longest_edge", 4 * 364)
  return (side, side), min(scaled, _MAX_SIDE)


def grid(processor: Processor, width: int, height: int) -> tuple[int, int]:
  """Returns the rows and columns of tiles of an image; 0 if it is not cut."""
  if not processor.splits:
    return 0, 0
  side = processor.shape[0]
  height, width = _scaled(processor, width, height)
  ratio = width / height
  # The shorter side follows the longer one, after that has been rounded up.
  if width >= height:
    columns = math.ceil(width / side)
    rows = math.ceil(int(columns * side / ratio) / side)
  else:
    rows = math.ceil(height / side)
    columns = math.ceil(int(rows * side * ratio) / side)
  # A very narrow image still has a tile.
  rows, columns = max(rows, 1), max(columns, 1)
  return (0, 0) if rows == columns == 1 else (rows, columns)


def preprocess(processor: Processor, image: Image.Image) -> Tiles:
  """Returns the pixels of an image, normalised as the model wants them."""
  width, height = image.size
  image = image.convert("RGB")
  rows, columns = grid(processor, width, height)
  if processor.kind == "square":
    parts = [_resize(processor, image, processor.shape)]
  elif processor.kind == "crop":
    image = _resize(processor, image, _scaled(processor, width, height))
    parts = [_middle(image, processor.shape)]
  else:
    image = _resize(processor, image, _scaled(processor, width, height))
    parts, side = [], processor.shape[0]
    if rows:
      image = _resize(processor, image, (rows * side, columns * side))
      parts = _cut(image, side, rows, columns)
    parts.append(_resize(processor, image, processor.shape))
  pixels = np.stack([np.asarray(part, np.float32) for part in parts])
  pixels = pixels * np.float32(processor.factor)
  pixels = (pixels - np.float32(processor.mean)) / np.float32(processor.std)
  return Tiles(pixels.transpose(0, 3, 1, 2), rows, columns)


def _resize(processor, image, shape):
  """Scales an image to a height and width."""
  size = (shape[1], shape[0])
  if image.size == size:
    return image
  return image.resize(size, _FILTERS[processor.filter])


def _scaled(processor, width, height):
  """Returns the height and width of an image whose one side is scaled."""
  length = processor.scaled
  if processor.kind == "crop":
    short, long = min(width, height), max(width, height)
    other = int(length * long / short)
    return (length, other) if height <= width else (other, length)
  # The longer side is exact, the other one even.
  if width >= height:
    other = int(length / (width / height))
    return max(other + other % 2, 1), length
  other = int(length * (width / height))
  return length, max(other + other % 2, 1)


def _middle(image, shape):
  """Cuts the middle out of an image."""
  top = (image.height - shape[0]) // 2
  left = (image.width - shape[1]) // 2
  return image.crop((left, top, left + shape[1], top + shape[0]))


def _cut(image, side, rows, columns):
  """Cuts an image into squares, row by row."""
  return [
    image.crop(
      (side * column, side * row, side * (column + 1), side * (row + 1))
    )
    for row in range(rows)
    for column in range(columns)
  ]
