"""Fine-tuning of pretrained multimodal models, on golden folders."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data.sources import questions as questions_lib
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import finetune
from btw_jax.pipeline.pretrained import finetune_config
from btw_jax.pipeline.pretrained import finetune_files
from btw_jax.pipeline.pretrained import finetune_step
from btw_jax.pipeline.pretrained import finetune_training
from btw_jax.pipeline.pretrained import pairs as pairs_lib
from btw_jax.pipeline.pretrained import questions
from support import golden
from support import question_files

_LORA = lora_lib.Lora(rank=2, share=0.5)
_NAME = "llava"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
  path = question_files.write(tmp_path_factory.mktemp("questions"), 8)
  answerer = questions.load(golden.ROOT / _NAME, dtype="float32", batch_size=4)
  return pairs_lib.Pairs(answerer, questions_lib.entries(path))


@pytest.fixture(scope="module")
def batches(pairs):
  """Returns a batch of questions with an image, and one without."""
  found = {}
  for batch in pairs.batches(0, 0, 4):
    found[batch.clean.pixels is not None] = batch
  return found


def _adapters(params, seed=0):
  adapters = lora_lib.init(jax.random.key(seed), params, _LORA)
  keys = jax.random.split(jax.random.key(seed + 1), len(adapters))
  return {
    name: x + 0.05 * jax.random.normal(key, x.shape)
    for key, (name, x) in zip(keys, adapters.items(), strict=True)
  }


def _run(pairs_of, batch, methods=(), **values):
  """Returns the gradient and the sums of a batch."""
  model = golden.model(_NAME)
  objective = finetune_step.Objective(_LORA, methods, **values)
  return finetune_training._gradients(
    objective, model.config, pairs_of, model.params, batch, jax.random.key(5)
  )


def _answers(adapters, part):
  """Returns log-probabilities over the vocabulary and over the options."""
  model = golden.model(_NAME)
  embedded = answers_lib.embed(model.params, model.config, part)
  logits = answers_lib.answer_logits(
    model.params,
    model.config,
    part,
    embedded,
    lora_lib.scaled(adapters, _LORA),
  )
  logits = np.asarray(logits, np.float64)
  whole = logits - np.log(np.exp(logits).sum(1, keepdims=True))
  options = np.take_along_axis(whole, part.options, axis=1)
  options -= np.log(np.exp(options).sum(1, keepdims=True))
  return whole, options


def _nll(whole, batch):
  rows = np.arange(len(batch.label))
  return -whole[rows, batch.clean.options[rows, batch.label]]


@pytest.mark.parametrize("with_image", [True, False])
def test_the_objective_is_that_of_the_paper(batches, with_image):
  batch = batches[with_image]
  batch = batch._replace(weight=np.array([1, 0.5, 3, 0], np.float32))
  adapters = _adapters(golden.model(_NAME).params)
  whole, options = _answers(adapters, batch.clean)
  whole_view, options_view = _answers(adapters, batch.perturbed)
  nll = _nll(whole, batch)
  added = _nll(whole_view, batch)
  divergence = np.sum(np.exp(options_view) * (options_view - options), axis=1)
  for methods, expected in (
    ((), nll),
    (("heuristic",), nll + added),
    (("consistency",), nll + 0.3 * divergence),
    (("heuristic", "consistency"), nll + added + 0.3 * divergence),
  ):
    _, sums = _run(adapters, batch, methods, consistency=0.3)
    assert float(sums.loss) == pytest.approx(
      np.sum(batch.weight * expected), rel=1e-4
    )
    assert float(sums.weight) == 4.5
    right = options.argmax(1) == batch.label
    assert float(sums.right) == pytest.approx(np.sum(batch.weight * right))


def test_gradients_are_those_of_the_loss(batches):
  batch = batches[True]
  adapters = _adapters(golden.model(_NAME).params)
  gradient, _ = _run(adapters, batch, ("heuristic", "consistency"))
  rng = np.random.default_rng(0)
  direction = {k: rng.normal(size=x.shape) for k, x in adapters.items()}
  ends = []
  for step in (-1e-3, 1e-3):
    moved = jax.tree.map(lambda x, d: x + step * d, adapters, direction)
    moved = jax.tree.map(jnp.float32, moved)
    ends.append(float(_run(moved, batch, ("heuristic",))[1].loss))
  slope = float(sum(np.sum(direction[k] * gradient[k]) for k in adapters))
  # The clean side of the divergence, of factor .01, is held fixed.
  assert (ends[1] - ends[0]) / 2e-3 == pytest.approx(slope, rel=2e-2)


@pytest.mark.parametrize("with_image", [True, False])
def test_an_adversary_moves_irrelevant_tokens_to_a_larger_loss(
  batches, with_image
):
  batch, model = batches[with_image], golden.model(_NAME)
  adapters = _adapters(model.params)
  embedded = answers_lib.embed(model.params, model.config, batch.perturbed)
  where = finetune_step._irrelevant(model.config, batch)
  is_image = batch.perturbed.tokens == model.config.image_token
  expected = batch.perturbed.is_question if with_image else is_image
  np.testing.assert_array_equal(where, expected & batch.perturbed.mask)

  def loss(moved):
    logits = answers_lib.answer_logits(
      model.params, model.config, batch.perturbed, moved,
      lora_lib.scaled(adapters, _LORA),
    )  # fmt: skip
    rows = np.arange(len(batch.label))
    chosen = batch.clean.options[rows, batch.label]
    return -jnp.sum(jax.nn.log_softmax(logits)[rows, chosen])

  def move(num_steps):
    objective = finetune_step.Objective(
      _LORA, radius=0.05, rate=10.0, num_steps=num_steps
    )
    return finetune_step._move(
      objective, jax.random.key(1), embedded, where, loss
    )

  start, end = move(0), move(8)
  assert np.abs(end).max() <= 0.05 + 1e-7
  assert not np.any(np.asarray(end)[~np.asarray(where)])
  assert loss(embedded + end) > loss(embedded + start)
  gradient, _ = _run(adapters, batch, ("adversarial", "consistency"))
  assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(gradient))


def test_questions_that_fill_a_batch_do_not_count(pairs):
  (filled,) = [
    batch for batch in pairs.batches(0, 0, 3)
    if batch.clean.pixels is not None and not batch.weight.all()
  ]  # fmt: skip
  adapters = _adapters(golden.model(_NAME).params)
  real = filled.weight > 0
  alone = jax.tree.map(lambda x: x[real], filled)
  for a, b in zip(
    jax.tree.leaves(_run(adapters, filled, ("heuristic",))),
    jax.tree.leaves(_run(adapters, alone, ("heuristic",))),
    strict=True,
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_every_question_is_in_one_batch_of_an_epoch(pairs):
  for epoch in range(3):
    batches = list(pairs.batches(7, epoch, 3))
    assert len(batches) == len(pairs.batches(7, epoch, 3))
    assert sum(batch.weight.sum() for batch in batches) == len(pairs.clean)
    labels = np.concatenate([b.label[b.weight > 0] for b in batches])
    assert sorted(labels) == sorted(pairs.labels)
  first, again = (
    [b.perturbed.tokens for b in pairs.batches(7, 1, 3)] for _ in range(2)
  )
  for a, b in zip(first, again, strict=True):
    np.testing.assert_array_equal(a, b)


def _config(tmp_path, workdir="run", **values):
  path = tmp_path / "questions.json"
  if not path.exists():
    question_files.write(tmp_path, 16)
  return finetune_config.FinetuneConfig(
    **{
      "pretrained": str(golden.ROOT / _NAME),
      "questions": str(path),
      "workdir": str(tmp_path / workdir),
      "dtype": "float32",
      "batch_size": 4,
      "num_epochs": 2,
      "lora_share": 1.0,
      "learning_rate": 0.02,
      "snapshot_seconds": 0,
      "mitigation": ("heuristic",),
      **values,
    }
  )


class _Stops:
  """An interrupt that is requested from the n-th time on that it is asked."""

  number = 15

  def __init__(self, times):
    self._times = times

  @property
  def requested(self):
    self._times -= 1
    return self._times < 0


@pytest.mark.training
def test_a_stopped_run_goes_on_and_its_model_is_that_of_its_adapters(tmp_path):
  never = _Stops(10**9)
  whole = finetune.run(
    _config(tmp_path, "whole", save_model=True), interrupt=never
  )
  assert whole["before"] != whole["after"]
  config = _config(tmp_path)
  with pytest.raises(interrupt_lib.Interrupted, match="batch 3: the"):
    finetune.run(config, interrupt=_Stops(5))
  resumed = finetune.run(config, interrupt=never)
  for name, value in whole["after"].items():
    assert resumed["after"][name] == pytest.approx(value, rel=1e-4)
  # Checkpoints hold adapters and their moments, not the model.
  trained = whole["num_parameters"]["trained"]
  stored = sum(
    path.stat().st_size
    for path in (tmp_path / "whole/checkpoints").rglob("*")
    if path.is_file()
  )
  assert trained < 0.5 * whole["num_parameters"]["model"]
  assert stored < (3 + 1) * 4 * trained + 60_000
  # The folder that was left answers as the adapters do.
  answerer = questions.load(tmp_path / "whole/model", dtype="float32")
  entries = questions_lib.entries(config.questions)
  _, valid = finetune._hold_out(entries, config.valid_share, config.seed)
  held_out = pairs_lib.Pairs(answerer, valid)
  scores = answers_lib.score(answerer.model, held_out.clean, 4, least_mass=0.0)
  accuracy = np.mean(scores.log_probs.argmax(1) == held_out.labels)
  assert accuracy == whole["after"]["accuracy"]
  rows = np.arange(len(valid))
  nll = -np.mean(scores.log_probs[rows, held_out.labels])
  assert nll == pytest.approx(whole["after"]["nll"], abs=1e-4)


@pytest.mark.training
def test_gradients_of_several_batches_make_one_step(tmp_path):
  """With equal shapes, two batches of 4 are one batch of 8."""
  entries = json.loads(question_files.write(tmp_path, 24).read_text())
  # Questions without an image alone, beside images of one size.
  entries = [entry for entry in entries if "image" not in entry]
  (tmp_path / "questions.json").write_text(json.dumps(entries))
  results = [
    finetune.run(
      _config(
        tmp_path, f"by{size}", batch_size=size, accumulate=8 // size,
        num_epochs=1, mitigation=(), valid_share=0.3,
      ),
      interrupt=_Stops(10**9),
    )
    for size in (4, 8)
  ]  # fmt: skip
  for name, value in results[0]["after"].items():
    assert results[1]["after"][name] == pytest.approx(value, rel=1e-3)


def test_wrong_settings_and_files_are_named(tmp_path):
  config = _config(tmp_path)
  entries = questions_lib.entries(config.questions)
  path = tmp_path / "weights.csv"

  def refused(match, text):
    path.write_text(text)
    with pytest.raises(errors.InputError, match=match) as raised:
      finetune_files.read_weights(str(path), entries)
    assert "\n" not in str(raised.value)

  refused("has the id 'nobody', which the questions", "id,weight\nnobody,1\n")
  refused("weight of 'question 1' is -1: give", "id,weight\nquestion 1,-1\n")
  refused("no rows with the columns id and w", "id,w\nquestion 1,1\n")
  refused("no rows with the columns id and w", "")
  refused("no rows with the columns id and w", "id,weight\n")
  refused("weight in line 2 is None: give a nu", "id,weight\nquestion 1\n")
  refused("weight of 'question 1' is 1e.38", "id,weight\nquestion 1,1e38\n")
  refused("cannot be read .field larger", f"id,weight\n{'q' * 200_000},1\n")
  path.write_text("id,weight\nquestion 1,3\n")
  weights = finetune_files.read_weights(str(path), entries)
  assert weights == {"question 1": 3.0}
  with pytest.raises(errors.InputError, match="no such|cannot be read"):
    finetune_files.read_weights(str(tmp_path / "none.csv"), entries)
  few = question_files.write(tmp_path / "few", 2)
  with pytest.raises(errors.InputError, match="has 2 questions, too few to"):
    finetune.run(
      dataclasses.replace(config, questions=str(few)), interrupt=_Stops(9)
    )


@pytest.mark.training
def test_starting_anew_forgets_what_was_there(tmp_path):
  never = _Stops(10**9)
  config = _config(tmp_path, num_epochs=1)
  first = finetune.run(config, interrupt=never)
  # A finished run is not trained again, wherever its files are now.
  assert finetune.run(config, interrupt=_Stops(0)) == first
  anew = dataclasses.replace(config, resume=False)
  with pytest.raises(interrupt_lib.Interrupted, match="batch 1: the"):
    finetune.run(anew, interrupt=_Stops(1))
  # What was measured before is measured again if its table is lost.
  (tmp_path / "run/metrics.csv").unlink()
  again = finetune.run(config, interrupt=never)
  for when in ("before", "after"):
    for name, value in first[when].items():
      assert again[when][name] == pytest.approx(value, rel=1e-4)


@pytest.mark.training
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path):
  with pytest.raises(errors.InputError, match="epoch .: the loss is not a num"):
    finetune.run(
      _config(tmp_path, learning_rate=1e30, max_norm=0.0, num_epochs=3),
      interrupt=_Stops(10**9),
    )


@pytest.mark.training
def test_a_workdir_of_other_settings_or_weights_is_refused(tmp_path):
  folder = golden.copy(_NAME, tmp_path)
  config = _config(tmp_path, pretrained=str(folder), num_epochs=1)
  finetune.run(config, interrupt=_Stops(10**9))
  moved = shutil.copytree(folder, tmp_path / "moved")
  finetune.run(
    dataclasses.replace(config, pretrained=str(moved)), interrupt=_Stops(0)
  )
  with pytest.raises(errors.InputError, match="with another --lora_rank"):
    finetune.run(dataclasses.replace(config, lora_rank=4), interrupt=_Stops(9))
  golden.edit_weights(
    folder, lambda tensors: next(iter(tensors.values())).__imul__(2)
  )
  with pytest.raises(errors.InputError, match="--pretrained had another con"):
    finetune.run(config, interrupt=_Stops(9))
