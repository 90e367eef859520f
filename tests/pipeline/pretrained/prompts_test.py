import numpy as np
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import images
from btw_jax.models.pretrained import tokens
from btw_jax.pipeline.pretrained import prompts
from support import golden


def _make(name, tiles, text="Which digit is shown ?"):
  tokenizer = tokens.read(golden.ROOT / name, 96)
  prompt = prompts.make(tokenizer, golden.model(name).config, text, 3, tiles)
  words = [tokenizer.id_to_token(i) for i in prompt.ids]
  return tokenizer, prompt, words


def _tiles(rows, columns):
  pixels = np.zeros((rows * columns + 1, 3, 16, 16), np.float32)
  return images.Tiles(pixels, rows, columns)


QUESTION = ["Which", "digit", "is", "shown", "?"]


def test_llava_reads_the_image_before_the_question():
  _, _, words = _make("llava", _tiles(0, 0))
  expected = ["<s>", "USER", ":", *["<image>"] * 16, *QUESTION]
  assert words == [*expected, "ASSISTANT", ":"]


def test_smolvlm_reads_tiles_row_by_row_and_the_whole_image_last():
  _, _, words = _make("smolvlm", _tiles(2, 3))
  image, fake = ["<image>"] * 4, "<fake_token_around_image>"
  shown = []
  for row in (1, 2):
    for column in (1, 2, 3):
      shown += [fake, f"<row_{row}_col_{column}>", *image]
  shown += [fake, "<global-img>", *image, fake]
  expected = ["<|im_start|>", "User", ":", *shown, *QUESTION]
  assert words == [*expected, "<end_of_utterance>", "Assistant", ":"]


def test_smolvlm_reads_an_image_that_is_not_cut():
  _, _, words = _make("smolvlm", _tiles(0, 0))
  assert words.count("<image>") == 4
  assert words.count("<fake_token_around_image>") == 2


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_questions_without_an_image_have_no_placeholder(name):
  _, _, words = _make(name, None)
  assert "<image>" not in words


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_the_tokens_of_the_question_are_marked(name):
  _, prompt, words = _make(name, _tiles(0, 0))
  marked = [w for w, m in zip(words, prompt.is_question, strict=True) if m]
  assert marked == QUESTION


def test_letters_are_tokens_of_their_own():
  tokenizer, prompt, _ = _make("llava", None)
  assert [tokenizer.id_to_token(i) for i in prompt.letters] == ["A", "B", "C"]


def test_options_without_a_token_of_their_own_are_refused():
  tokenizer = tokens.read(golden.ROOT / "llava", 96)
  config = golden.model("llava").config
  with pytest.raises(errors.InputError, match="each of the 6 letters"):
    prompts.make(tokenizer, config, "Which digit ?", 6, None)


def test_a_tokenizer_with_another_placeholder_is_refused():
  tokenizer = tokens.read(golden.ROOT / "llava", 96)
  config = golden.model("llava").config._replace(image_token=33)
  with pytest.raises(errors.InputError, match="reads 0 of 16 <image>"):
    prompts.make(tokenizer, config, "Which digit ?", 2, _tiles(0, 0))


def test_a_statement_stands_before_the_question():
  text = prompts.question_text("Which digit?", ["one", "two"], "Snow is cold.")
  lines = text.split("\n")
  assert lines[:4] == ["Snow is cold.", "Which digit?", "A. one", "B. two"]
  assert lines[-1].startswith("Answer with the option's letter")
