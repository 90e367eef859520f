import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models import dispatch as dispatch_lib
from btw_jax.models import experts as experts_lib
from support import oracles
from support import routing

WAYS = tuple(dispatch_lib.DISPATCHES)


def _uneven(case, num_tokens=60, num_experts=5, k=2):
  """Returns tokens with an unbalanced routing."""
  x, chosen, gates = routing.tokens(num_tokens, num_experts, k)
  if case == "one expert gets all":
    chosen[:, 0] = 3
    chosen[:, 1] = num_experts
  elif case == "two share all":
    chosen[:] = (4, 0)
  elif case == "some tokens go to nobody":
    chosen[::3] = num_experts
  elif case == "all tokens go to nobody":
    chosen[:] = num_experts
  return x, chosen, gates * (chosen < num_experts)


CASES = (
  "balanced", "one expert gets all", "two share all",
  "some tokens go to nobody", "all tokens go to nobody",
)  # fmt: skip


@pytest.mark.parametrize("dispatch", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_the_mixture_equals_a_loop_over_tokens_and_experts(case, dispatch):
  weights, tokens = routing.weights(5), _uneven(case)
  actual = jax.jit(functools.partial(experts_lib.mixture, dispatch=dispatch))(
    weights, *tokens
  )
  expected = oracles.mixture(weights, *tokens)
  np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.training
@pytest.mark.parametrize(
  ("num_tokens", "num_experts", "k"),
  [(1, 1, 1), (1, 4, 2), (3, 16, 2), (7, 3, 3), (500, 2, 1), (200, 64, 4)],
)
def test_both_ways_agree_at_every_size(num_tokens, num_experts, k):
  weights = routing.weights(num_experts)
  tokens = routing.tokens(num_tokens, num_experts, k)
  dense, sparse = (
    experts_lib.mixture(weights, *tokens, dispatch=d) for d in WAYS
  )
  np.testing.assert_allclose(dense, sparse, atol=1e-5, rtol=1e-5)


def _gradients(dispatch, weights, x, chosen, gates):
  def total(weights, x, gates):
    out = experts_lib.mixture(weights, x, chosen, gates, dispatch=dispatch)
    return jnp.sum(jnp.sin(out))

  return jax.jit(jax.grad(total, argnums=(0, 1, 2)))(weights, x, gates)


@pytest.mark.training
@pytest.mark.parametrize("case", CASES)
def test_both_ways_have_the_same_gradients(case):
  """Some experts get no token or far more than the mean."""
  weights, tokens = routing.weights(5), _uneven(case)
  dense, sparse = (_gradients(d, weights, *tokens) for d in WAYS)
  for a, b in zip(jax.tree.leaves(dense), jax.tree.leaves(sparse), strict=True):
    assert np.all(np.isfinite(b))
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)
  idle = np.setdiff1d(np.arange(5), tokens[1])
  for gradient in sparse[0]:
    np.testing.assert_array_equal(gradient[idle], 0.0)


@pytest.mark.training
@pytest.mark.parametrize("case", CASES)
def test_runs_of_a_program_mix_as_if_alone(case):
  """Runs may share weights or tokens; values and gradients agree."""
  runs = [(routing.weights(5, seed=s), _uneven(case)) for s in range(3)]
  stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
  together = jax.vmap(functools.partial(_gradients, "sparse"))(
    stacked[0], *stacked[1]
  )
  weights_shared = jax.vmap(
    functools.partial(_gradients, "sparse"), (None, 0, 0, 0)
  )(runs[0][0], *stacked[1])
  tokens_shared = jax.vmap(
    functools.partial(_gradients, "sparse"), (0, None, None, None)
  )(stacked[0], *runs[0][1])
  for s, (weights, tokens) in enumerate(runs):
    alone = _gradients("dense", weights, *tokens)
    with_first_weights = _gradients("dense", runs[0][0], *tokens)
    with_first_tokens = _gradients("dense", weights, *runs[0][1])
    for actual, expected in (
      (together, alone), (weights_shared, with_first_weights),
      (tokens_shared, with_first_tokens),
    ):  # fmt: skip
      for a, b in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
      ):
        np.testing.assert_allclose(a[s], b, atol=2e-5, rtol=1e-5)


@pytest.mark.training
def test_one_expert_chosen_alone_is_a_plain_mlp():
  class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
      return nn.Dense(5, name="output")(nn.relu(nn.Dense(7, name="hidden")(x)))

  weights = routing.weights(1)
  x, chosen, gates = routing.tokens(9, 1, 1)
  layers = {
    "hidden": {"kernel": weights[0][0], "bias": weights[1][0]},
    "output": {"kernel": weights[2][0], "bias": weights[3][0]},
  }
  expected = Plain().apply({"params": layers}, x)
  for dispatch in WAYS:
    actual = experts_lib.mixture(weights, x, chosen, gates, dispatch=dispatch)
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.training
def test_experts_start_as_dense_layers_do():
  layer = experts_lib.Experts(num_experts=3, hidden_dim=900)
  x, chosen, gates = routing.tokens(2, 3, 1, width=400)
  params = layer.init(jax.random.key(0), x, chosen, gates)["params"]
  for kernel, fan_in in (("hidden_kernel", 400), ("output_kernel", 900)):
    for of_expert in np.asarray(params[kernel]):
      np.testing.assert_allclose(of_expert.std(), fan_in**-0.5, rtol=0.02)
  assert np.any(params["hidden_kernel"][0] != params["hidden_kernel"][1])


def test_the_way_follows_size_and_backend():
  assert experts_lib.fastest_dispatch(2, 2, "cpu") == "dense"
  assert experts_lib.fastest_dispatch(4, 2, "cpu") == "sparse"
  assert experts_lib.fastest_dispatch(4, 2, "gpu") == "dense"
  assert experts_lib.fastest_dispatch(16, 2, "tpu") == "sparse"
  with pytest.raises(ValueError, match=r"dispatch='ragged': use one of auto"):
    experts_lib.mixture(
      routing.weights(2), *routing.tokens(3, 2, 1), dispatch="ragged"
    )
