"""Answers of a pretrained model, with all that it sees or some of it masked."""

from collections.abc import Callable, Iterator, Sequence
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import errors
from btw_jax.models.language import masking
from btw_jax.models.pretrained import family
from btw_jax.models.pretrained import layers
from btw_jax.models.pretrained import llama
from btw_jax.models.pretrained import sharding
from btw_jax.models.pretrained import vision_language
from btw_jax.pipeline.language import answers as answers_lib
from btw_jax.pipeline.pretrained import prompts

# The sources of a decision, in the order of the statistics.
VISION, TEXT = 0, 1
# Prompts are padded to a multiple, so that few programs are compiled.
_MULTIPLE = 64


class Ask(NamedTuple):
  """A prompt and its image, which is read when its turn comes.

  Attributes:
    prompt: the tokens.
    num_tiles: I, the number of tiles of the image; 0 without one.
    read: returns the pixels `[I, 3, height, width]`; None without an image.
  """

  prompt: prompts.Prompt
  num_tiles: int = 0
  read: Callable[[], np.ndarray] | None = None


class Scores(NamedTuple):
  """The scores of the options of N questions.

  Attributes:
    log_probs: `[N, K]` nats, −inf past the options of a question.
    mass: `[N]` probability that the letters of the options hold together.
  """

  log_probs: np.ndarray
  mass: np.ndarray


class Batch(NamedTuple):
  """Some questions with equally many tiles.

  Attributes:
    tokens: `[B, T]`, 0 at padding.
    mask: `[B, T]` bool, False for padding.
    is_question: `[B, T]` bool.
    options: `[B, K]` tokens of the letters, 0 past the last one.
    pixels: `[B, I, 3, height, width]` or None.
  """

  tokens: np.ndarray
  mask: np.ndarray
  is_question: np.ndarray
  options: np.ndarray
  pixels: np.ndarray | None


def statistics(
  model: family.Pretrained, asks: Sequence[Ask], batch_size: int
) -> masking.EmbeddingStats:
  """Returns the statistics `[2, D]` of the embeddings of images and questions.

  Args:
    model: a vision-language model.
    asks: questions; at least one has an image.
    batch_size: questions of a batch.
  """
  totals = None
  for rows, batch, _ in _batches(asks, batch_size):
    # The last batch repeats questions, which must not count twice.
    real = np.arange(len(batch.mask)) < len(rows)
    batch = batch._replace(mask=batch.mask & real[:, None])
    sums = _sums(model.config, model.params, batch)
    sums = [np.asarray(x, np.float64) for x in sums]
    if totals is not None:
      sums = [a + b for a, b in zip(totals, sums, strict=True)]
    totals = sums
  count, first, second = totals
  count = np.maximum(count, 1)[:, None]
  mean = first / count
  std = np.sqrt(np.maximum(second / count - mean**2, 0))
  return masking.EmbeddingStats(
    *(jnp.asarray(x, jnp.float32) for x in (mean, std))
  )


def score(
  model: family.Pretrained,
  asks: Sequence[Ask],
  batch_size: int,
  *,
  masked: int | None = None,
  stats: masking.EmbeddingStats | None = None,
  seed: int = 0,
  least_mass: float = answers_lib.LEAST_MASS,
  adapters: layers.Params | None = None,
) -> Scores:
  """Scores the options of questions.

  Args:
    model: a vision-language model.
    asks: N questions.
    batch_size: questions of a batch.
    masked: `VISION` or `TEXT`, the source whose embeddings become noise.
    stats: from `statistics`, what the noise imitates; needed with `masked`.
    seed: draws the noise.
    least_mass: options that together hold less of the probability count as
      equally likely.
    adapters: low-rank changes of the model, from `lora.scaled`.

  Returns:
    The scores.

  Raises:
    InputError: if the model computes values that are not numbers.
  """
  width = max(len(ask.prompt.letters) for ask in asks)
  scores = Scores(np.full((len(asks), width), -np.inf), np.zeros(len(asks)))
  for rows, batch, keys in _batches(asks, batch_size, seed):
    of_batch = _score(
      model.config,
      masked,
      model.params,
      batch,
      stats,
      keys,
      least_mass,
      adapters,
    )
    for array, values in zip(scores, of_batch, strict=True):
      array[rows] = np.asarray(values)[: len(rows)]
  wrong = np.isnan(scores.mass) | np.isnan(scores.log_probs).any(axis=1)
  if wrong.any():
    raise errors.InputError(
      f"{model.folder}: {wrong.sum()} of {len(asks)} answers of the model are"
      " not numbers: use --dtype=float32, or fetch the model again."
    )
  # The devices round to float32, after which the sums are no longer 1.
  total = np.logaddexp.reduce(scores.log_probs, axis=1, keepdims=True)
  return scores._replace(log_probs=scores.log_probs - total)


def score_layers(
  model: family.Pretrained,
  asks: Sequence[Ask],
  batch_size: int,
  *,
  masked: int | None = None,
  stats: masking.EmbeddingStats | None = None,
  seed: int = 0,
) -> np.ndarray:
  """Scores the options before the first layer of the decoder and after each.

  The arguments are those of `score`; no answer counts as undecided, because
  letters are rare before the last layers.

  Returns:
    `[L + 1, N, K]` nats, −inf past the options of a question.
  """
  width = max(len(ask.prompt.letters) for ask in asks)
  number = model.config.text.num_layers + 1
  log_probs = np.full((number, len(asks), width), -np.inf)
  for rows, batch, keys in _batches(asks, batch_size, seed):
    of_batch = _score_layers(
      model.config, masked, model.params, batch, stats, keys
    )
    log_probs[:, rows] = np.asarray(of_batch)[:, : len(rows)]
  return log_probs


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score_layers(config, masked, params, batch, stats, keys):
  """Returns the log-probabilities `[L + 1, B, K]` of a batch."""
  embedded = _masked(config, masked, params, batch, stats, keys)
  logits = answer_logits(params, config, batch, embedded, every_layer=True)
  options = jnp.broadcast_to(batch.options, (len(logits), *batch.options.shape))
  return answers_lib.option_log_probs(logits, options, 0.0)


def _batches(
  asks: Sequence[Ask], batch_size: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, Batch, chex.PRNGKey]]:
  """Yields positions of questions, their batch of few shapes, and `[B]` keys.

  The last questions of a group are repeated until the batch is full. The key of
  a question depends on its position.
  """
  base = jax.random.key(seed)
  tiles = np.array([ask.num_tiles for ask in asks])
  lengths = np.array([len(a.prompt.ids) for a in asks])
  width = max(len(a.prompt.letters) for a in asks)
  for number in np.unique(tiles):
    (members,) = np.nonzero(tiles == number)
    members = members[np.argsort(lengths[members], kind="stable")]
    size = min(batch_size, len(members))
    for start in range(0, len(members), size):
      rows = members[start : start + size]
      filled = np.resize(rows, size)
      batch = stack([asks[row] for row in filled], width)
      keys = jax.vmap(jax.random.fold_in, (None, 0))(base, jnp.asarray(filled))
      yield rows, sharding.spread(batch), keys


def stack(asks: Sequence[Ask], num_options: int) -> Batch:
  """Makes a batch of prompts with equally many tiles.

  Letters are padded to so many options, and tokens to a multiple of 64.
  """
  ids = [ask.prompt.ids for ask in asks]
  longest = -(-max(map(len, ids)) // _MULTIPLE) * _MULTIPLE
  return Batch(
    _pad(ids, longest, np.int32),
    _pad([np.ones(len(one)) for one in ids], longest, bool),
    _pad([ask.prompt.is_question for ask in asks], longest, bool),
    _pad([ask.prompt.letters for ask in asks], num_options, np.int32),
    np.stack([a.read() for a in asks]) if asks[0].num_tiles else None,
  )


def _pad(values: Sequence[Any], width: int, dtype: Any) -> np.ndarray:
  """Returns rows `[B, width]` with zeros past their ends."""
  padded = np.zeros((len(values), width), dtype)
  for row, value in zip(padded, values, strict=True):
    row[: len(value)] = value
  return padded


def owners(config: vision_language.Config, batch: Batch) -> chex.Array:
  """Returns a mask `[2, B, T]` of the tokens of images and of questions."""
  is_image = batch.tokens == config.image_token
  return jnp.stack([is_image, batch.is_question]) & batch.mask


def embed(
  params: layers.Params, config: vision_language.Config, batch: Batch
) -> chex.Array:
  """Returns the embeddings `[B, T, D]` of a batch."""
  images = None
  if batch.pixels is not None:
    images = vision_language.encode_images(params, config, batch.pixels)
  return vision_language.embed(params, config, batch.tokens, images)


def answer_logits(
  params: layers.Params,
  config: vision_language.Config,
  batch: Batch,
  embedded: chex.Array,
  adapters: layers.Params | None = None,
  *,
  every_layer: bool = False,
) -> chex.Array:
  """Returns the logits `[B, V]` of the token after each prompt.

  Args:
    params: of the model.
    config: of the model.
    batch: the prompts.
    embedded: their embeddings `[B, T, D]`, or what stands in their places.
    adapters: low-rank changes, from `lora.scaled`.
    every_layer: whether to return `[L + 1, B, V]`, before the first layer and
      after each ("logit lens").
  """
  text = layers.scope(params, "text")
  hidden = llama.decode(
    text,
    config.text,
    embedded,
    batch.mask,
    states=every_layer,
    adapters=layers.scope(adapters or {}, "text"),
  )
  last = jnp.sum(batch.mask, axis=1) - 1
  hidden = hidden[..., jnp.arange(len(last)), last, :]
  return llama.logits(text, config.text, hidden)


@functools.partial(jax.jit, static_argnums=0)
def _sums(config, params, batch: Batch):
  """Returns counts `[2]`, and sums and sums of squares `[2, D]`."""
  embedded = embed(params, config, batch).astype(jnp.float32)
  owned = owners(config, batch).astype(jnp.float32)
  return (
    jnp.sum(owned, axis=(1, 2)),
    jnp.einsum("mbt,btd->md", owned, embedded),
    jnp.einsum("mbt,btd->md", owned, embedded**2),
  )


def _masked(config, masked, params, batch, stats, keys):
  """Returns the embeddings of a batch, those of a source as noise if asked."""
  embedded = embed(params, config, batch)
  if masked is not None:
    shape = embedded.shape[1:]
    noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
    noise = stats.mean[masked] + stats.std[masked] * noise
    where = owners(config, batch)[masked]
    embedded = jnp.where(
      where[..., None], noise.astype(embedded.dtype), embedded
    )
  return embedded


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(
  config: vision_language.Config,
  masked: int | None,
  params: layers.Params,
  batch: Batch,
  stats: masking.EmbeddingStats | None,
  keys: chex.PRNGKey,
  least_mass: chex.Array,
  adapters: layers.Params | None,
) -> Scores:
  """Returns the scores of a batch."""
  embedded = _masked(config, masked, params, batch, stats, keys)
  logits = answer_logits(params, config, batch, embedded, adapters)
  probs = jnp.take_along_axis(jax.nn.softmax(logits), batch.options, axis=1)
  return Scores(
    answers_lib.option_log_probs(logits, batch.options, least_mass),
    jnp.sum(jnp.where(batch.options > 0, probs, 0.0), axis=1),
  )
