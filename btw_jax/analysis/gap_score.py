"""GapScore: the training examples that could gain most from fusing modalities.

An example scores high if the model is more certain with both sources than with
the better single one, although little of its information is synergy and little
comes through a shortcut, the source that the model could answer by alone.

"Modality interaction in multimodal language models by Partial Information
Decomposition", arXiv 2606.00959.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax.analysis import pid

# The weights of the examples with the highest GapScore, and of shortcuts.
GAP_WEIGHT, SHORTCUT_WEIGHT = 3.0, 0.5
_EPSILON = 1e-8


class GapScore(NamedTuple):
  """The scores of N examples.

  Attributes:
    synergy_ratio: `[N]` SR, the share of synergy in an example's information.
    shortcut: `[N]` SC, the share of the information that only the shortcut's
      source gives.
    fusion_potential: `[N]` FP nats, how much less entropy the pass with both
      has than the better single pass, at least 0.
    gap_score: `[N]` nats, `(1 − SR)(1 − SC) FP`.
  """

  synergy_ratio: chex.Array
  shortcut: chex.Array
  fusion_potential: chex.Array
  gap_score: chex.Array


def score(
  atoms: pid.Decomposition,
  both: chex.Array,
  first: chex.Array,
  second: chex.Array,
) -> GapScore:
  """Scores examples by the atoms of their decisions and by their passes.

  `SR = [s]₊ / (I⁺ + ε)` and `SC = [u2]₊ / (I⁺ + ε)`, where I⁺ is the sum of the
  positive atoms of the example; `FP = [min(H(p1), H(p2)) − H(p12)]₊`. The
  second source is the shortcut, usually the text.

  Args:
    atoms: `[N]` nats each, of `passes.decompose`.
    both: `[N, C]` log-probabilities of the pass with both sources.
    first: `[N, C]`, of the pass with the first source only.
    second: `[N, C]`, of the pass with the second source only.

  Returns:
    The scores.
  """
  positive = [jnp.maximum(atom, 0.0) for atom in atoms[:4]]
  information = sum(positive) + _EPSILON
  _, _, unique2, synergistic = positive
  entropy_both, *entropies = (_entropy(x) for x in (both, first, second))
  potential = jnp.maximum(jnp.minimum(*entropies) - entropy_both, 0.0)
  ratio, shortcut = synergistic / information, unique2 / information
  return GapScore(
    ratio, shortcut, potential, (1 - ratio) * (1 - shortcut) * potential
  )


def training_weights(scores: GapScore, num_top: int) -> np.ndarray:
  """Returns the weight of each example in fine-tuning.

  The `num_top` examples with the highest GapScore count 3; of the others, the
  `num_top` with the highest SC count .5; the rest count 1. Examples with a
  score of 0 are in neither list. Ties go to the earlier example.

  Args:
    scores: of N examples.
    num_top: K.

  Returns:
    `[N]` weights.
  """
  gaps, shortcuts = (np.asarray(x) for x in (scores.gap_score, scores.shortcut))
  weights = np.ones(len(gaps))
  top = _highest(gaps, num_top)
  weights[_highest(np.where(top, 0.0, shortcuts), num_top)] = SHORTCUT_WEIGHT
  weights[top] = GAP_WEIGHT
  return weights


def _highest(values, number):
  """Returns `[N]` bool: the positive values among the highest ones."""
  chosen = np.zeros(len(values), bool)
  chosen[np.argsort(-values, kind="stable")[:number]] = True
  return chosen & (values > 0)


def _entropy(log_probs):
  """Computes the entropy `[...]` of log-probabilities `[..., C]`."""
  safe = jnp.where(jnp.isinf(log_probs), 0.0, log_probs)
  return -jnp.sum(jax.nn.softmax(log_probs, axis=-1) * safe, axis=-1)
