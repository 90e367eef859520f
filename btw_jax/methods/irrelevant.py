"""Questions with an irrelevant modality replaced, as a view of a batch.

Cai et al. (2025), "Diagnosing and mitigating modality interference in
multimodal large language models", arXiv 2505.19616: which modality is
irrelevant is a property of the question. An irrelevant text gets a misleading
statement or an unrelated fact; an irrelevant image or sound becomes noise,
black, white, or that of another question. Questions that need all that they
show stay as they are.
"""

import dataclasses
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import forward as forward_lib
from btw_jax import types
from btw_jax.data.questions import statements as statements_lib
from btw_jax.data.questions import vocabulary

TEXT, IMAGE, AUDIO = 0, 1, 2
TEXT_KINDS = ("misleading", "facts")
SIGNAL_KINDS = ("noise", "black", "white", "other")
KINDS = (*TEXT_KINDS, *SIGNAL_KINDS)


@dataclasses.dataclass(frozen=True)
class IrrelevantReplaced:
  """A copy of a batch of questions with an irrelevant modality replaced.

  Every step draws one irrelevant modality of each question, and what replaces
  it. Implements `mitigation.View`.

  Attributes:
    statements: those that a text may get.
  """

  statements: statements_lib.Statements
  num_views: ClassVar[int] = 1

  def __call__(
    self,
    forward: forward_lib.Forward,
    embeddings: chex.Array,
    key: chex.PRNGKey,
  ) -> tuple[chex.Array, types.Batch]:
    """Returns outputs `[1, B, V]` for the copy, and the copy.

    `embeddings` are not used, because the copy needs new ones. `key` is the
    same on all devices.
    """
    del embeddings
    batch = forward.batch
    by_kind, by_value = jax.random.split(key)
    kinds = draw_kinds(by_kind, batch, forward.axis_name)
    copy = perturb(by_value, batch, kinds, self.statements, forward.axis_name)
    outputs, _ = forward.fuse(forward.encode(copy), copy, forward.multipliers)
    return outputs, copy


def draw_kinds(
  key: chex.PRNGKey,
  batch: types.Batch,
  axis_name: str | tuple[str, str] | None = None,
) -> chex.Array:
  """Draws a position in `KINDS` for each question `[B]`.

  It is -1 for a question that has no irrelevant modality.
  """
  irrelevant = batch.present & ~batch.relevant
  signal = jnp.any(irrelevant[:, IMAGE:], axis=-1)
  by_modality = jnp.stack([irrelevant[:, TEXT], signal], axis=-1)
  # Half of the copies of a question change its text, if both may change.
  sizes = np.array([len(TEXT_KINDS), len(SIGNAL_KINDS)])
  of_modality = np.repeat([0, 1], sizes)
  shares = 1 / sizes[of_modality]
  logits = jnp.where(by_modality[:, of_modality], np.log(shares), -jnp.inf)
  keys = types.keys(key, len(logits), axis_name)
  kinds = jax.vmap(jax.random.categorical)(keys, logits)
  return jnp.where(jnp.any(irrelevant, axis=-1), kinds, -1)


def perturb(
  key: chex.PRNGKey,
  batch: types.Batch,
  kinds: chex.Array,
  statements: statements_lib.Statements,
  axis_name: str | tuple[str, str] | None = None,
) -> types.Batch:
  """Perturbs each question in the given way, if that modality is irrelevant.

  Args:
    key: the same on all devices.
    batch: the questions; `relevant` must be known.
    kinds: `[B]` positions in `KINDS`; -1 leaves a question as it is.
    statements: those of the world.
    axis_name: mapped axes over which the questions are sharded, or None.

  Returns:
    The perturbed questions.
  """
  by_text, by_signal = jax.random.split(key)
  irrelevant = batch.present & ~batch.relevant
  tokens = _with_statement(by_text, batch, kinds, statements, axis_name)
  text = jnp.where(irrelevant[:, TEXT, None], tokens, batch.features[:, TEXT])
  features = batch.features.at[:, TEXT].set(text)
  image = _signal(by_signal, features[:, IMAGE], kinds, axis_name)
  image = jnp.where(irrelevant[:, IMAGE, None], image, features[:, IMAGE])
  batch = batch._replace(features=features.at[:, IMAGE].set(image))
  if not batch.sequences:
    return batch
  (steps,) = batch.sequences
  flat = steps.values.reshape(len(kinds), -1)
  sound = _signal(jax.random.fold_in(by_signal, AUDIO), flat, kinds, axis_name)
  sound = jnp.where(irrelevant[:, AUDIO, None], sound, flat)
  steps = steps._replace(values=sound.reshape(steps.values.shape))
  return batch._replace(sequences=(steps,))


def _with_statement(key, batch, kinds, statements, axis_name):
  """Returns text rows `[B, D]` with a statement of each question's kind."""
  text = jnp.asarray(batch.features[:, TEXT])
  num_wordings = statements.misleading.shape[1]
  keys = types.keys(key, len(text), axis_name)
  # The statements may be NumPy arrays, which no traced number can index.
  statements = jax.tree.map(jnp.asarray, statements)

  def draw(key, target):
    by_answer, by_wording, by_fact = jax.random.split(key, 3)
    is_right = statements.answers == target
    family = jnp.sum(jnp.where(is_right, statements.families, 0))
    is_wrong = ~is_right & (statements.families == family)
    answer = jax.random.categorical(
      by_answer, jnp.where(is_wrong, 0.0, -jnp.inf)
    )
    wording = jax.random.randint(by_wording, (), 0, num_wordings)
    fact = jax.random.randint(by_fact, (), 0, len(statements.facts))
    return statements.misleading[answer, wording], statements.facts[fact]

  misleading, fact = jax.vmap(draw)(keys, batch.target)
  statement = jnp.where(
    (kinds == KINDS.index("misleading"))[:, None], misleading, fact
  )
  is_text_kind = (kinds >= 0) & (kinds < len(TEXT_KINDS))
  return jnp.where(
    is_text_kind[:, None], jax.vmap(_insert)(text, statement), text
  )


def _insert(text, statement):
  """Puts a statement `[S]` between the placeholders and the question.

  The question moves to the right, where a text `[D]` has room.
  """
  length, places = len(statement), jnp.arange(len(text))
  is_placeholder = (text > vocabulary.PAD) & (text < vocabulary.UNKNOWN)
  start = jnp.sum(is_placeholder)
  inserted = jnp.where(
    places < start + length,
    statement[jnp.clip(places - start, 0, length - 1)],
    text[jnp.maximum(places - length, 0)],
  )
  return jnp.where(places < start, text, inserted)


def _signal(key, values, kinds, axis_name):
  """Returns signals `[B, D]`, replaced by each question's kind."""
  keys = types.keys(key, len(values), axis_name)
  noise = jax.vmap(lambda k: jax.random.uniform(k, values.shape[1:]))(keys)
  other = jnp.roll(values, 1, axis=0)
  choices = {
    "noise": noise,
    "black": jnp.zeros_like(values),
    "white": jnp.ones_like(values),
    "other": other,
  }
  return jnp.select(
    [(kinds == KINDS.index(k))[:, None] for k in SIGNAL_KINDS],
    [choices[k] for k in SIGNAL_KINDS],
    values,
  )
