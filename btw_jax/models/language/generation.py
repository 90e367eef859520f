"""Greedy generation of several tokens, with and without a cache."""

import chex
import jax
import jax.numpy as jnp

from btw_jax import types
from btw_jax.models.language import attention
from btw_jax.models.language import decoder as decoder_lib
from btw_jax.models.language import network as network_lib
from btw_jax.models.language import sizes as sizes_lib


def generate(
  network: network_lib.LanguageNetwork,
  params: chex.ArrayTree,
  batch: types.Batch,
  num_tokens: int,
  *,
  cached: bool,
) -> chex.Array:
  """Generates the most likely tokens after each text, one after the other.

  Only words are generated. They are appended behind the padding of a text,
  which changes nothing, so that all texts grow in the same slot.

  Args:
    network: the network, static.
    params: its parameters.
    batch: the questions.
    num_tokens: number of tokens to generate, at least 1, static.
    cached: whether to keep the keys and values of the tokens read, so that each
      step computes one token, not all; static. The tokens are the same.

  Returns:
    `[B, num_tokens]` token ids.
  """
  num_text = network.sizes.num_text
  network, batch = _with_room(network, batch, num_tokens)
  slots = num_text + jnp.arange(num_tokens)
  bound = network.bind({"params": params})
  if not cached:

    def step(batch, slot):
      logits, _ = bound(batch, None, train=False)
      token = _choose(logits[0])
      return _append(batch, slot, token), token

    return jax.lax.scan(step, batch, slots)[1].T

  first, caches = _read_question(bound, batch, num_text)

  def step(state, slot):
    batch, token, caches = state
    batch = _append(batch, slot, token)
    logits, caches = _read_token(bound, batch, token, slot, caches)
    chosen = _choose(logits)
    return (batch, chosen, caches), chosen

  state = batch, _choose(first), caches
  _, later = jax.lax.scan(step, state, slots[:-1])
  return jnp.concatenate([state[1][:, None], later.T], axis=1)


def _with_room(network, batch, num_tokens):
  """Returns the network and the batch for texts with slots to fill."""
  num_text = network.sizes.num_text
  features = batch.features
  missing = max(0, num_text + num_tokens - features.shape[-1])
  features = jnp.pad(features, ((0, 0), (0, 0), (0, missing)))
  features = features.at[:, sizes_lib.TEXT, num_text:].set(sizes_lib.PAD)
  network = network.with_num_text(num_text + num_tokens)
  return network, batch._replace(features=features)


def _read_question(bound, batch, num_text):
  """Returns the logits `[B, V]` after the questions, and the filled caches."""
  sizes = bound.sizes
  layout = bound.layout(batch)
  x = bound.place(bound.encode(batch, train=False), layout, None)
  shape = (
    len(x),
    sizes.num_text,
    sizes.num_kv_heads,
    sizes.embedding_dim // sizes.num_heads,
  )
  empty = attention.Cache(jnp.zeros(shape, x.dtype), jnp.zeros(shape, x.dtype))
  hidden, caches = bound.decoder(
    x[:, :num_text],
    layout.positions[:, :num_text],
    decoder_lib.causal_mask(layout.where, jnp.arange(num_text)),
    layout.answer[:, None],
    (empty,) * sizes.num_layers,
  )
  return bound.logits(hidden[-1, :, 0]), caches


def _read_token(bound, batch, token, slot, caches):
  """Returns the logits `[B, V]` after a token `[B]` of `slot`, and caches."""
  layout = bound.layout(batch)
  hidden, caches = bound.decoder(
    bound.embedding[token][:, None],
    layout.positions[:, slot][:, None],
    decoder_lib.causal_mask(layout.where, slot[None]),
    None,
    caches,
    slot,
  )
  return bound.logits(hidden[-1, :, 0]), caches


def _choose(logits):
  """Returns the most likely word `[B]` by logits `[B, V]`."""
  is_word = jnp.arange(logits.shape[-1]) > sizes_lib.UNKNOWN
  return jnp.argmax(jnp.where(is_word, logits, -jnp.inf), axis=-1)


def _append(batch, slot, token):
  """Writes tokens `[B]` into a slot of the texts."""
  features = batch.features.at[:, sizes_lib.TEXT, slot]
  return batch._replace(features=features.set(token.astype(jnp.float32)))
