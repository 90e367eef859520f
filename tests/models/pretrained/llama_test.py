import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import llama
from support import golden


def _answer(params, config, tokens, mask, states=False):
  embeddings = llama.embed(params, tokens)
  hidden = llama.decode(params, config, embeddings, mask, states=states)
  return llama.logits(params, config, hidden)


_ANSWER = jax.jit(_answer, static_argnums=(1, 4))


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_logits_are_those_of_the_reference(name):
  model, arrays = golden.model(name), golden.arrays(name)
  mask = arrays["attention_mask"]
  logits = _ANSWER(model.params, model.config, arrays["input_ids"], mask)
  np.testing.assert_allclose(
    np.asarray(logits)[mask > 0], arrays["out_logits"][mask > 0], atol=1e-4
  )


def test_padding_at_either_end_changes_nothing():
  model, arrays = golden.model("llama"), golden.arrays("llama")
  tokens, mask = (arrays[k][1:] for k in ("input_ids", "attention_mask"))
  padding = int(np.sum(mask == 0))
  assert padding
  logits = _ANSWER(model.params, model.config, tokens, mask)
  moved = (np.roll(x, padding, axis=1) for x in (tokens, mask))
  left = _ANSWER(model.params, model.config, *moved)
  np.testing.assert_allclose(logits[:, :-padding], left[:, padding:], atol=1e-5)


def test_tokens_do_not_read_those_after_them():
  model, arrays = golden.model("qwen2"), golden.arrays("qwen2")
  tokens = arrays["input_ids"][:1]
  mask = np.ones_like(tokens)
  changed = tokens.copy()
  changed[:, -1] += 1
  logits, others = (
    _ANSWER(model.params, model.config, x, mask) for x in (tokens, changed)
  )
  np.testing.assert_array_equal(logits[:, :-1], others[:, :-1])
  assert np.any(logits[:, -1] != others[:, -1])


def test_the_last_states_are_those_of_the_whole_decoder():
  model, arrays = golden.model("llama"), golden.arrays("llama")
  inputs = arrays["input_ids"], arrays["attention_mask"]
  by_layer = _ANSWER(model.params, model.config, *inputs, True)
  last = _ANSWER(model.params, model.config, *inputs)
  assert len(by_layer) == model.config.num_layers + 1
  np.testing.assert_allclose(by_layer[-1], last, atol=1e-5)
  assert np.abs(by_layer[0] - last).max() > 0.1


def test_llama3_slows_long_wavelengths_down_and_keeps_short_ones():
  rope = llama.Rope(1e4, "llama3", 8.0, 1.0, 4.0, 8192)
  config = golden.model("llama").config._replace(head_dim=64, rope=rope)
  plain = llama.rates(config._replace(rope=llama.Rope(1e4)))
  ratio = llama.rates(config) / plain
  wavelength = 2 * np.pi / plain
  np.testing.assert_allclose(ratio[wavelength < 8192 / 4], 1)
  np.testing.assert_allclose(ratio[wavelength > 8192], 1 / 8)
  between = (wavelength > 8192 / 4) & (wavelength < 8192)
  assert between.any()
  assert np.all((ratio[between] > 1 / 8) & (ratio[between] < 1))


def test_linear_scaling_divides_all_rates():
  config = golden.model("qwen2").config
  scaled = config._replace(rope=llama.Rope(config.rope.base, "linear", 4.0))
  np.testing.assert_allclose(llama.rates(scaled) * 4, llama.rates(config))


def test_bfloat16_parameters_stay_bfloat16_and_answer_nearly_the_same():
  arrays = golden.arrays("qwen2")
  model = catalog.load(golden.ROOT / "qwen2", dtype=jnp.bfloat16)
  assert all(x.dtype == jnp.bfloat16 for x in model.params.values())
  mask = arrays["attention_mask"]
  embeddings = llama.embed(model.params, arrays["input_ids"])
  hidden = llama.decode(model.params, model.config, embeddings, mask)
  assert hidden.dtype == jnp.bfloat16
  logits = llama.logits(model.params, model.config, hidden)
  assert logits.dtype == jnp.float32
  off = np.abs(logits - arrays["out_logits"])[mask > 0]
  assert off.mean() < 0.05
