"""Fine-tuning of a pretrained multimodal model on a question file, by LoRA.

Adapters of the last layers train; the model stays as it is. Questions held out
measure accuracy and interference before and after.
"""

from collections.abc import Mapping, Sequence
import csv
import functools
import hashlib
import math
import pathlib
import shutil
import time
from typing import Any, NamedTuple

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.data import fingerprints
from btw_jax.data.sources import questions as questions_lib
from btw_jax.models.pretrained import catalog
from btw_jax.models.pretrained import lora as lora_lib
from btw_jax.models.pretrained import saving
from btw_jax.models.pretrained import sharding
from btw_jax.pipeline import csv_table
from btw_jax.pipeline import files
from btw_jax.pipeline import folders
from btw_jax.pipeline import interrupt as interrupt_lib
from btw_jax.pipeline import progress as progress_lib
from btw_jax.pipeline.pretrained import answers as answers_lib
from btw_jax.pipeline.pretrained import finetune_config
from btw_jax.pipeline.pretrained import finetune_step as step_lib
from btw_jax.pipeline.pretrained import pairs as pairs_lib
from btw_jax.pipeline.pretrained import questions
from btw_jax.training import model_checkpoints
from btw_jax.training import sampling

_CONFIG, _RESULTS, _METRICS = "config.json", "results.json", "metrics.csv"
# Checkpoints: what training goes on from, and the adapters in the end.
_SNAPSHOT, _FINAL, _MODEL = "snapshot", "adapters", "model"
# Of held-out questions: the perturbed views are drawn once, as of this epoch.
_MEASURED = 2**20
_MOST_WEIGHT = 1e6
_MEASURES = ("accuracy", "accuracy_perturbed", "changed", "nll")


class _Run(NamedTuple):
  """The parts of a run."""

  config: finetune_config.FinetuneConfig
  answerer: questions.Answerer
  lora: lora_lib.Lora
  train: pairs_lib.Pairs
  valid: pairs_lib.Pairs
  workdir: pathlib.Path


class _Final(NamedTuple):
  """The adapters in the end, as they are saved."""

  adapters: Mapping[str, Any]


def run(
  config: finetune_config.FinetuneConfig,
  interrupt: interrupt_lib.Interrupt | None = None,
) -> dict[str, Any]:
  """Fine-tunes, measures, and leaves adapters and results in the workdir.

  Args:
    config: the settings.
    interrupt: requests to stop; listens from the start by default.

  Returns:
    The content of `results.json`.

  Raises:
    InputError: if a setting or a file is wrong.
    Interrupted: if the run stopped as requested.
  """
  interrupt = interrupt or interrupt_lib.Interrupt()
  start = time.monotonic()
  entries = questions_lib.entries(config.questions, questions.MAX_OPTIONS)
  weights = read_weights(config.weights, entries) if config.weights else {}
  train, valid = _hold_out(entries, config.valid_share, config.seed)
  answerer = questions.load(
    config.pretrained,
    dtype=config.dtype,
    split_images=config.split_images,
    batch_size=config.batch_size,
    seed=config.seed,
  )
  folders.check_plain("workdir", config.workdir)
  path = folders.make("workdir", config.workdir)
  with folders.Lock("workdir", path):
    _begin(config, path)
    if (path / _RESULTS).exists():
      logging.info("%s: the run is finished, nothing is trained", path)
      results = files.read_json(path / _RESULTS, "train with --noresume")
      if config.save_model and not (path / _MODEL).exists():
        _save_model(config, path)
      return results
    return _finetune(
      _Run(
        config,
        answerer,
        _lora(config),
        pairs_lib.Pairs(answerer, train, weights),
        pairs_lib.Pairs(answerer, valid),
        path,
      ),
      interrupt,
      start,
    )


def _finetune(run, interrupt, start):
  """Trains all epochs, and measures before and after."""
  config, params = run.config, run.answerer.model.params
  epoch_batches = run.train.num_batches(config.seed, 0, config.batch_size)
  num_steps = math.ceil(epoch_batches / config.accumulate) * config.num_epochs
  optimizer = step_lib.make_optimizer(
    config.learning_rate, config.max_norm, num_steps
  )
  state = _initial(run, optimizer)
  if config.resume and (run.workdir / "checkpoints" / _SNAPSHOT).exists():
    shapes = jax.tree.map(np.asarray, state)
    state = jax.tree.map(
      jnp.asarray, model_checkpoints.load(config.workdir, _SNAPSHOT, shapes)
    )
  table = csv_table.CsvTable(
    run.workdir / _METRICS,
    ("epoch", "split", "loss", *_MEASURES),
    resume=config.resume,
  )
  table.keep_epochs(int(state.epoch) + 1, lambda row: True)
  measured = _read_measures(run.workdir / _METRICS)
  if 0 not in measured:
    fresh = _initial(run, optimizer)
    table.write([{"epoch": 0, "split": "valid", **_measure(run, fresh)}])
  while int(state.epoch) < config.num_epochs:
    state = _train_epoch(run, optimizer, state, interrupt, table)
  measured = _read_measures(run.workdir / _METRICS)
  after = measured.get(config.num_epochs) or _measure(run, state)
  model_checkpoints.save(config.workdir, _FINAL, _Final(state.adapters))
  results = {
    "pretrained": config.pretrained,
    "questions": config.questions,
    "sizes": {"train": len(run.train.clean), "valid": len(run.valid.clean)},
    "mitigation": list(config.mitigation),
    "before": measured[0],
    "after": after,
    "num_parameters": {
      "model": sum(math.prod(x.shape) for x in params.values()),
      "trained": sum(x.size for x in state.adapters.values()),
    },
    "seconds": round(time.monotonic() - start, 1),
  }
  files.write_json(run.workdir / _RESULTS, results)
  if config.save_model:
    _save_model(config, run.workdir)
  return results


def _save_model(config, path):
  """Writes the changed model of a finished run, unless it is there."""
  if (path / _MODEL).exists():
    raise errors.InputError(
      f"{path / _MODEL}: exists: remove it, or leave --save_model out."
    )
  lora = _lora(config)
  shapes = catalog.shapes(config.pretrained)
  adapters = jax.eval_shape(
    lambda: lora_lib.init(jax.random.key(0), shapes, lora)
  )
  saved = model_checkpoints.load(config.workdir, _FINAL, _Final(adapters))
  with progress_lib.doing("writing the changed model"):
    saving.save(
      lora_lib.merge(config.pretrained, saved.adapters, lora), path / _MODEL
    )


def _lora(config):
  return lora_lib.Lora(config.lora_rank, config.lora_share, config.lora_alpha)


def _initial(run, optimizer):
  """Returns the state before the first step."""
  adapters = lora_lib.init(
    sampling.stream_key(run.config.seed, sampling.INIT),
    run.answerer.model.params,
    run.lora,
  )
  if not adapters:
    raise errors.InputError(
      f"{run.config.pretrained}: has no decoder whose layers can change: give"
      " LLaVA, SmolVLM or Idefics3."
    )
  zero, none = jnp.int32(0), jnp.float32(0)
  return step_lib.State(
    adapters, optimizer.init(adapters), zero, zero,
    step_lib.Sums(none, none, none),
  )  # fmt: skip


def _train_epoch(run, optimizer, state, interrupt, table):
  """Trains the rest of an epoch, measures and saves."""
  config, epoch = run.config, int(state.epoch)
  objective = step_lib.Objective(
    run.lora,
    tuple(config.mitigation),
    config.consistency_weight,
    config.adversarial_radius,
    config.adversarial_rate,
    config.adversarial_steps,
  )
  model = run.answerer.model
  update = _updater(optimizer)
  base = jax.random.fold_in(
    sampling.stream_key(config.seed, sampling.HOOK), epoch
  )
  saved, done = time.monotonic(), int(state.position)
  total, weight, sums = None, 0.0, state.sums
  number = run.train.num_batches(config.seed, epoch, config.batch_size)
  logging.info(
    "epoch %d of %d: %d batches", epoch + 1, config.num_epochs, number
  )
  reminder = time.monotonic()
  for position, batch in enumerate(
    run.train.batches(config.seed, epoch, config.batch_size)
  ):
    if position < done:
      continue
    gradient, of_batch = _gradients(
      objective, model.config, state.adapters, model.params,
      sharding.spread(batch),
      jax.random.fold_in(base, position),
    )  # fmt: skip
    sums = jax.tree.map(jnp.add, sums, of_batch)
    total = gradient if total is None else _add(total, gradient)
    weight += of_batch.weight
    is_last = position + 1 == number
    if not is_last and (position + 1) % config.accumulate:
      continue
    adapters, opt_state = update(state.adapters, state.opt_state, total, weight)
    total, weight = None, 0.0
    state = step_lib.State(
      adapters, opt_state, state.epoch, jnp.int32(position + 1), sums
    )
    now = time.monotonic()
    if now - reminder >= 15:
      reminder = now
      loss = float(of_batch.loss / max(float(of_batch.weight), 1e-9))
      logging.info("batch %d of %d: loss %.3f", position + 1, number, loss)
    if interrupt.requested or now - saved >= config.snapshot_seconds:
      saved = now
      model_checkpoints.save(config.workdir, _SNAPSHOT, state)
    if interrupt.requested:
      raise interrupt_lib.Interrupted(
        f"epoch {epoch + 1}, batch {position + 1} of {number}: the adapters are"
        " saved; the same flags resume the run",
        interrupt.number,
      )
  means = _means(sums)
  skipped = int(state.opt_state.total_notfinite)
  if not math.isfinite(means["loss"]):
    raise errors.InputError(
      f"epoch {epoch + 1}: the loss is not a number, {skipped} steps changed"
      " nothing: lower --learning_rate or the --weights, or use"
      " --dtype=float32."
    )
  if skipped:
    logging.warning(
      "%d steps so far changed nothing, because their gradient was not finite:"
      " lower --learning_rate",
      skipped,
    )
  state = state._replace(
    epoch=jnp.int32(epoch + 1),
    position=jnp.int32(0),
    sums=jax.tree.map(jnp.zeros_like, sums),
  )
  rows = [
    {"epoch": epoch + 1, "split": "train", **means},
    {"epoch": epoch + 1, "split": "valid", **_measure(run, state)},
  ]
  table.write(rows)
  model_checkpoints.save(config.workdir, _SNAPSHOT, state)
  logging.info(
    "epoch %d: accuracy %.1f %%, beside what does not matter %.1f %%",
    epoch + 1,
    100 * rows[-1]["accuracy"],
    100 * rows[-1]["accuracy_perturbed"],
  )
  return state


_gradients = jax.jit(step_lib.gradients, static_argnums=(0, 1))
_add = jax.jit(lambda a, b: jax.tree.map(jnp.add, a, b), donate_argnums=0)


def _updater(optimizer):
  """Returns the compiled update of adapters by summed gradients."""

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def update(adapters, opt_state, gradient, weight):
    mean = jax.tree.map(lambda x: x / jnp.maximum(weight, 1e-9), gradient)
    updates, opt_state = optimizer.update(mean, opt_state, adapters)
    return jax.tree.map(jnp.add, adapters, updates), opt_state

  return update


def _means(sums):
  """Returns the means of an epoch, over the questions by their weights."""
  total = jax.tree.map(float, sums)
  weight = max(total.weight, 1e-9)
  return {
    "loss": total.loss / weight,
    "accuracy": total.right / weight,
  }


def _measure(run, state):
  """Measures accuracy and interference on the questions held out."""
  adapters = lora_lib.scaled(state.adapters, run.lora)
  with progress_lib.doing("measuring on the questions held out"):
    clean, perturbed = (
      answers_lib.score(
        run.answerer.model,
        asks,
        run.config.batch_size,
        least_mass=0.0,
        adapters=adapters,
      ).log_probs
      for asks in (
        run.valid.clean,
        run.valid.perturb(run.config.seed, _MEASURED),
      )
    )
  labels = run.valid.labels
  decisions, moved = clean.argmax(axis=1), perturbed.argmax(axis=1)
  nll = -clean[np.arange(len(labels)), labels]
  return {
    "accuracy": float(np.mean(decisions == labels)),
    "accuracy_perturbed": float(np.mean(moved == labels)),
    "changed": float(np.mean(decisions != moved)),
    "nll": float(np.mean(nll)),
  }


def _read_measures(path):
  """Returns epoch -> measures on the questions held out."""
  with path.open(newline="", encoding="utf-8") as file:
    rows = [row for row in csv.DictReader(file) if row["split"] == "valid"]
  return {
    int(row["epoch"]): {name: float(row[name]) for name in _MEASURES}
    for row in rows
  }


def _hold_out(entries, share, seed):
  """Splits questions at random, those with and without an image alike.

  Raises:
    InputError: if there are too few.
  """
  rng, is_valid = np.random.default_rng(seed), np.zeros(len(entries), bool)
  has_image = np.array([entry.has_image for entry in entries])
  for kind in (True, False):
    rows = rng.permutation(np.flatnonzero(has_image == kind))
    # At least one of several, and not all.
    number = min(max(round(share * len(rows)), 1), len(rows) - 1)
    is_valid[rows[: max(number, 0)]] = True
  if not is_valid.any():
    raise errors.InputError(
      f"the question file has {len(entries)} questions, too few to train on"
      " some and measure on others: give two or more with an image, or without."
    )
  return (
    [e for e, held in zip(entries, is_valid, strict=True) if held == part]
    for part in (False, True)
  )


def read_weights(
  path: str, entries: Sequence[questions_lib.Entry]
) -> dict[str, float]:
  """Reads the factors of questions in the loss.

  Args:
    path: a table with the columns `id` and `weight`, as an audit leaves it.
    entries: the questions; those that the table lacks have the factor 1.

  Returns:
    Id -> factor.

  Raises:
    InputError: if the table cannot be read or has other questions.
  """
  need = "give the training_weights.csv of an audit, with columns id and weight"
  try:
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
      reader = csv.DictReader(file)
      rows = list(reader)
  except (OSError, ValueError, csv.Error) as error:
    raise errors.InputError(
      f"--weights={path}: cannot be read ({error}): {need}."
    ) from error
  if not rows or not {"id", "weight"} <= set(reader.fieldnames or ()):
    raise errors.InputError(
      f"--weights={path}: has no rows with the columns id and weight: {need}."
    )
  weights = {}
  for number, row in enumerate(rows, 2):
    try:
      weights[row["id"]] = float(row["weight"])
    except (TypeError, ValueError) as error:
      raise errors.InputError(
        f"--weights={path}: the weight in line {number} is {row['weight']!r}:"
        " give a number."
      ) from error
  known = {entry.id for entry in entries}
  for name, weight in weights.items():
    if name not in known:
      raise errors.InputError(
        f"--weights={path}: has the id {name!r}, which the questions lack: give"
        " the weights of the same questions."
      )
    if not 0 <= weight <= _MOST_WEIGHT:
      raise errors.InputError(
        f"--weights={path}: the weight of {name!r} is {weight:g}: give a number"
        f" from 0 to {_MOST_WEIGHT:g}."
      )
  return weights


def _begin(config: finetune_config.FinetuneConfig, path) -> None:
  """Writes `config.json`, or refuses a run of other settings or files."""
  contents = {
    "--pretrained": fingerprints.of_folder(config.pretrained),
    "--questions": _of_file(config.questions),
    "--weights": _of_file(config.weights) if config.weights else "",
  }
  settings = finetune_config.to_dict(config, free=False)
  file = path / _CONFIG
  if not config.resume:
    # First: what is there belongs to another run from now on.
    for name in (_SNAPSHOT, _FINAL):
      shutil.rmtree(path / "checkpoints" / name, ignore_errors=True)
    shutil.rmtree(path / _MODEL, ignore_errors=True)
    files.remove([path / _RESULTS, path / _METRICS])
  elif file.exists():
    before = files.read_json(file, "remove it, or train with --noresume")
    remedy = "choose another folder, or start anew with --noresume"
    for flag, content in contents.items():
      if before.get("contents", {}).get(flag) != content:
        raise errors.InputError(
          f"--workdir={path}: holds a run whose {flag} had another content:"
          f" {remedy}."
        )
    then = before.get("config", {})
    for name, value in settings.items():
      if then.get(name) != value:
        raise errors.InputError(
          f"--workdir={path}: holds a run with another --{name}"
          f" ({then.get(name)!r}): {remedy}."
        )
  files.write_json(file, {"config": settings, "contents": contents})


def _of_file(path):
  """Returns a fingerprint of the content of a file."""
  return hashlib.blake2b(
    pathlib.Path(path).read_bytes(), digest_size=16
  ).hexdigest()
