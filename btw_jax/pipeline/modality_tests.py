"""Tests of what each modality tells, and of which ones are idle."""

from collections.abc import Mapping, Sequence
import functools
from typing import Any

from absl import logging
import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import chunked
from btw_jax import interventions
from btw_jax import paired
from btw_jax import types
from btw_jax import weighting
from btw_jax.analysis import information_test
from btw_jax.data import batch_source
from btw_jax.data import batching
from btw_jax.data import plans
from btw_jax.mutual_information import knn
from btw_jax.reports import tables
from btw_jax.training import crossfit
from btw_jax.training import trainer as trainer_lib

# A modality whose outputs vary less than this over examples is constant.
_CONSTANT = 1e-6
# The level of the tests, after the correction for all modalities.
LEVEL = 0.05
# Validation examples that the tests use at most, to bound time and memory.
_MAX_EXAMPLES = 4096
# Keeps the draws of donors apart from other draws with a run's seed.
_STREAM = 100


def warn_of_constants(train: types.Split, modalities: Sequence[str]) -> None:
  """Warns of modalities whose model predicts a constant."""
  outputs = np.asarray(train.unimodal)
  spread = np.ptp(outputs, axis=2).max(axis=(0, 2))
  for modality, varies in zip(modalities, spread > _CONSTANT, strict=True):
    if not varies:
      logging.warning(
        "modality %r predicts a constant: it tells nothing; leave it out with"
        " --modalities",
        modality,
      )


def warn_of_ties(train: types.Split, modalities: Sequence[str]) -> None:
  """Warns of modalities whose values, predicted by their model, repeat.

  Examples that lack a modality do not count.
  """
  outputs = np.asarray(train.unimodal)[..., 0]
  present = np.asarray(train.batch.present)
  present = np.broadcast_to(present, (len(outputs), *present.shape[-2:]))
  for m, modality in enumerate(modalities):
    share = max(
      _repeated(values[where])
      for values, where in zip(outputs[:, m], present[..., m], strict=True)
    )
    if share > knn.MAX_TIES:
      logging.warning(
        "modality %r: %.0f %% of its predictions have the value of %d others:"
        " the information of such predictions is estimated by knn.mixture",
        modality,
        100 * share,
        knn.NUM_NEIGHBOURS,
      )


def _repeated(values):
  """Returns the share of the values that occur in enough other examples."""
  _, counts = np.unique(values, return_counts=True)
  return counts[counts > knn.NUM_NEIGHBOURS].sum() / max(len(values), 1)


def measure(
  trainer: trainer_lib.Trainer,
  params: chex.ArrayTree,
  scale: float,
  valid: types.Split,
  ids: Sequence[np.ndarray],
  modalities: Sequence[str],
  seeds: Sequence[int],
  num_exchanges: int,
) -> dict[str, dict[str, Any]]:
  """Tests what each modality tells alone, and what the model loses without it.

  Args:
    trainer: of the multimodal model.
    params: `[S, ...]` parameters of the uniform model.
    scale: its embedding scale.
    valid: the validation split, in memory or on disk. Its unimodal outputs are
      those of `state.CrossFit`, for `crossfit.rows` of it: the loss of a model
      of pure noise at its own best epoch is low by luck.
    ids: `[N]` ids of its examples, one array for all seeds or one per seed.
    modalities: their names.
    seeds: S seeds.
    num_exchanges: number of exchanges of each modality.

  Returns:
    modality -> "alone" (the unimodal model's loss when the modality is
    exchanged), "exchanged" and "absent" (the multimodal model's loss), each
    with `rise` in nats, `error` (None if unknown), `num_examples`, `p_value`
    and `corrected`; and "idle".
  """
  trainer, valid, rows, half = _sample(trainer, valid)
  examples = paired.number_examples([x[rows] for x in ids], len(seeds))
  rises = measure_rises(
    trainer, params, scale, valid, half, seeds, num_exchanges
  )
  tests = {
    "alone": information_test.test(
      rises["alone"], examples, num_exchanges=num_exchanges
    ),
    "exchanged": information_test.test(
      rises["exchanged"], examples, num_exchanges=num_exchanges
    ),
    "absent": information_test.test(rises["absent"], examples),
  }
  # Absence is no evidence: a model that was never trained without a modality
  # may lose from the absence of pure noise.
  is_idle = information_test.idle([tests["alone"], tests["exchanged"]], LEVEL)
  return {
    modality: {
      **{
        name: {f: _number(v[m]) for f, v in test._asdict().items()}
        for name, test in tests.items()
      },
      "idle": bool(is_idle[m]),
    }
    for m, modality in enumerate(modalities)
  }


def measure_rises(
  trainer: trainer_lib.Trainer,
  params: chex.ArrayTree,
  scale: float,
  valid: types.Split,
  half: np.ndarray,
  seeds: Sequence[int],
  num_exchanges: int,
) -> dict[str, information_test.Rise]:
  """Measures the rises of `measure`, for examples that are all in memory.

  `half` is `[N]`, the half of `crossfit` that each example belongs to. Returns
  "alone", "exchanged" and "absent" -> rises `[S, M, N]`, by one program.
  """
  per_seed = valid.batch.present.ndim == 3
  present = np.asarray(valid.batch.present)
  present = np.broadcast_to(present, (len(seeds), *present.shape[-2:]))
  donors = np.array(
    [
      [
        information_test.draw_donors(
          np.random.default_rng((seed, m, _STREAM)),
          of_modality,
          num_exchanges,
          half,
        )
        for m, of_modality in enumerate(of_seed.T)
      ]
      for seed, of_seed in zip(seeds, present, strict=True)
    ]
  )
  compute = functools.partial(_losses, trainer, per_seed=per_seed)
  losses = jax.device_get(jax.jit(compute)(params, scale, valid, donors))
  present = np.swapaxes(present, 1, 2)
  has_others = present.sum(axis=1, keepdims=True) > 1
  # An example without another one to exchange with shows nothing.
  exchanges = np.any(donors != np.arange(donors.shape[-1]), axis=-2)
  rises = {
    name: information_test.exchange_rise(
      losses[..., 0, which, :], losses[..., 2:, which, :], donors, exchanges
    )
    for which, name in enumerate(("alone", "exchanged"))
  }
  rises["absent"] = information_test.absence_rise(
    losses[..., 0, 1, :], losses[..., 1, 1, :], present & has_others
  )
  return rises


def log(tested: Mapping[str, Mapping[str, Any]]) -> None:
  """Logs a line on each modality: what it tells alone, and with the others."""
  if tested:
    logging.info(
      "tests on validation: the rise of the loss when a modality is exchanged"
      " between examples, of its own model and of the multimodal model"
    )
  for modality, tests in tested.items():
    logging.info("modality %r: %s", modality, describe(tests))
  if tested and all(tests["idle"] for tests in tested.values()):
    logging.warning(
      "no modality tells anything on validation, so the gate closes none: check"
      " the targets, or give more validation examples"
    )


def describe(tests: Mapping[str, Any]) -> str:
  """Says what a modality tells, from its entry in what `measure` returns."""
  few = min(tests[name]["num_examples"] for name in ("alone", "exchanged"))
  if few < information_test.MIN_EXAMPLES:
    return (
      f"not tested: {tables.quantity(few, 'validation example')} can exchange"
      f" it, {information_test.MIN_EXAMPLES} are needed"
    )
  alone, together = (
    f"{tests[name]['rise']:.3f} nats, {tables.p_text(tests[name]['corrected'])}"
    for name in ("alone", "exchanged")
  )
  tells, needed = (
    tests[name]["corrected"] < LEVEL for name in ("alone", "exchanged")
  )
  if tells and needed:
    return (
      f"tells something alone ({alone}), and the model needs it: {together}"
    )
  if tells:
    return (
      f"tells something alone ({alone}), but the model does not need it:"
      f" {together}"
    )
  if needed:
    return (
      f"tells nothing alone ({alone}), but the model needs it together with"
      f" others: {together}"
    )
  return (
    f"idle: tells nothing alone ({alone}), and the model does not need it:"
    f" {together}"
  )


def _number(value):
  """Returns a number as JSON holds it; None for infinity."""
  return value.item() if np.isfinite(value) else None


def is_open(tested: Mapping[str, Mapping[str, Any]]) -> tuple[bool, ...]:
  """Returns for each modality whether the gate leaves it open.

  The gate closes idle modalities; if all are idle, it closes none.
  """
  opened = tuple(not tests["idle"] for tests in tested.values())
  return opened if any(opened) else (True,) * len(opened)


def _sample(trainer, valid):
  """Returns at most `_MAX_EXAMPLES` examples, all in memory.

  The result is the trainer for their sequences, the split, and the rows and the
  halves of the examples.
  """
  rows = crossfit.rows(valid.batch.present.shape[-2])
  places = np.arange(len(rows))
  if len(rows) > _MAX_EXAMPLES:
    places = np.linspace(0, len(rows) - 1, _MAX_EXAMPLES).astype(int)
  rows = rows[places]
  unimodal = jnp.asarray(valid.unimodal)[:, :, places]
  if valid.batch.on_disk:
    batches = valid.batch
    last = len(batches.buckets.num_steps) - 1
    batch = batches.batch(
      plans.PlannedBatch(last, rows[:, None], rows[:, None])
    )
    # The buffers of a batch from disk are used again.
    batch = jax.tree.map(np.copy, batch)
    trainer = trainer.with_num_steps(batch_source.num_steps(batches, last))
  else:
    batch = batching.take(valid.batch, rows)
  split = types.Split(batch, unimodal)
  return trainer, split, rows, crossfit.half(places)


def _losses(trainer, params, scale, valid, donors, *, per_seed):
  """Computes all losses, −log p(target) in nats, `[S, M, 2 + K, 2, N]`.

  The first one is that of the examples as they are, the second one that without
  the modality, the others those with the modality of K donors `[S, M, K, N]`.
  Each is that of the modality's own model, and that of the multimodal model.
  """

  def of_seed(params, batch, unimodal, donors):
    changed_losses = _model(trainer, params, scale, batch, unimodal)
    numbers = jnp.arange(donors.shape[-1])
    unchanged = jnp.broadcast_to(numbers, (len(donors), 2, len(numbers)))
    donors = jnp.concatenate([unchanged, donors], axis=1)
    is_absent = jnp.arange(donors.shape[1]) == 1

    # One loop over all modalities and changes compiles faster than two.
    m, change = jnp.indices(donors.shape[:2])
    changes = (m, donors, is_absent[change])
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), changes)
    losses = jax.lax.map(lambda args: changed_losses(*args), flat)
    return losses.reshape(*donors.shape[:2], *losses.shape[1:])

  axes = (0, 0 if per_seed else None, 0, 0)
  return jax.vmap(of_seed, axes)(params, valid.batch, valid.unimodal, donors)


def _model(trainer, params, scale, batch, unimodal):
  """Returns a function that computes the losses of one seed's models.

  It takes a modality m, the donors `[N]` of its values and whether it is
  absent, and returns `[2, N]`.
  """
  network, task = trainer.network, trainer.task
  apply = functools.partial(network.apply, {"params": params}, train=False)
  # Encoded once: exchanges take place between embeddings.
  embeddings = chunked.map_chunks(
    functools.partial(apply, method="encode"),
    batch._replace(target=None),
    trainer.predict_chunk_size,
  )
  tokens = jnp.asarray(network.token_modalities)
  modalities = jnp.arange(batch.present.shape[1])
  numbers = jnp.arange(batch.present.shape[0])

  def fuse(examples):
    embeddings, batch = examples
    even = weighting.uniform(batch.present)
    multipliers = weighting.multipliers(even, batch.present, scale=scale)
    outputs, _ = apply(embeddings, batch, multipliers, method="fuse")
    return outputs[0]

  def losses(m, donors, is_absent):
    rows = jnp.where(modalities == m, donors[:, None], numbers[:, None])
    changed = interventions.recombine(batch, rows, network.sizes.groups)
    gone = is_absent & (modalities == m)
    changed = changed._replace(present=changed.present & ~gone)
    is_changed = (tokens == m)[:, None]
    outputs = chunked.map_chunks(
      fuse,
      (jnp.where(is_changed, embeddings[donors], embeddings), changed),
      trainer.predict_chunk_size,
    )
    return jnp.stack(
      [task.nll(x, batch.target) for x in (unimodal[m][donors], outputs)]
    )

  return losses
