import pytest

from btw_jax import errors
from btw_jax.models.pretrained import tokens
from btw_jax.pipeline.pretrained import prompts
from support import golden


def _make(name, grid, text="Which digit is shown ?"):
  tokenizer = tokens.read(golden.ROOT / name, 96)
  prompt = prompts.make(tokenizer, golden.model(name).config, text, 3, grid)
  words = [tokenizer.id_to_token(i) for i in prompt.ids]
  return tokenizer, prompt, words


QUESTION = ["Which", "digit", "is", "shown", "?"]


def test_llava_reads_the_image_before_the_question():
  _, _, words = _make("llava", (0, 0))
  expected = ["<s>", "USER", ":", *["<image>"] * 16, *QUESTION]
  assert words == [*expected, "ASSISTANT", ":"]


def test_smolvlm_reads_tiles_row_by_row_and_the_whole_image_last():
  _, _, words = _make("smolvlm", (2, 3))
  image, fake = ["<image>"] * 4, "<fake_token_around_image>"
  shown = []
  for row in (1, 2):
    for column in (1, 2, 3):
      shown += [fake, f"<row_{row}_col_{column}>", *image]
  shown += [fake, "<global-img>", *image, fake]
  expected = ["<|im_start|>", "User", ":", *shown, *QUESTION]
  assert words == [*expected, "<end_of_utterance>", "Assistant", ":"]


def test_smolvlm_reads_an_image_that_is_not_cut():
  _, _, words = _make("smolvlm", (0, 0))
  assert words.count("<image>") == 4
  assert words.count("<fake_token_around_image>") == 2


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_questions_without_an_image_have_no_placeholder(name):
  _, _, words = _make(name, None)
  assert "<image>" not in words


@pytest.mark.parametrize("name", ["llava", "smolvlm"])
def test_the_tokens_of_the_question_are_marked(name):
  _, prompt, words = _make(name, (0, 0))
  marked = [w for w, m in zip(words, prompt.is_question, strict=True) if m]
  assert marked == QUESTION


def test_letters_are_tokens_of_their_own():
  tokenizer, prompt, _ = _make("llava", None)
  assert [tokenizer.id_to_token(i) for i in prompt.letters] == ["A", "B", "C"]


def test_options_without_a_token_of_their_own_are_refused():
  tokenizer = tokens.read(golden.ROOT / "llava", 96)
  config = golden.model("llava").config
  with pytest.raises(
    errors.InputError, match="has 6 options, and the tokenizer"
  ):
    prompts.make(tokenizer, config, "Which digit ?", 6, None)


def test_a_statement_stands_before_the_question():
  text = prompts.question_text("Which digit?", ["one", "two"], "Snow is cold.")
  lines = text.split("\n")
  assert lines[:4] == ["Snow is cold.", "Which digit?", "A. one", "B. two"]
  assert lines[-1].startswith("Answer with the option's letter")


@pytest.mark.parametrize("token", ["<image>", "<s>x</s> <image>"])
def test_tokens_with_a_meaning_of_their_own_are_refused(token):
  with pytest.raises(errors.InputError, match="means something else"):
    _make("llava", (0, 0), f"Which digit is {token} ?")


def test_prompts_that_are_too_long_are_refused():
  with pytest.raises(errors.InputError, match=r"makes \d+ tokens, the model"):
    _make("llava", None, "digit " * 300)


def test_halves_of_characters_are_refused():
  with pytest.raises(errors.InputError, match="is no character"):
    _make("llava", None, "Which \ud800 digit ?")
