"""Experts: two-layer perceptrons, each applied to the tokens routed to it.

`dispatch` applies the experts of one device. `exchange` sends tokens between
devices that have different experts.
"""

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp

from btw_jax.models import dispatch as dispatch_lib
from btw_jax.models import exchange

# Largest ratio E / K at which "dense" is preferred. "dense" does E / K times
# the arithmetic and moves no tokens. On CPU it is faster only if every expert
# is chosen; an accelerator has arithmetic to spare.
_MAX_DENSE_RATIO = {"cpu": 1}
_DEFAULT_MAX_DENSE_RATIO = 2


class Experts(nn.Module):
  """The parameters of E experts, and their mixture.

  Attributes:
    num_experts: E.
    hidden_dim: H, number of hidden units of an expert.
    dispatch: see `mixture`.
    axis_name: axis of the devices that the experts are sharded over, or None.
  """

  num_experts: int
  hidden_dim: int
  dispatch: str = "auto"
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self, x: chex.Array, experts: chex.Array, gates: chex.Array
  ) -> chex.Array:
    """Mixes the expert outputs for tokens `[N, D]`; see `mixture`."""
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
  """Computes a sparse mixture of experts, `Σ_k g_nk f_{e_nk}(x_n)`.

  `f_e(x) = relu(x W_e + b_e) V_e + c_e`. Shazeer et al. (2017), "Outrageously
  large neural networks: the sparsely-gated mixture-of-experts layer".

  Args:
    weights: parameters of the E experts.
    x: `[N, D]` tokens.
    experts: `[N, K]` int, chosen experts, 0 to E − 1; E means no expert, whose
      output is 0.
    gates: `[N, K]`, factors of the expert outputs.
    dispatch: a name of `dispatch.DISPATCHES` or "auto", static. It changes the
      speed, not the result or its gradients.
    axis_name: mapped axis of P devices, each with E / P of the experts, in
      order, and its own tokens. None if this device has all experts.

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
      # Each token that arrives from a device was sent to one expert.
      num_selected = 1
    dispatch = fastest_dispatch(
      num_experts, num_selected, jax.default_backend()
    )
  if dispatch not in dispatch_lib.DISPATCHES:
    raise ValueError(
      f"dispatch={dispatch!r}: use one of auto,"
      f" {', '.join(dispatch_lib.DISPATCHES)}."
    )
  local_dispatch = dispatch_lib.DISPATCHES[dispatch]
  if axis_name is None:
    return local_dispatch(*arguments)
  outputs = exchange.apply_experts(
    local_dispatch, weights, x, experts, axis_name
  )
  return jnp.einsum("nkd,nk->nd", outputs, gates)


def fastest_dispatch(num_experts: int, num_selected: int, backend: str) -> str:
  """Returns the name of the faster dispatch for E, K and a JAX backend."""
  ratio = _MAX_DENSE_RATIO.get(backend, _DEFAULT_MAX_DENSE_RATIO)
  return "dense" if num_experts <= ratio * num_selected else "sparse"
