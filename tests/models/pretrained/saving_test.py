import dataclasses

import numpy as np
import pytest
import safetensors

from btw_jax import errors
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import saving
from support import golden


def _tensors(folder):
  """Returns file -> (metadata, name -> array) of the weights of a folder."""
  found = {}
  for path in sorted(folder.glob("*.safetensors")):
    with safetensors.safe_open(path, framework="np") as file:
      arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
      found[path.name] = (file.metadata(), arrays)
  return found


def _shifted(model):
  params = {k: x + 0.25 for k, x in model.params.items()}
  return dataclasses.replace(model, params=params)


@pytest.mark.parametrize("name", golden.NAMES)
def test_files_are_those_of_the_source_but_for_the_parameters(tmp_path, name):
  model = golden.model(name)
  saving.save(_shifted(model), tmp_path / "saved")
  before, after = _tensors(golden.ROOT / name), _tensors(tmp_path / "saved")
  assert before.keys() == after.keys()
  own = set(model.names.values())
  for file, (metadata, arrays) in before.items():
    assert after[file][0] == metadata
    assert after[file][1].keys() == arrays.keys()
    for key, x in arrays.items():
      saved = after[file][1][key]
      assert saved.dtype == x.dtype
      expected = x.astype(np.float32) + (0.25 if key in own else 0)
      np.testing.assert_array_equal(saved, expected.astype(x.dtype))
  config = (golden.ROOT / name / "config.json").read_bytes()
  assert (tmp_path / "saved" / "config.json").read_bytes() == config


def test_a_saved_model_is_read_again(tmp_path):
  changed = _shifted(golden.model("llama"))
  saving.save(changed, tmp_path / "saved")
  again = catalog.load(tmp_path / "saved")
  for name, x in changed.params.items():
    np.testing.assert_array_equal(again.params[name], x)


def test_an_existing_folder_is_kept(tmp_path):
  (tmp_path / "saved").mkdir()
  with pytest.raises(errors.InputError, match="exists"):
    saving.save(golden.model("bert"), tmp_path / "saved")


class _Short:
  """A parameter of a stack whose last layer cannot be read."""

  def __init__(self, array):
    self.shape, self._array = array.shape, array[:-1]

  def __getitem__(self, number):
    return np.asarray(self._array)[number]


def test_nothing_half_written_stays(tmp_path):
  model = golden.model("bert")
  name, first = next(
    (name, x) for name, x in model.params.items() if "*" in name
  )
  # It lacks the last layer.
  broken = dataclasses.replace(
    model, params={**model.params, name: _Short(first)}
  )
  with pytest.raises(IndexError):
    saving.save(broken, tmp_path / "saved")
  assert not list(tmp_path.iterdir())


def test_the_reference_agrees_on_what_was_saved(tmp_path):
  transformers = pytest.importorskip("transformers")
  torch = pytest.importorskip("torch")
  changed = _shifted(golden.model("bert"))
  saving.save(changed, tmp_path / "saved")
  arrays = golden.arrays("bert")
  inputs = {
    name: arrays[name]
    for name in ("input_ids", "attention_mask", "token_type_ids")
  }
  states = bert.encode(changed.params, changed.config, *inputs.values())
  reference = transformers.BertModel.from_pretrained(tmp_path / "saved").eval()
  with torch.no_grad():
    expected = reference(**{k: torch.from_numpy(x) for k, x in inputs.items()})
  where = arrays["attention_mask"] > 0
  np.testing.assert_allclose(
    np.asarray(states)[where],
    expected.last_hidden_state.numpy()[where],
    atol=1e-4,
  )
