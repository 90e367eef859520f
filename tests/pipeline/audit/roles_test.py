"""Names of conditions tell their roles, and the pairs of sources."""

import pytest

from btw_jax import errors
from btw_jax.pipeline.audit import roles as roles_lib


def _shows(roles):
  return {name: set(shown) for name, shown in roles.shows.items()}


def test_a_multimodal_language_model():
  names = ["both", "only_vision", "text", "noise_image", "misleading-text"]
  roles = roles_lib.assign(names)
  assert roles.reference == "both"
  assert roles.modalities == ("vision", "text")
  assert _shows(roles) == {"only_vision": {"vision"}, "text": {"text"}}
  assert roles.changes == ("noise_image", "misleading-text")
  assert roles.alone == {"vision": "only_vision", "text": "text"}
  (pair,) = roles_lib.pairs(roles)
  assert pair == ("vision", "text", "", "both", "only_vision", "text")


def test_models_of_modalities_with_any_name():
  roles = roles_lib.assign(["genes", "scans", "clinic", "Fusion"])
  assert roles.reference == "Fusion"
  assert roles.modalities == ("genes", "scans", "clinic")
  assert not roles.changes
  # Three modalities need the passes without one of them.
  assert roles_lib.pairs(roles) == []


def test_a_modality_and_the_rest():
  roles = roles_lib.assign(["all", "vision", "without_vision"])
  assert roles.modalities == ("vision", roles_lib.REST)
  assert _shows(roles) == {
    "vision": {"vision"},
    "without_vision": {roles_lib.REST},
  }
  (pair,) = roles_lib.pairs(roles)
  assert (pair.first, pair.second) == ("vision", "rest")


def test_without_shows_all_others():
  roles = roles_lib.assign(["all", "a", "b", "no_c", "without_a"])
  assert roles.modalities == ("a", "b", "c")
  assert _shows(roles)["no_c"] == {"a", "b"}
  assert _shows(roles)["without_a"] == {"b", "c"}
  pairs = {(p.first, p.second, p.control) for p in roles_lib.pairs(roles)}
  # a and b are both alone and together; a and the rest; a and c given b.
  assert pairs == {("a", "b", ""), ("a", "b+c", ""), ("a", "c", "b")}


def test_of_two_conditions_that_show_the_same_the_first_is_taken():
  names = ["both", "vision", "text", "without_vision", "only_text"]
  roles = roles_lib.assign(names)
  (pair,) = roles_lib.pairs(roles)
  assert pair.only_second == "text"
  assert roles.alone == {"vision": "vision", "text": "text"}
  assert roles_lib.notes(roles) == [
    f"{name} shows the same as text: weights and interactions use text"
    for name in ("without_vision", "only_text")
  ]


def test_a_second_name_for_everything_is_no_modality():
  roles = roles_lib.assign(["both", "All", "vision", "text"])
  assert roles.modalities == ("vision", "text")
  assert roles.changes == ("All",)
  assert "All shows everything, too" in roles_lib.describe(roles)
  roles = roles_lib.assign(["both", "run2", "text"], reference="run2")
  assert roles.modalities == ("text",)


def test_sensory_conditions_share_their_control():
  roles = roles_lib.assign(["both", "vision+text", "audio+text"])
  (pair,) = roles_lib.pairs(roles)
  assert pair == (
    "vision", "audio", "text", "both", "vision+text", "audio+text",
  )  # fmt: skip


def test_the_order_of_the_files_changes_no_source():
  one = roles_lib.assign(["both", "vision", "text"], ("vision", "text"))
  two = roles_lib.assign(["text", "vision", "both"], ("vision", "text"))
  assert roles_lib.pairs(one) == roles_lib.pairs(two)


def test_flags_overrule_names():
  roles = roles_lib.assign(
    ["run1", "image", "text", "odd"], ("image", "text"), "run1"
  )
  assert roles.reference == "run1"
  assert roles.changes == ("odd",)
  with pytest.raises(errors.InputError, match=r"--reference=x: no condition"):
    roles_lib.assign(["both", "text"], reference="x")
  with pytest.raises(errors.InputError, match=r"--modalities=smell: no modal"):
    roles_lib.assign(["both", "text"], ("smell",))


def test_nothing_shows_everything():
  roles = roles_lib.assign(["vision", "text"])
  assert roles.reference is None
  assert roles_lib.pairs(roles) == []


def test_a_sentence_says_every_role():
  roles = roles_lib.assign(["both", "without_text", "vision", "blank_image"])
  assert roles_lib.describe(roles) == (
    "both shows everything; without_text shows everything but text; vision"
    " shows vision; blank_image is a changed input"
  )
