import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import names


@pytest.mark.parametrize(
  "name", ["audio", "CT scan", "x_1.2-b+c", "音声", "a" * 100]
)
def test_names_that_files_and_flags_can_hold_are_accepted(name):
  names.check_modality("train.npz", name)


@pytest.mark.parametrize(
  ("name", "reason"),
  [
    ("", "has 0 characters"), ("a" * 300, "has 300 characters"),
    ("../../x", "has the character '/'"), ("a\\b", "has the character"),
    ("a,b", "has the character ','"), ("$x^$", "has the character '$'"),
    ("a=b", "has the character '='"),
    ("a\nb", r"has the character '\\n'"), ("\x1b[31m", r"'\\x1b'"),
    (".hidden", "begins with a point"), ("-x", "begins with a point or a hyp"),
    (" x", "has a blank at an end"), ("\ud800", r"'\\ud800'"),
  ],
)  # fmt: skip
def test_other_names_are_refused_in_one_line(name, reason):
  with pytest.raises(
    errors.InputError, match="^train.npz: the name of"
  ) as info:
    names.check_modality("train.npz", name)
  assert reason.replace("\\\\", "\\") in str(info.value)
  assert str(info.value).isprintable()


def test_the_first_text_with_a_control_character_is_named():
  texts = np.array(["a", "=1", "b\nc", "d\x00e"])
  with pytest.raises(errors.InputError, match=r"ids.npz: the id 'b\\nc' has"):
    names.check_texts("ids.npz", "id", texts)
  names.check_texts("ids.npz", "id", texts[:2])
