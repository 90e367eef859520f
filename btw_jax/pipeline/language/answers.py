"""Answers of trained language models, with all modalities or some masked."""

from collections.abc import Sequence
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import chunked
from btw_jax import types
from btw_jax.data.questions import question_set
from btw_jax.data.questions import vocabulary
from btw_jax.models.language import masking
from btw_jax.models.language import network as network_lib

# Options that hold less of the probability count as equally likely: the model
# then means to say something else. arXiv 2606.00959.
LEAST_MASS = 0.3
# Questions that are answered in one chunk.
_CHUNK_SIZE = 256


def statistics(
  network: network_lib.LanguageNetwork,
  params: chex.ArrayTree,
  questions: question_set.QuestionSet,
) -> masking.EmbeddingStats:
  """Returns the statistics `[S, M, D]` of the embeddings of questions.

  Args:
    network: the network.
    params: `[S, ...]`.
    questions: the profiling set.
  """
  return _statistics(network, params, _answerable(questions.to_batch()))


def log_probs(
  network: network_lib.LanguageNetwork,
  params: chex.ArrayTree,
  questions: question_set.QuestionSet,
  *,
  batch: types.Batch | None = None,
  masked: Sequence[int] = (),
  stats: masking.EmbeddingStats | None = None,
  seed: int = 0,
  layers: bool = False,
) -> np.ndarray:
  """Computes the log-probabilities of the options of questions.

  Args:
    network: the network.
    params: `[S, ...]`.
    questions: N of them.
    batch: what the models see in place of the questions, for example perturbed
      ones.
    masked: positions of the modalities to mask in all questions.
    stats: `[S, M, D]`, what the noise in their place imitates; needed with
      `masked`.
    seed: draws the noise.
    layers: whether to answer after every layer of the decoder.

  Returns:
    `[S, N, K]`, or `[S, N, L + 1, K]` with `layers`; −inf past the options of a
    question.
  """
  batch = _answerable(questions.to_batch() if batch is None else batch)
  keys = jax.random.split(jax.random.key(seed), len(batch.present))
  return np.asarray(
    _log_probs(
      network,
      tuple(masked),
      layers,
      params,
      stats if masked else None,
      (batch, jnp.asarray(questions.options), keys),
    )
  )


def option_log_probs(
  logits: chex.Array, options: chex.Array, least_mass: float = LEAST_MASS
) -> chex.Array:
  """Returns the log-probabilities of options among themselves.

  Args:
    logits: `[..., V]` of the next token.
    options: `[..., K]` token ids, `vocabulary.PAD` past the last option.
    least_mass: options that together hold less of the probability than this get
      equal probabilities.

  Returns:
    `[..., K]`, −inf past the last option.
  """
  offered = options != vocabulary.PAD
  chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), options, axis=-1)
  chosen = jnp.where(offered, chosen, -jnp.inf)
  mass = jnp.sum(jnp.exp(chosen), axis=-1, keepdims=True)
  even = jnp.where(offered, 0.0, -jnp.inf)
  return jax.nn.log_softmax(jnp.where(mass < least_mass, even, chosen), axis=-1)


def _answerable(batch):
  """Returns a batch without what only training needs."""
  return batch._replace(target=None, relevant=None)


def _apply(network, params, *args, method):
  return network.apply({"params": params}, *args, train=False, method=method)


@functools.partial(jax.jit, static_argnums=0)
def _statistics(network, params, batch):
  def of_model(params):
    return masking.statistics(
      _apply(network, params, batch, method="encode"),
      network.token_mask(batch),
      network.token_modalities,
      batch.present.shape[1],
    )

  return jax.lax.map(of_model, params)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _log_probs(network, masked, layers, params, stats, examples):
  """Answers the examples with one model after another."""

  def of_chunk(params, stats, batch: types.Batch, options, keys):
    embeddings = _apply(network, params, batch, method="encode")
    if masked:
      hidden = np.isin(np.arange(batch.present.shape[1]), masked)
      embeddings = masking.mask(
        keys,
        embeddings,
        stats,
        network.token_modalities,
        batch.present & hidden,
      )
    arguments = (network, params, embeddings, batch, None)
    if not layers:
      logits, _ = _apply(*arguments, method="fuse")
      return option_log_probs(logits[0], options)
    logits = jnp.swapaxes(_apply(*arguments, method="layer_logits"), 0, 1)
    shape = (*logits.shape[:-1], options.shape[-1])
    return option_log_probs(logits, jnp.broadcast_to(options[:, None], shape))

  def of_model(params, stats):
    return chunked.map_chunks(
      lambda chunk: of_chunk(params, stats, *chunk), examples, _CHUNK_SIZE
    )

  return jax.lax.map(lambda model: of_model(*model), (params, stats))
