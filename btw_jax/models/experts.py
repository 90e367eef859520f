"""Experts: two-layer perceptrons, each of which answers the tokens sent to it.

How tokens reach those of a device is `dispatch`; how they travel where each
device has some of the experts is `exchange`.
"""

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax.models import dispatch as dispatch_lib
from btw_jax.models import exchange

# "dense" does E / K times the arithmetic and moves no tokens. On CPU it gains
# from nothing but every expert being chosen; an accelerator has arithmetic to
# spare.
_DENSE_UP_TO = {"cpu": 1}
_DENSE_UP_TO_ELSEWHERE = 2


class Experts(nn.Module):
  """E experts and their parameters.

  Attributes:
    num_experts: E.
    hidden_dim: H, hidden units of each.
    dispatch: see `mixture`.
    axis_name: of devices that have a part of the experts each, or None.
  """

  num_experts: int
  hidden_dim: int
  dispatch: str = "auto"
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: chex.Array, experts: chex.Array, gates: chex.Array
  ) -> chex.Array:
    """Mixes the answers to tokens `[N, D]`, see `mixture`."""
    size, inner, width = self.num_experts, self.hidden_dim, x.shape[-1]
    if self.axis_name is not None:
      size //= jax.lax.axis_size(self.axis_name)
    kernel_init = nn.initializers.lecun_normal(batch_axis=0)
    zeros = nn.initializers.zeros
    weights = dispatch_lib.Weights(
      self.param("hidden_kernel", kernel_init, (size, width, inner)),
      self.param("hidden_bias", zeros, (size, inner)),
      self.param("output_kernel", kernel_init, (size, inner, width)),
      self.param("output_bias", zeros, (size, width)),
    )
    return mixture(
      weights,
      x,
      experts,
      gates,
      dispatch=self.dispatch,
      axis_name=self.axis_name,
    )


def mixture(
  weights: dispatch_lib.Weights,
  x: chex.Array,
  experts: chex.Array,
  gates: chex.Array,
  *,
  dispatch: str = "auto",
  axis_name: str | None = None,
) -> chex.Array:
  """What the chosen experts make of each token, `Σ_k g_nk f_{e_nk}(x_n)`.

  `f_e(x) = relu(x W_e + b_e) V_e + c_e`. Shazeer et al. (2017), "Outrageously
  large neural networks: the sparsely-gated mixture-of-experts layer".

  Args:
    weights: of E experts.
    x: `[N, D]` tokens.
    experts: `[N, K]` int, whom each token is sent to, 0 to E − 1; E is nobody.
    gates: `[N, K]`, what each answer counts; that of nobody counts 0.
    dispatch: a name of `dispatch.DISPATCHES` or "auto", static: one result,
      with the same gradients, by another way.
    axis_name: of a mapped axis whose P devices have E / P of the experts each,
      in order, and tokens of their own; all are at hand by default.

  Returns:
    `[N, D]`.

  Raises:
    ValueError: if `dispatch` is unknown.
  """
  arguments = jax.tree.map(jnp.asarray, (weights, x, experts, gates))
  weights, x, experts, gates = arguments
  num_experts, num_selected = weights.hidden_bias.shape[0], gates.shape[-1]
  if dispatch == "auto":
    if axis_name is not None:
      # What arrives has been chosen by one.
      num_selected = 1
    dispatch = fastest(num_experts, num_selected, jax.default_backend())
  if dispatch not in dispatch_lib.DISPATCHES:
    raise ValueError(
      f"dispatch={dispatch!r}: use one of auto,"
      f" {', '.join(dispatch_lib.DISPATCHES)}."
    )
  answer = dispatch_lib.DISPATCHES[dispatch]
  if axis_name is None:
    return answer(*arguments)
  found = exchange.answers(answer, weights, x, experts, axis_name)
  return jnp.einsum("nkd,nk->nd", found, gates)


def fastest(num_experts: int, num_selected: int, backend: str) -> str:
  """The dispatch to prefer.

  Args:
    num_experts: E.
    num_selected: K.
    backend: name of JAX's backend.

  Returns:
    A name of `dispatch.DISPATCHES`.
  """
  factor = _DENSE_UP_TO.get(backend, _DENSE_UP_TO_ELSEWHERE)
  return "dense" if num_experts <= factor * num_selected else "sparse"
