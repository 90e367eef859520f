import json

import jax
import pytest

from btw_jax import errors
from btw_jax.models.pretrained import catalog
from support import golden


def test_every_golden_folder_is_of_a_known_architecture():
  assert len(golden.NAMES) == 8
  for name in golden.NAMES:
    assert golden.model(name).architecture in catalog.ARCHITECTURES


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path):
  folder = golden.copy("bert", tmp_path)
  golden.edit_config(folder, architectures=["MambaForCausalLM"])
  with pytest.raises(errors.InputError, match="MambaForCausalLM") as raised:
    catalog.load(folder)
  for name in catalog.ARCHITECTURES:
    assert name in str(raised.value)


@pytest.mark.parametrize(
  ("name", "field", "value"),
  [
    ("bert", "hidden_size", None),
    ("bert", "hidden_size", "32"),
    ("bert", "hidden_size", -32),
    ("bert", "hidden_size", 2**40),
    ("bert", "num_attention_heads", 5),
    ("bert", "hidden_act", "mish"),
    ("bert", "position_embedding_type", "relative_key"),
    ("bert", "layer_norm_eps", 0),
    ("roberta", "pad_token_id", None),
    ("siglip", "patch_size", 64),
    ("llama", "num_key_value_heads", 3),
    ("llama", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
    ("llama", "rope_parameters", "default"),
    ("llama", "rms_norm_eps", True),
    ("qwen2", "use_sliding_window", True),
    ("qwen2", "tie_word_embeddings", "yes"),
    ("llava", "vision_feature_layer", -9),
    ("llava", "vision_feature_layer", [1, 2]),
    ("llava", "image_token_index", -1),
    ("llava", "text_config", {"model_type": "mistral"}),
    ("smolvlm", "scale_factor", 3),
    ("smolvlm", "text_config", []),
  ],
)
def test_wrong_fields_are_named(tmp_path, name, field, value):
  folder = golden.copy(name, tmp_path)
  golden.edit_config(folder, **{field: value})
  with pytest.raises(errors.InputError) as raised:
    catalog.load(folder)
  message = str(raised.value)
  assert "config.json" in message
  assert "\n" not in message
  last = next(iter(value)) if isinstance(value, dict) else field
  assert last in message or "rope_type" in message


@pytest.mark.parametrize("content", ["", "null", "[1]", "{", '{"a": NaN'])
def test_configurations_that_are_none(tmp_path, content):
  folder = golden.copy("bert", tmp_path)
  (folder / "config.json").write_text(content)
  with pytest.raises(errors.InputError, match=r"config\.json"):
    catalog.load(folder)


def test_older_names_of_the_positions_are_read(tmp_path):
  folder = golden.copy("llama", tmp_path)
  path = folder / "config.json"
  values = json.loads(path.read_text())
  scaling = values.pop("rope_parameters")
  values["rope_theta"] = scaling.pop("rope_theta")
  values["rope_scaling"] = scaling
  path.write_text(json.dumps(values))
  assert catalog.load(folder).config == golden.model("llama").config


def test_configurations_can_be_static():
  for name in golden.NAMES:
    hash(golden.model(name).config)


def test_parameters_are_placed_one_by_one():
  placed = []

  def place(name, array):
    placed.append(name)
    return jax.device_put(array)

  model = catalog.load(golden.ROOT / "bert", place=place)
  assert placed == list(model.params)
