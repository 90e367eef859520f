import numpy as np
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import tokens
from support import golden

FOLDER = golden.ROOT / "bert"


@pytest.fixture(scope="module")
def tokenizer():
  return tokens.read(FOLDER, 96)


def _texts():
  arrays = golden.arrays("bert")
  return arrays["texts"].tolist(), arrays["text_ids"]


def test_tokens_are_those_of_the_reference(tokenizer):
  texts, expected = _texts()
  encoded = tokens.encode(tokenizer, texts, max_tokens=32)
  np.testing.assert_array_equal(encoded.ids, expected)
  np.testing.assert_array_equal(encoded.mask, expected != 0)
  assert encoded.num_cut == 0


def test_padding_may_be_any_token(tokenizer):
  texts, expected = _texts()
  encoded = tokens.encode(tokenizer, texts, max_tokens=32, padding=1)
  np.testing.assert_array_equal(encoded.mask, expected != 0)
  assert np.all(encoded.ids[~encoded.mask] == 1)


def test_long_texts_lose_their_end_but_not_their_last_token(tokenizer):
  texts, expected = _texts()
  encoded = tokens.encode(tokenizer, texts, max_tokens=5)
  assert encoded.ids.shape == (5, 5)
  lengths = np.sum(expected != 0, axis=1)
  assert encoded.num_cut == np.sum(lengths > 5) == 2
  for row, whole, length in zip(encoded.ids, expected, lengths, strict=True):
    if length > 5:
      np.testing.assert_array_equal(row[:4], whole[:4])
      assert row[4] == whole[length - 1]
    else:
      np.testing.assert_array_equal(row[:length], whole[:length])
  # The next texts are whole again.
  assert tokens.encode(tokenizer, texts, max_tokens=32).num_cut == 0


def test_no_texts_have_no_tokens(tokenizer):
  assert tokens.encode(tokenizer, [], max_tokens=32).ids.shape == (0, 0)


@pytest.mark.parametrize("vocab_size", [95, 12, 96 + 2000])
def test_a_tokenizer_of_another_vocabulary(vocab_size):
  with pytest.raises(errors.InputError, match="has 96 tokens, the model"):
    tokens.read(FOLDER, vocab_size)


def test_embeddings_may_be_padded():
  tokens.read(FOLDER, 128)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": 3}', "\0" * 9])
def test_damaged_tokenizers_are_named(tmp_path, content):
  (tmp_path / tokens.FILE).write_text(content)
  with pytest.raises(errors.InputError, match="is no tokenizer") as raised:
    tokens.read(tmp_path, 96)
  assert "\n" not in str(raised.value)


def test_a_tokenizer_that_is_missing_or_a_folder(tmp_path):
  with pytest.raises(errors.InputError, match="cannot be read"):
    tokens.read(tmp_path, 96)
  (tmp_path / tokens.FILE).mkdir()
  with pytest.raises(errors.InputError, match="is no tokenizer"):
    tokens.read(tmp_path, 96)


def test_cut_tokenizers_are_named(tmp_path):
  content = (FOLDER / tokens.FILE).read_bytes()
  for length in range(0, len(content) - 1, 97):
    (tmp_path / tokens.FILE).write_bytes(content[:length])
    with pytest.raises(errors.InputError):
      tokens.read(tmp_path, 96)
