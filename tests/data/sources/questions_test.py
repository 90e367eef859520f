import json

import numpy as np
from PIL import Image
import pytest

from btw_jax import errors
from btw_jax.data.questions import vocabulary
from btw_jax.data.questions import world
from btw_jax.data.sources import questions

_WORLD = world.describe("none")
_SHOWN = {
  "id": 7,
  "question": "Which digit is shown?",
  "image": "seven.png",
  "multiple_choices": {"A": "three", "B": "seven", "C": "one"},
  "multiple_choices_answer": "B",
  "facts": ["Snow is cold."],
}
_SUM = {
  "id": "sum",
  "question": "two plus two ?",
  "multiple_choices": {"A": "four", "B": "five"},
  "multiple_choices_answer": "A",
}


def _write(tmp_path, entries):
  pixels = np.zeros((16, 16), np.uint8)
  pixels[:8] = 255
  Image.fromarray(pixels).save(tmp_path / "seven.png")
  path = tmp_path / "questions.json"
  path.write_text(json.dumps(entries), encoding="utf-8")
  return path


def _read(tmp_path, entries, **settings):
  return questions.read(_write(tmp_path, entries), _WORLD, **settings)


def test_a_file_becomes_questions_in_choice_form(tmp_path):
  read = _read(tmp_path, [_SHOWN, _SUM])
  texts = [_WORLD.vocabulary.decode(tokens) for tokens in read.tokens]
  assert texts == [
    "<bos> <image> <image> <image> <image> which digit is shown ?"
    " a three b seven c one answer",
    "<bos> two plus two ? a four b five answer",
  ]
  words = [_WORLD.vocabulary.words[a] for a in read.answers]
  assert words == ["b", "a"]
  assert read.ids.tolist() == ["7", "sum"]
  np.testing.assert_array_equal(read.present, [[1, 1], [1, 0]])
  np.testing.assert_array_equal(read.relevant, [[0, 1], [1, 0]])
  offered = (read.options != vocabulary.PAD).sum(axis=1)
  np.testing.assert_array_equal(offered, [3, 2])
  # The upper half is white.
  np.testing.assert_array_equal(read.images[0, :4], np.ones((4, 8)))
  assert not read.images[0, 4:].any()
  assert not read.images[1].any()


def test_a_fact_stands_before_the_question(tmp_path):
  (text,) = _read(tmp_path, [_SHOWN], facts=True).tokens
  assert _WORLD.vocabulary.decode(text) == (
    "<bos> <image> <image> <image> <image> snow is cold . which digit is shown"
    " ? a three b seven c one answer"
  )


def test_arrays_are_images_too(tmp_path):
  np.save(tmp_path / "x.npy", np.full((8, 8), 0.25))
  read = _read(tmp_path, [{**_SHOWN, "image": "x.npy"}])
  np.testing.assert_array_equal(read.images[0], np.full((8, 8), 0.25))


def test_a_picture_of_16_bits_keeps_its_grey(tmp_path):
  pixels = np.full((8, 8), 1 << 14, np.uint16)
  Image.fromarray(pixels).save(tmp_path / "x.png")
  read = _read(tmp_path, [{**_SHOWN, "image": "x.png"}])
  np.testing.assert_allclose(read.images[0], (1 << 14) / (2**16 - 1))


def test_a_text_cannot_hold_placeholders(tmp_path):
  read = _read(tmp_path, [{**_SUM, "question": "<image> <bos> <pad> two"}])
  tokens = read.tokens[0]
  assert np.sum(tokens == vocabulary.BOS) == 1
  assert not np.any(tokens == vocabulary.IMAGE)


def test_a_world_with_sounds_reads_questions_without_one(tmp_path):
  layout = world.describe("tones")
  read = questions.read(_write(tmp_path, [_SHOWN, _SUM]), layout)
  assert read.audio.shape == (2, *layout.audio_shape)
  np.testing.assert_array_equal(read.present, [[1, 1, 0], [1, 0, 0]])
  np.testing.assert_array_equal(read.audio_length, [0, 0])
  assert read.to_batch().features.shape == (2, 3, 64)


def test_unknown_words_are_counted_in_the_log(tmp_path, caplog):
  entry = {**_SHOWN, "question": "Which gnu is shown, dear gnu?"}
  with caplog.at_level("WARNING"):
    read = _read(tmp_path, [entry])
  assert "3 words are unknown" in caplog.text
  assert np.sum(read.tokens == vocabulary.UNKNOWN) == 3


def _without(name):
  return {k: v for k, v in _SHOWN.items() if k != name}


@pytest.mark.parametrize(
  ("entries", "message"),
  [
    ({}, "is no list with at least one question"),
    ([], "is no list with at least one question"),
    (["x"], "entry 0 is no object"),
    ([_without("id")], "entry 0, 'id' is missing"),
    ([_SUM, _without("question")], "entry 1, 'question' is missing"),
    ([_SUM, _SUM], "entry 1, 'id' is 'sum', as in entry 0"),
    (
      [{**_SUM, "multiple_choices": {"A": "x"}}],
      "'multiple_choices' has no 2 to 4 options",
    ),
    (
      [{**_SUM, "multiple_choices_answer": "Z"}],
      "'multiple_choices_answer' is 'Z': give one of A, B",
    ),
    ([{**_SHOWN, "image": "none.png"}], "'image': .*none.png cannot be read"),
    ([{**_SUM, "question": "one " * 40}], "'question' is .* words too long"),
    ([{**_SUM, "question": ["one"]}], "'question' is .*: give a text"),
    ([{**_SUM, "id": None}], "'id' is None: give a text or a whole number"),
    ([{**_SUM, "image": 3}], "'image' is 3: give a path"),
    ([{**_SUM, "image": ""}], "'image' is empty: give a path, or leave it"),
    ([{**_SUM, "question": " \n"}], "'question' is empty: fill it"),
    (
      [{**_SUM, "multiple_choices": {"A": "x", "B": "x"}}],
      "'multiple_choices' has equal options",
    ),
    ([{**_SUM, "facts": 5}], "'facts' is 5: give a list of texts"),
    ([{**_SUM, "facts": [None]}], "'facts' is .*: give a list of texts"),
    (
      [{**_SUM, "multiple_choices": {"A": ["x"], "B": "y"}}],
      "'multiple_choices' has .* as A: give texts",
    ),
  ],
)
def test_what_is_wrong_is_named(tmp_path, entries, message):
  with pytest.raises(errors.InputError, match=message) as caught:
    _read(tmp_path, entries)
  assert "questions.json" in str(caught.value)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("pixels", "message"),
  [
    (np.zeros((8, 8, 3)), "has shape"),
    (np.full((8, 8), 200.0), "from 200 to 200"),
    (np.full((8, 8), np.nan), "give grey values"),
    (np.zeros((0, 8)), r"has shape \(0, 8\)"),
    (np.zeros(0), "has shape"),
    (np.full((8, 8), "x"), "cannot be read"),
    (np.full((8, 8), 1j), "cannot be read"),
  ],
)
def test_images_that_are_not_grey_are_refused(tmp_path, pixels, message):
  np.save(tmp_path / "x.npy", pixels)
  with pytest.raises(errors.InputError, match=message):
    _read(tmp_path, [{**_SHOWN, "image": "x.npy"}])


@pytest.mark.parametrize("name", ["x.npy", "x.png"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"PK\x03\x04"])
def test_files_that_are_no_images_are_refused(tmp_path, name, content):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(errors.InputError, match=f"{name} cannot be read"):
    _read(tmp_path, [{**_SHOWN, "image": name}])


def test_a_picture_that_is_too_large_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
  with pytest.raises(errors.InputError, match=r"seven\.png cannot be read"):
    _read(tmp_path, [_SHOWN])


def test_a_file_that_is_no_json_is_named(tmp_path):
  path = tmp_path / "broken.json"
  for text in ("[{", "[" * 100_000):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(errors.InputError, match=r"broken\.json: is no JSON"):
      questions.read(path, _WORLD)
  with pytest.raises(errors.InputError, match="cannot be read"):
    questions.read(tmp_path / "none.json", _WORLD)


def test_entries_may_have_more_options_for_other_models(tmp_path):
  many = {letter: f"option {letter}" for letter in "ABCDEFG"}
  path = _write(tmp_path, [_SHOWN | {"multiple_choices": many}])
  (entry,) = questions.entries(path, 7)
  assert entry.choices == many
  with pytest.raises(errors.InputError, match="no 2 to 6 options"):
    questions.entries(path, 6)


@pytest.mark.parametrize("level", [0, 20_000, 65_535])
def test_pictures_of_16_bits_keep_their_greys(tmp_path, level):
  path = _write(tmp_path, [_SHOWN])
  grey = np.full((4, 6), level, np.uint16)
  Image.fromarray(grey).save(tmp_path / "seven.png")
  (entry,) = questions.entries(path)
  picture = entry.picture()
  assert (picture.mode, picture.size) == ("RGB", (6, 4))
  assert np.all(np.asarray(picture) == level // 257)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pictures_without_a_known_white_are_refused(tmp_path, dtype):
  path = _write(tmp_path, [_SHOWN | {"image": "grey.tiff"}])
  grey = np.full((4, 6), 70_000, dtype)
  Image.fromarray(grey).save(tmp_path / "grey.tiff")
  (entry,) = questions.entries(path)
  with pytest.raises(errors.InputError, match="grey.tiff cannot be read as a"):
    entry.picture()


def test_photographs_are_turned_as_their_camera_says(tmp_path):
  path = _write(tmp_path, [_SHOWN | {"image": "photo.jpg"}])
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.new("RGB", (8, 4)).save(tmp_path / "photo.jpg", exif=exif)
  (entry,) = questions.entries(path)
  assert entry.picture().size == (4, 8)
