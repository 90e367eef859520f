import json

import numpy as np
from PIL import Image
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import images
from support import golden

NAMES = ("clip", "siglip", "llava", "smolvlm")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", range(4))
def test_pixels_are_those_of_the_reference(name, number):
  arrays = golden.arrays(name)
  picture = Image.fromarray(arrays[f"picture_{number}"])
  tiles = images.preprocess(images.read(golden.ROOT / name), picture)
  expected = arrays[f"pixels_{number}"]
  assert tiles.pixels.dtype == np.float32
  np.testing.assert_allclose(tiles.pixels, expected, atol=1e-5)
  number_of_tiles = tiles.rows * tiles.columns + 1
  assert len(expected) == number_of_tiles


def test_large_images_have_several_tiles_and_small_ones_too():
  processor = images.read(golden.ROOT / "smolvlm")
  shapes = [
    golden.arrays("smolvlm")[f"picture_{number}"].shape for number in range(4)
  ]
  tiles = [
    images.preprocess(processor, Image.new("RGB", shape[1::-1]))
    for shape in shapes
  ]
  assert [(t.rows, t.columns) for t in tiles] == [
    (2, 3),
    (3, 1),
    (3, 3),
    (1, 3),
  ]


def test_images_that_are_not_split_have_one_tile():
  processor = images.read(golden.ROOT / "smolvlm")._replace(splits=False)
  tiles = images.preprocess(processor, Image.new("RGB", (90, 7)))
  assert (tiles.rows, tiles.columns, len(tiles.pixels)) == (0, 0, 1)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_other_modes_become_colours(mode):
  processor = images.read(golden.ROOT / "siglip")
  pixels = images.preprocess(processor, Image.new(mode, (9, 5))).pixels
  assert pixels.shape == (1, 3, 16, 16)


def test_narrow_pictures_have_tiles():
  processor = images.read(golden.ROOT / "smolvlm")
  for size in ((1, 400), (400, 1), (1, 1)):
    pixels = images.preprocess(processor, Image.new("RGB", size)).pixels
    assert pixels.shape[1:] == (3, 16, 16)


def test_newer_folders_hold_it_in_the_configuration_of_the_processor(tmp_path):
  folder = golden.copy("smolvlm", tmp_path)
  path = folder / images.CONFIG
  values = json.loads(path.read_text())
  path.unlink()
  nested = {"image_processor": values, "image_seq_len": 64}
  (folder / images.NESTED_CONFIG).write_text(json.dumps(nested))
  assert images.read(folder) == images.read(golden.ROOT / "smolvlm")


def test_older_sizes_are_numbers(tmp_path):
  folder = golden.copy("clip", tmp_path)
  path = folder / images.CONFIG
  values = json.loads(path.read_text()) | {"size": 20, "crop_size": 16}
  path.write_text(json.dumps(values))
  assert images.read(folder) == images.read(golden.ROOT / "clip")


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("image_processor_type", "MyProcessor"),
    ("image_processor_type", None),
    ("do_resize", False),
    ("do_center_crop", False),
    ("resample", 99),
    ("image_mean", [0.5, 0.5]),
    ("image_std", "0.5"),
    ("image_std", [0.5, 0, 0.5]),
    ("size", {"shortest_edge": 8}),
    ("size", {"shortest_edge": 2**31}),
    ("size", [16, 16]),
    ("crop_size", {"height": 0, "width": 16}),
    ("rescale_factor", -1),
  ],
)
def test_wrong_fields_are_named(tmp_path, field, value):
  folder = golden.copy("clip", tmp_path)
  path = folder / images.CONFIG
  values = json.loads(path.read_text()) | {field: value}
  path.write_text(json.dumps(values))
  with pytest.raises(errors.InputError) as raised:
    images.read(folder)
  message = str(raised.value)
  assert images.CONFIG in message
  assert field in message
  assert "\n" not in message


def test_a_folder_without_a_processor(tmp_path):
  with pytest.raises(errors.InputError, match=r"preprocessor_config\.json"):
    images.read(tmp_path)
