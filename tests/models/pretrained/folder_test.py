"""Damaged folders: one line each, and nothing is read or executed."""

import json
import pickle
import struct

import numpy as np
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import folder as folder_lib
from support import golden


def _message(folder):
  with pytest.raises(errors.InputError) as raised:
    catalog.load(folder)
  message = str(raised.value)
  assert "\n" not in message
  return message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_truncated_weights(tmp_path, share):
  folder = golden.copy("bert", tmp_path)
  path = folder / "model.safetensors"
  content = path.read_bytes()
  path.write_bytes(content[: int(share * len(content))])
  message = _message(folder)
  assert "model.safetensors: is no whole safetensors file" in message


def _with_header(path, edit):
  """Writes a file anew whose header `edit` has changed."""
  content = path.read_bytes()
  (size,) = struct.unpack("<Q", content[:8])
  header = json.loads(content[8 : 8 + size])
  edit(header)
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


@pytest.mark.parametrize(
  "edit",
  [
    lambda entry: entry.update(data_offsets=[0, 2**50]),
    lambda entry: entry.update(data_offsets=[2**50, 2**50 + 128]),
    lambda entry: entry.update(shape=[2**40]),
    lambda entry: entry.update(shape=[2**40, 2**40]),
    lambda entry: entry.update(data_offsets=[128, 0]),
    lambda entry: entry.update(dtype="F999"),
  ],
)
def test_headers_that_lie(tmp_path, edit):
  folder = golden.copy("bert", tmp_path)
  _with_header(
    folder / "model.safetensors",
    lambda header: edit(header["embeddings.LayerNorm.bias"]),
  )
  assert "is no whole safetensors file" in _message(folder)


def test_a_header_that_claims_to_be_huge(tmp_path):
  folder = golden.copy("bert", tmp_path)
  path = folder / "model.safetensors"
  path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])
  assert "is no whole safetensors file" in _message(folder)


def test_damaged_bytes_of_a_header_never_end_in_another_error(tmp_path):
  folder = golden.copy("bert", tmp_path)
  path = folder / "model.safetensors"
  content = path.read_bytes()
  (size,) = struct.unpack("<Q", content[:8])
  rng = np.random.default_rng(0)
  refused = 0
  for _ in range(200):
    damaged = bytearray(content)
    for place in rng.integers(0, 8 + size, 3):
      damaged[place] = rng.integers(256)
    path.write_bytes(bytes(damaged))
    try:
      catalog.load(folder)
    except errors.InputError as error:
      refused += 1
      assert "\n" not in str(error)
  assert refused > 150


def test_an_index_that_names_a_missing_shard(tmp_path):
  folder = golden.copy("llama", tmp_path)
  (folder / "model-00002-of-00002.safetensors").unlink()
  assert "names model-00002-of-00002.safetensors, which" in _message(folder)


def test_an_index_that_names_a_tensor_its_shard_lacks(tmp_path):
  folder = golden.copy("llama", tmp_path)
  path = folder / folder_lib.INDEX
  index = json.loads(path.read_text())
  first = min(index["weight_map"].values())
  index["weight_map"]["lm_head.weight"] = first
  path.write_text(json.dumps(index))
  assert f"{first} has no tensor 'lm_head.weight'" in _message(folder)


@pytest.mark.parametrize(
  "file", ["../bert/model.safetensors", "/etc/passwd", 3]
)
def test_an_index_cannot_leave_its_folder(tmp_path, file):
  golden.copy("bert", tmp_path)
  folder = golden.copy("llama", tmp_path)
  path = folder / folder_lib.INDEX
  index = json.loads(path.read_text())
  index["weight_map"]["lm_head.weight"] = file
  path.write_text(json.dumps(index))
  assert "give the name of a file in the folder" in _message(folder)


@pytest.mark.parametrize("content", ["", "[]", "{", "{}", '{"weight_map": []}'])
def test_an_index_that_is_none(tmp_path, content):
  folder = golden.copy("llama", tmp_path)
  (folder / folder_lib.INDEX).write_text(content)
  assert folder_lib.INDEX in _message(folder)


class _Bomb:
  def __reduce__(self):
    return (pytest.fail, ("a pickle was loaded",))


def test_pickled_weights_are_not_read(tmp_path):
  folder = golden.copy("bert", tmp_path)
  (folder / "model.safetensors").unlink()
  (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Bomb()))
  assert "pickled weights, which are never read" in _message(folder)


def test_folders_without_weights_or_configuration(tmp_path):
  folder = golden.copy("bert", tmp_path)
  (folder / "model.safetensors").unlink()
  assert "holds no model.safetensors" in _message(folder)
  (folder / "config.json").unlink()
  assert "config.json: cannot be read" in _message(folder)
  assert "is no folder" in _message(tmp_path / "bert-base-uncased")


def test_missing_weights_are_named(tmp_path):
  folder = golden.copy("bert", tmp_path)
  name = "encoder.layer.1.output.dense.bias"
  golden.edit_weights(folder, lambda tensors: tensors.pop(name))
  assert f"lack '{name}'" in _message(folder)


def test_unexpected_weights_are_named(tmp_path):
  folder = golden.copy("bert", tmp_path)
  new = {f"adapter.{i}": np.zeros(3, np.float32) for i in range(5)}
  golden.edit_weights(folder, lambda tensors: tensors.update(new))
  message = _message(folder)
  assert "have unexpected 'adapter.0', 'adapter.1'" in message
  assert "and 2 more" in message


def test_weights_of_another_shape_are_named(tmp_path):
  folder = golden.copy("bert", tmp_path)
  golden.edit_config(folder, vocab_size=97)
  assert "'embeddings.word_embeddings.weight' has shape [96, 32]" in (
    _message(folder)
  )


def test_more_layers_than_the_files_have(tmp_path):
  folder = golden.copy("qwen2", tmp_path)
  golden.edit_config(folder, num_hidden_layers=3)
  assert "lack 'model.layers.2." in _message(folder)


def test_quantised_weights_are_refused(tmp_path):
  folder = golden.copy("bert", tmp_path)
  name = "encoder.layer.1.output.dense.weight"
  golden.edit_weights(
    folder,
    lambda tensors: tensors.update({name: np.zeros((32, 48), np.int8)}),
  )
  message = _message(folder)
  assert "holds I8" in message
  assert "not quantised" in message


def test_numbers_of_positions_in_old_files_are_not_read(tmp_path):
  folder = golden.copy("bert", tmp_path)
  name = "embeddings.position_ids"
  golden.edit_weights(
    folder, lambda tensors: tensors.update({name: np.arange(32)[None]})
  )
  assert (
    catalog.load(folder).params.keys() == golden.model("bert").params.keys()
  )


def test_older_names_are_read(tmp_path):
  folder = golden.copy("bert", tmp_path)

  def rename(tensors):
    for name in list(tensors):
      old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
      old = old.replace("LayerNorm.bias", "LayerNorm.beta")
      tensors[f"bert.{old}"] = tensors.pop(name)

  golden.edit_weights(folder, rename)
  read = catalog.load(folder)
  for name, x in golden.model("bert").params.items():
    np.testing.assert_array_equal(read.params[name], x)


def test_the_same_parameter_twice(tmp_path):
  folder = golden.copy("bert", tmp_path)

  def repeat(tensors):
    name = "embeddings.LayerNorm.bias"
    tensors[f"bert.{name}"] = tensors[name]

  golden.edit_weights(folder, repeat)
  assert "are the same parameter" in _message(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["bert", "qwen2"])
def test_weights_that_are_not_finite_are_named(tmp_path, name, value):
  folder = golden.copy(name, tmp_path)
  changed = []

  def edit(tensors):
    changed.append(sorted(tensors)[3])
    tensors[changed[0]] = tensors[changed[0]].copy()
    tensors[changed[0]].flat[1] = value

  golden.edit_weights(folder, edit)
  assert f"tensor {changed[0]!r} holds values that are not finite" in (
    _message(folder)
  )
