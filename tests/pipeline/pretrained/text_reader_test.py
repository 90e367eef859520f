"""Texts of data sets that a pretrained encoder reads."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import text_encoder
from btw_jax.models.pretrained import tokens as tokens_lib
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import restore
from btw_jax.pipeline import run_data
from btw_jax.pipeline import train_run
from btw_jax.training import vectorized_runs
from support import dataset_files
from support import golden


def _config(folder, name="mmsa_mosi", **settings):
  values = {
    "dataset": name,
    "data_dir": str(folder),
    "text_encoder": str(golden.ROOT / "bert"),
    "max_tokens": 24,
    "num_seeds": 1,
    "workdir": str(folder / "run"),
  }
  return config_lib.make(**values | settings)


def _tokens(texts, max_tokens=24):
  model = golden.model("bert")
  tokenizer = tokens_lib.read(model.folder, model.config.vocab_size)
  return tokens_lib.encode(tokenizer, texts, max_tokens=max_tokens)


@pytest.mark.parametrize("encoder", ["mean", "transformer"])
def test_texts_of_mmsa_become_tokens(tmp_path, encoder):
  _, content = dataset_files.mmsa(tmp_path)
  (dataset,) = run_data.read(_config(tmp_path, encoder=encoder))
  assert dataset.vocab_sizes == {"text": 96}
  assert dataset.widths[0] == 1
  for split, examples in dataset.splits.items():
    texts = list(content[split]["raw_text"])
    expected = _tokens(texts)
    length = np.where([t == "" for t in texts], 0, expected.mask.sum(axis=1))
    np.testing.assert_array_equal(examples.steps["text"].length, length)
    np.testing.assert_array_equal(examples.present["text"], length > 0)
    assert not examples.present["text"][3]
    values = examples.features["text"][:, : expected.ids.shape[1], 0]
    inside = np.arange(values.shape[1]) < length[:, None]
    np.testing.assert_array_equal(values, np.where(inside, expected.ids, 0))


def test_texts_that_are_too_long_lose_their_end_and_are_counted(tmp_path):
  _, content = dataset_files.mmsa(tmp_path)
  (dataset,) = run_data.read(_config(tmp_path, max_tokens=6))
  assert dataset.num_steps[0] == 6
  for split, examples in dataset.splits.items():
    whole = _tokens(list(content[split]["raw_text"]), 99).mask.sum(axis=1)
    num_cut = np.count_nonzero(whole > 6)
    note = f"{split}: {num_cut} of {len(whole)} texts are longer than --max_to"
    assert num_cut
    assert any(note in line for line in dataset.notes)
    # The last token of a text that was cut is that of its end.
    last = examples.features["text"][whole > 6, 5, 0]
    np.testing.assert_array_equal(last, _tokens(["it"]).ids[0, -1])


def _with_tokens(folder, *, front=False):
  """Writes an MMSA file with tokens but no words; returns what it holds."""
  changes = {}
  for split, number in dataset_files.SIZES.items():
    rng = np.random.default_rng(number)
    ids = rng.integers(4, 96, (number, 50))
    length = rng.integers(3, 20, number)
    mask = np.arange(50) < length[:, None]
    ids = np.where(mask, ids, 0)
    stored = [ids, mask, np.zeros_like(ids)]
    if front:
      stored = [np.flip(x, axis=1) for x in stored]
    changes[split] = {
      "raw_text": None,
      "text_bert": np.stack(stored, 1).astype(np.float32),
      "ids": ids,
      "length": length,
    }
  return dataset_files.mmsa(folder, changes=changes)[1]


@pytest.mark.parametrize("front", [False, True])
def test_tokens_of_a_file_without_words_are_taken(tmp_path, front):
  content = _with_tokens(tmp_path, front=front)
  (dataset,) = run_data.read(_config(tmp_path))
  for split, examples in dataset.splits.items():
    fields = content[split]
    ids = fields["ids"][:, :24]
    if front:
      inside = np.arange(50) < fields["length"][:, None]
      ids = np.where(inside, np.flip(fields["ids"], 1), 0)
      for row, number in enumerate(fields["length"]):
        ids[row, :number] = fields["ids"][row, :number][::-1]
      ids = ids[:, :24]
    np.testing.assert_array_equal(examples.features["text"][:, :, 0], ids)


def test_words_of_mmim_become_tokens(tmp_path):
  content = dataset_files.mmim(tmp_path)
  (dataset,) = run_data.read(_config(tmp_path, "mmim_mosi"))
  texts = [" ".join(row[0][3]) for row in content["train"]]
  expected = _tokens(texts)
  np.testing.assert_array_equal(
    dataset.splits["train"].steps["text"].length, expected.mask.sum(axis=1)
  )


def test_an_encoder_that_stays_as_it_is_gives_its_states(tmp_path):
  _, content = dataset_files.mmsa(tmp_path)
  config = _config(tmp_path, text_learning_rate=0.0, encoder="transformer")
  (dataset,) = run_data.read(config)
  assert not dataset.vocab_sizes
  model = golden.model("bert")
  examples = dataset.splits["train"]
  tokens = _tokens(list(content["train"]["raw_text"]))
  states = bert.encode(model.params, model.config, tokens.ids, tokens.mask)
  for row, number in enumerate(examples.steps["text"].length):
    np.testing.assert_allclose(
      examples.features["text"][row, :number], states[row, :number], atol=1e-5
    )
    assert not examples.features["text"][row, number:].any()
  assert (
    build.build_trainers(
      config,
      train_run.read_datasets(config)[1].shape,
      ["uniform"],
      12,
    ).unimodal.read_pretrained
    is None
  )


def _trainers(tmp_path, **settings):
  dataset_files.mmsa(tmp_path)
  config = _config(tmp_path, **settings)
  datasets, saved = train_run.read_datasets(config)
  run = train_run.prepare(saved, datasets, interrupt=None)
  run.workdir.close()
  return run


def test_both_stages_start_from_the_folder(tmp_path):
  run = _trainers(tmp_path, dropout=0.0, weighting=("kl+mi",))
  model = golden.model("bert")
  split = vectorized_runs.types.Split(run.inputs.splits["train"], None)
  for trainer in (run.trainers.unimodal, run.trainers.multimodal):
    shards = jax.tree.map(lambda x: jnp.asarray(x)[None], split)
    state, _ = vectorized_runs.init(trainer, 2, jnp.arange(3), shards)
    params = state.train.params
    flags = text_encoder.is_pretrained(params)
    assert any(jax.tree.leaves(flags))
    (found,) = (
      part["encoder"][text_encoder.PRETRAINED]
      for part in params.values()
      if text_encoder.PRETRAINED in part.get("encoder", {})
    )
    for name, x in found.items():
      # Settings, seeds and modalities.
      assert x.shape == (2, 3, 1, *model.params[name].shape)
      np.testing.assert_array_equal(
        x, np.broadcast_to(model.params[name], x.shape)
      )
    others = jax.tree.leaves(
      jax.tree.map(
        lambda x, is_text: None if is_text else np.asarray(x), params, flags
      )
    )
    assert any(np.any(x[:, 0] != x[:, 1]) for x in others)


def test_each_part_descends_at_its_own_rate(tmp_path):
  run = _trainers(
    tmp_path, learning_rate=0.01, text_learning_rate=0.0005, weight_decay=0.1
  )
  rng = np.random.default_rng(0)
  params = {
    "head": rng.normal(size=3),
    "sequences_0": {"encoder": {text_encoder.PRETRAINED: rng.normal(size=4)}},
  }
  params = jax.tree.map(jnp.asarray, params)
  optimizer = run.trainers.multimodal.optimizer
  state = optimizer.init(params)
  plain = {rate: optax.adamw(rate, weight_decay=0.1) for rate in (0.01, 0.0005)}
  states = {rate: one.init(params) for rate, one in plain.items()}
  for _ in range(3):
    gradient = jax.tree.map(
      lambda x: jnp.asarray(rng.normal(size=x.shape)), params
    )
    updates, state = optimizer.update(gradient, state, params)
    for rate, part in ((0.01, "head"), (0.0005, "sequences_0")):
      expected, states[rate] = plain[rate].update(
        gradient, states[rate], params
      )
      jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        updates[part],
        expected[part],
      )


def _refused(tmp_path, match, **settings):
  with pytest.raises(errors.InputError, match=match) as raised:
    run_data.read(_config(tmp_path, **settings))
  assert "\n" not in str(raised.value)


def test_wrong_folders_and_settings_are_named(tmp_path):
  dataset_files.mmsa(tmp_path)

  def refused(match, **settings):
    _refused(tmp_path, match, **settings)

  refused(
    "text_encoder=.*llama: is a LlamaForCausalLM, which encodes no texts",
    text_encoder=str(golden.ROOT / "llama"),
  )
  refused("no_such: is no folder", text_encoder=str(tmp_path / "no_such"))
  refused("--max_tokens=33: .* reads at most 32 tokens", max_tokens=33)
  refused(
    "--text_encoder: --dataset=npz holds no words: leave it out, or use one of"
    " mmsa_mosi",
    name="npz",
  )


def test_tokens_of_another_vocabulary_are_refused(tmp_path):
  tokens = np.zeros((12, 3, 50))
  tokens[:, :2, :4] = 1
  tokens[7, 0, 2] = 96
  dataset_files.mmsa(
    tmp_path, changes={"train": {"raw_text": None, "text_bert": tokens}}
  )
  _refused(tmp_path, "'train': field 'text_bert' of row 7 holds 96: .*0 to 95")
  dataset_files.mmsa(
    tmp_path, changes={"train": {"raw_text": None, "text_bert": None}}
  )
  _refused(tmp_path, "'train': has neither 'raw_text' nor 'text_bert'")


def _raw(tmp_path, values):
  """Reads a file whose first texts of training are these."""
  texts = np.array([*values, *["it was great"] * (12 - len(values))], object)
  dataset_files.mmsa(tmp_path, changes={"train": {"raw_text": texts}})
  return run_data.read(_config(tmp_path))[0].splits["train"]


def test_missing_texts_and_words_are_told_apart(tmp_path):
  examples = _raw(
    tmp_path, [None, float("nan"), " ", b"not great", ["not", "great"], "a"]
  )
  np.testing.assert_array_equal(
    examples.present["text"][:6], [False] * 3 + [True] * 3
  )
  values = examples.features["text"][..., 0]
  expected = _tokens(["not great"]).ids[0]
  for row in (3, 4):
    np.testing.assert_array_equal(values[row, : len(expected)], expected)


@pytest.mark.parametrize(
  ("value", "message"),
  [(7, "row 0 is 7: give a text"), ("a\ud800", "row 0 holds .*no character")],
)
def test_what_is_no_text_is_named(tmp_path, value, message):
  with pytest.raises(errors.InputError, match=f"'raw_text' of {message}"):
    _raw(tmp_path, [value])


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda x: x.swapaxes(1, 2), r"has shape \(12, 50, 3\): give \[12, 3, T"),
    (lambda x: x[:, :2], r"has shape \(12, 2, 50\)"),
    (lambda x: x[:, :, :0], r"has shape \(12, 3, 0\)"),
    (lambda x: x[:3], r"has shape \(3, 3, 50\)"),
    (lambda x: np.where(x == 1, np.nan, x), "of row 0 has a mask that is no"),
  ],
)
def test_tokens_in_another_layout_are_refused(tmp_path, change, message):
  tokens = np.zeros((12, 3, 50))
  tokens[:, :2, :4] = 1
  dataset_files.mmsa(
    tmp_path, changes={"train": {"raw_text": None, "text_bert": change(tokens)}}
  )
  _refused(tmp_path, f"'text_bert' {message}")


def test_a_mask_with_holes_is_refused(tmp_path):
  tokens = np.zeros((12, 3, 50))
  tokens[:, :2, :4] = 1
  tokens[5, 1, 1] = 0
  dataset_files.mmsa(
    tmp_path, changes={"train": {"raw_text": None, "text_bert": tokens}}
  )
  _refused(tmp_path, "'text_bert' of row 5 has a mask")


def test_an_encoder_without_text_to_read_is_refused(tmp_path):
  dataset_files.mmsa(tmp_path)
  _refused(
    tmp_path, "--modalities=audio,vision has no 'text'",
    modalities=("audio", "vision"),
  )  # fmt: skip


def test_another_encoder_than_that_of_the_run_is_refused(tmp_path):
  dataset_files.mmsa(tmp_path)
  folder = golden.copy("bert", tmp_path)
  config = _config(tmp_path, text_encoder=str(folder))
  saved = train_run.read_datasets(config)[1]
  run_data.check_text_encoder(saved)
  golden.edit_weights(
    folder, lambda tensors: next(iter(tensors.values())).__imul__(2)
  )
  with pytest.raises(errors.InputError, match="bert: holds other files, but"):
    restore.load_models(saved)
  assert train_run.read_datasets(config)[1].fingerprint != saved.fingerprint
  shutil.rmtree(folder)
  with pytest.raises(
    errors.InputError, match="is no folder, but .*config.json"
  ):
    restore.load_models(saved)


def test_arrays_in_memory_hold_no_words(tmp_path):
  config = dataclasses.replace(
    _config(tmp_path), data=config_lib.make(dataset="arrays").data
  )
  dataset_files.mmsa(tmp_path)
  (dataset,) = run_data.read(_config(tmp_path))
  loaded = dataset_lib.LoadedSplits(dataset.splits)
  with pytest.raises(errors.InputError, match="--text_encoder: .*no words"):
    run_data.read(config, loaded)
