"""Random weights of experts and routed tokens."""

import numpy as np

from btw_jax.models import dispatch


def weights(num_experts, width=5, hidden=7, seed=0):
  """Returns random weights of some experts."""
  rng = np.random.default_rng(seed)
  shapes = (width, hidden), (hidden,), (hidden, width), (width,)
  return dispatch.Weights(
    *(rng.normal(size=(num_experts, *s)).astype("f") for s in shapes)
  )


def tokens(num_tokens, num_experts, k, seed=1, width=5):
  """Returns tokens, their distinct experts and gates."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(num_tokens, width)).astype("f")
  chosen = np.argsort(rng.random((num_tokens, num_experts)))[:, :k]
  gates = rng.dirichlet(np.ones(k), num_tokens).astype("f")
  return x, chosen.astype("i"), gates
