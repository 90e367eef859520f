import pytest

from btw_jax import errors
from btw_jax.pipeline import files


def test_json_is_read_back(tmp_path):
  files.write_json(tmp_path / "a.json", {"ä": [1, None]})
  assert files.read_json(tmp_path / "a.json", "no") == {"ä": [1, None]}


@pytest.mark.parametrize(
  "content", [b"", b"{", b"[1]", b"\xe9", b"null", b"\x00" * 40]
)
def test_a_damaged_file_is_one_line_with_a_remedy(tmp_path, content):
  path = tmp_path / "a.json"
  path.write_bytes(content)
  with pytest.raises(
    errors.InputError, match="a.json: .*: copy it aga"
  ) as info:
    files.read_json(path, "copy it again")
  assert "\n" not in str(info.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
  for path in (tmp_path / "no.json", tmp_path):
    with pytest.raises(errors.InputError, match="cannot be read"):
      files.read_json(path, "set --workdir")
