"""Architectures that can be read, and the way from a folder to a model."""

from collections.abc import Callable
import os
import pathlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import family as family_lib
from btw_jax.models.pretrained import fields as fields_lib
from btw_jax.models.pretrained import folder as folder_lib
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import vision
from btw_jax.models.pretrained import vision_language

# name in `config.json` -> family
ARCHITECTURES = {
  "BertModel": bert.FAMILY,
  "BertForMaskedLM": bert.FAMILY,
  "BertForPreTraining": bert.FAMILY,
  "BertForSequenceClassification": bert.FAMILY,
  "RobertaModel": bert.FAMILY,
  "RobertaForMaskedLM": bert.FAMILY,
  "RobertaForSequenceClassification": bert.FAMILY,
  "XLMRobertaModel": bert.FAMILY,
  "XLMRobertaForMaskedLM": bert.FAMILY,
  "CLIPModel": vision.FAMILY,
  "CLIPVisionModel": vision.FAMILY,
  "SiglipModel": vision.FAMILY,
  "SiglipVisionModel": vision.FAMILY,
  "LlamaForCausalLM": llama.FAMILY,
  "Qwen2ForCausalLM": llama.FAMILY,
  "LlavaForConditionalGeneration": vision_language.LLAVA,
  "SmolVLMForConditionalGeneration": vision_language.SMOLVLM,
  "Idefics3ForConditionalGeneration": vision_language.SMOLVLM,
}


def load(
  folder: str | os.PathLike,
  *,
  dtype: Any = jnp.float32,
  place: Callable[[str, np.ndarray], chex.Array] | None = None,
) -> family_lib.Pretrained:
  """Reads a model from a local folder in Hugging Face's layout.

  The folder holds `config.json` and `model.safetensors`, or the index of its
  shards. One parameter at a time is in the memory of the host.

  Args:
    folder: its path.
    dtype: of the parameters; bfloat16 halves the memory of frozen ones.
    place: moves a parameter, given its name and array, to the devices; by
      default to the first one. `sharding.placement` spreads it over several.

  Returns:
    The model.

  Raises:
    InputError: naming the file and the field or tensor that is wrong.
  """
  architecture, family, config = read_config(folder)
  sources, names = folder_lib.match(
    folder,
    folder_lib.list_tensors(folder),
    family.shapes(config),
    family.aliases,
    family.unused(config),
  )
  place = place or (lambda name, array: jnp.asarray(array))
  reader = folder_lib.Reader(folder)
  params = {
    name: place(name, reader.read(source, dtype))
    for name, source in sources.items()
  }
  return family_lib.Pretrained(str(folder), architecture, config, params, names)


def shapes(
  folder: str | os.PathLike,
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of a model's parameters, float32; no weights are read.

  Raises:
    InputError: if `config.json` is wrong.
  """
  _, family, config = read_config(folder)
  return {
    name: jax.ShapeDtypeStruct(shape, jnp.float32)
    for name, shape in family.shapes(config).items()
  }


def read_config(
  folder: str | os.PathLike,
) -> tuple[str, family_lib.Family, Any]:
  """Returns the architecture of a folder, its family and its configuration.

  Raises:
    InputError: if there is none, or `config.json` is wrong.
  """
  architecture, fields = read_architecture(folder)
  family = ARCHITECTURES[architecture]
  return architecture, family, family.read_config(fields, architecture)


def read_architecture(
  folder: str | os.PathLike,
) -> tuple[str, fields_lib.Fields]:
  """Returns the architecture of a folder, and the fields of `config.json`.

  Raises:
    InputError: if there is none, or it is unknown.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise errors.InputError(
      f"{folder}: is no folder: give the local folder of a model; nothing is"
      " downloaded."
    )
  path = folder / folder_lib.CONFIG
  values = folder_lib.read_json(path, "the configuration of a model")
  named = values.get("architectures")
  named = named if isinstance(named, list) else []
  for name in named:
    if isinstance(name, str) and name in ARCHITECTURES:
      return name, fields_lib.Fields(values, str(path))
  raise errors.InputError(
    f"{path}: field 'architectures' is {named!r}: this version knows"
    f" {', '.join(ARCHITECTURES)}."
  )
