from btw_jax.data.questions import vocabulary


def test_words_are_lower_case_and_punctuation_stands_apart():
  assert vocabulary.split("Is IT seven?  Yes, 7.") == [
    "is", "it", "seven", "?", "yes", ",", "7", ".",
  ]  # fmt: skip


def test_encoding_keeps_known_words_and_marks_others():
  words = vocabulary.Vocabulary.from_words(["two", "one", "two", "?"])
  assert len(words) == 8
  tokens = words.encode("one TWO three?")
  assert tokens == [words["one"], words["two"], vocabulary.UNKNOWN, words["?"]]
  assert words.decode([vocabulary.PAD, *tokens]) == "one two <unknown> ?"
  assert len(set(words.words)) == len(words)
