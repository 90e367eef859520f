"""Makes the golden folders: tiny models of the reference implementation.

  pip install '.[bench]'
  PYTHONPATH=.:tests python -m support.make_golden_models

Each folder of `tests/golden` holds a model with random weights as Hugging Face
stores it, and `golden.npz`: inputs, and the outputs that PyTorch computes.
"""

import pathlib
import shutil

import numpy as np
from PIL import Image
import tokenizers
import torch
import transformers
from transformers.models.clip import image_processing_pil_clip
from transformers.models.siglip import image_processing_pil_siglip
from transformers.models.smolvlm import image_processing_pil_smolvlm

ROOT = pathlib.Path(__file__).resolve().parents[1] / "golden"
_SIZES = {
  "hidden_size": 32,
  "intermediate_size": 48,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
}
# The token that stands for an image.
_IMAGE = 90
_DECODER = {
  **_SIZES,
  "vocab_size": 96,
  "num_key_value_heads": 2,
  "max_position_embeddings": 256,
  "bos_token_id": 1,
  "eos_token_id": 2,
  "pad_token_id": 0,
}
_VISION = {**_SIZES, "image_size": 16, "patch_size": 4}


def _tokens(lengths=(9, 5), pad=0):
  """Returns tokens `[B, T]` of texts, and a mask of what is no padding."""
  rng = np.random.default_rng(0)
  tokens = rng.integers(4, 88, (len(lengths), max(lengths)))
  mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
  return np.where(mask, tokens, pad), mask.astype(np.int64)


def _pixels(number=2, size=16):
  """Returns pixels `[number, 3, size, size]`."""
  rng = np.random.default_rng(1)
  return rng.standard_normal((number, 3, size, size)).astype(np.float32)


def _as_tensors(inputs):
  """Returns arrays as tensors, by name."""
  return {name: torch.from_numpy(x) for name, x in inputs.items()}


def _picture(height=23, width=37):
  """Returns a picture `[height, width, 3]` with smooth and sharp parts."""
  rng = np.random.default_rng(2)
  rows, columns = np.mgrid[:height, :width]
  smooth = 127 + 90 * np.sin(rows / 5) * np.cos(columns / 7)
  noise = rng.integers(0, 40, (height, width, 3))
  return np.clip(smooth[..., None] + noise, 0, 255).astype(np.uint8)


def _pixels_of(folder, processor):
  """Writes a processor, and returns the pixels it makes of pictures."""
  processor.save_pretrained(folder)
  arrays = {}
  for number, shape in enumerate([(23, 37), (61, 20), (16, 16), (7, 90)]):
    picture = _picture(*shape)
    made = processor(Image.fromarray(picture), return_tensors="np")
    arrays[f"picture_{number}"] = picture
    pixels = np.asarray(made["pixel_values"], np.float32)
    arrays[f"pixels_{number}"] = pixels.reshape(-1, *pixels.shape[-3:])
  return arrays


def _save(name, model, inputs, outputs, half=False, processor=None, **options):
  """Writes a folder, and what the model makes of the inputs.

  With `half` the parameters are written in bfloat16.
  """
  folder = ROOT / name
  shutil.rmtree(folder, ignore_errors=True)
  with torch.no_grad():
    if half:
      for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16().float())
    made = model.eval()(**_as_tensors(inputs), output_hidden_states=True)
  if half:
    model = model.bfloat16()
  model.save_pretrained(folder, **options)
  outputs = {
    "out_" + key: np.asarray(read(made), np.float32)
    for key, read in outputs.items()
  }
  if processor is not None:
    outputs |= _pixels_of(folder, processor)
  np.savez_compressed(folder / "golden.npz", **inputs, **outputs)
  size = sum(file.stat().st_size for file in folder.iterdir())
  print(f"{name}: {size / 1000:.0f} kB")


def _randomise(model):
  """Draws every parameter, so that no bias is 0 and no scale is 1."""
  with torch.no_grad():
    for parameter in model.parameters():
      parameter += 0.2 * torch.randn_like(parameter)
  return model


def make_encoders():
  """Makes BERT and RoBERTa."""
  hidden = {"hidden": lambda made: made.last_hidden_state}
  tokens, mask = _tokens()
  inputs = {
    "input_ids": tokens,
    "attention_mask": mask,
    "token_type_ids": (np.arange(9) > 3) * mask,
  }
  config = transformers.BertConfig(
    **_SIZES, vocab_size=96, max_position_embeddings=32
  )
  _save("bert", _randomise(transformers.BertModel(config)), inputs, hidden)
  _save_tokenizer("bert")
  tokens, mask = _tokens(pad=1)
  config = transformers.RobertaConfig(
    **_SIZES, vocab_size=96, max_position_embeddings=32, type_vocab_size=1,
    pad_token_id=1, layer_norm_eps=1e-5,
  )  # fmt: skip
  _save(
    "roberta",
    _randomise(transformers.RobertaForMaskedLM(config)),
    {"input_ids": tokens, "attention_mask": mask},
    {"hidden": lambda made: made.hidden_states[-1]},
  )


def _save_tokenizer(name):
  """Writes a tokenizer of 96 pieces of words, and the tokens of some texts."""
  texts = [
    "The movie was great!", "it is not", "Unbelievably, GREAT movies", "zzz",
    "",
  ]  # fmt: skip
  words = [
    "the", "movie", "was", "great", "it", "is", "not", "un", "##believ",
    "##ably", "##s", ",", "!", ".",
  ]  # fmt: skip
  letters = [chr(ord("a") + i) for i in range(26)]
  pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters]
  pieces += [f"##{letter}" for letter in letters]
  pieces += [f"[unused{i}]" for i in range(96 - len(pieces))]
  tokenizer = transformers.BertTokenizer(
    vocab={piece: number for number, piece in enumerate(pieces)}
  )
  folder = ROOT / name
  tokenizer.save_pretrained(folder)
  made = tokenizer(texts, padding=True, return_tensors="np")
  with np.load(folder / "golden.npz") as file:
    arrays = dict(file)
  arrays |= {"texts": np.array(texts), "text_ids": made["input_ids"]}
  np.savez_compressed(folder / "golden.npz", **arrays)


def _save_words(name, bos, special):
  """Writes a tokenizer of whole words; `special` is token -> its number."""
  words = [
    "A", "B", "C", "D", "USER", "ASSISTANT", "User", "Assistant", "Which",
    "digit", "is", "shown", "two", "plus", "one", "three", "four", "five",
    "The", "right", "answer", ".", "?", ":", "Answer", "with", "the", "option",
    "letter", "Snow", "cold",
  ]  # fmt: skip
  vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
  vocabulary |= {word: 4 + number for number, word in enumerate(words)}
  taken = range(len(vocabulary), 96)
  vocabulary |= {f"<unused_{i}>": i for i in taken if i not in special.values()}
  vocabulary |= special
  tokenizer = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token="<unk>")
  )
  tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
  tokenizer.add_special_tokens([*special])
  if bos:
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
      single="<s> $A", special_tokens=[("<s>", 1)]
    )
  tokenizer.save(str(ROOT / name / "tokenizer.json"))


def make_towers():
  """Makes the vision towers of CLIP and SigLIP."""
  outputs = {
    "hidden": lambda made: made.last_hidden_state,
    "before_last": lambda made: made.hidden_states[-2],
  }
  inputs = {"pixel_values": _pixels()}
  of_siglip = image_processing_pil_siglip.SiglipImageProcessorPil(
    size={"height": 16, "width": 16}
  )
  for name, config, model, processor in (
    (
      "clip", transformers.CLIPVisionConfig, transformers.CLIPVisionModel,
      _clip_processor(),
    ),
    (
      "siglip", transformers.SiglipVisionConfig,
      transformers.SiglipVisionModel, of_siglip,
    ),
  ):  # fmt: skip
    model = _randomise(model(config(**_VISION)))
    _save(name, model, inputs, outputs, processor=processor)


def _clip_processor():
  """Returns a processor of CLIP for small images."""
  return image_processing_pil_clip.CLIPImageProcessorPil(
    size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}
  )


def make_decoders():
  """Makes Llama, in two shards and with scaled positions, and Qwen2."""
  tokens, mask = _tokens()
  inputs = {"input_ids": tokens, "attention_mask": mask}
  logits = {"logits": lambda made: made.logits}
  scaling = {
    "rope_type": "llama3", "rope_theta": 10_000.0, "factor": 8.0,
    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
  }  # fmt: skip
  config = transformers.LlamaConfig(**_DECODER, rope_parameters=scaling)
  _save(
    "llama",
    _randomise(transformers.LlamaForCausalLM(config)),
    inputs,
    logits,
    max_shard_size="50KB",
  )
  config = transformers.Qwen2Config(**_DECODER, tie_word_embeddings=True)
  model = _randomise(transformers.Qwen2ForCausalLM(config))
  _save("qwen2", model, inputs, logits, half=True)


def make_vision_language():
  """Makes LLaVA and SmolVLM."""
  logits = {"logits": lambda made: made.logits}
  tokens, mask = _tokens((24, 21))
  tokens[:, 2:18] = _IMAGE
  config = transformers.LlavaConfig(
    vision_config=transformers.CLIPVisionConfig(**_VISION),
    text_config=transformers.LlamaConfig(**_DECODER),
    image_token_index=_IMAGE,
  )
  _save(
    "llava",
    _randomise(transformers.LlavaForConditionalGeneration(config)),
    {"input_ids": tokens, "attention_mask": mask, "pixel_values": _pixels()},
    logits,
    processor=_clip_processor(),
  )
  _save_words("llava", True, {"<image>": _IMAGE})
  tokens, mask = _tokens((16, 13))
  tokens[:, 2:10] = _IMAGE  # Two pictures of four tokens each.
  vision = {"hidden_act": "gelu_pytorch_tanh", **_VISION}
  config = transformers.SmolVLMConfig(
    vision_config=vision,
    text_config={"model_type": "llama", **_DECODER},
    image_token_id=_IMAGE,
    scale_factor=2,
    pad_token_id=0,
  )
  _save(
    "smolvlm",
    _randomise(transformers.SmolVLMForConditionalGeneration(config)),
    {
      "input_ids": tokens,
      "attention_mask": mask,
      "pixel_values": _pixels(4).reshape(2, 2, 3, 16, 16),
    },
    logits,
    processor=image_processing_pil_smolvlm.SmolVLMImageProcessorPil(
      size={"longest_edge": 40}, max_image_size={"longest_edge": 16}
    ),
  )
  places = [f"<row_{1 + i // 3}_col_{1 + i % 3}>" for i in range(9)]
  others = [
    "<fake_token_around_image>", "<global-img>", "<|im_start|>",
    "<end_of_utterance>",
  ]  # fmt: skip
  special = {token: 76 + i for i, token in enumerate([*places, *others])}
  _save_words("smolvlm", False, special | {"<image>": _IMAGE})


def main() -> None:
  """Makes all folders."""
  torch.manual_seed(0)
  make_encoders()
  make_towers()
  make_decoders()
  make_vision_language()


if __name__ == "__main__":
  main()
