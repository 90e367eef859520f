import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.models.language import lora
from support import language_problems as problems

KERNELS = {
  "attention": {"query", "key", "value", "out"},
  "mlp": {"gate", "up", "down"},
}


@pytest.fixture(scope="module")
def params():
  sizes = problems.sizes()
  return problems.init(sizes, problems.batch(sizes))[1]


def test_first_factors_change_nothing(params):
  factors = lora.init(jax.random.key(0), params, 2, (0, 2))
  jax.tree.map(
    np.testing.assert_array_equal, lora.merge(params, factors, 3.0), params
  )


def test_every_kernel_of_the_chosen_layers_changes_by_the_product(params):
  factors = lora.init(jax.random.key(0), params, 2, (1,))
  factors = jax.tree.map(lambda x: x + 0.1, factors)
  merged = lora.merge(params, factors, 3.0)
  assert list(factors) == ["layers_1"]
  changed = set()
  for path, leaf in jax.tree_util.tree_leaves_with_path(merged):
    before, names = params, [key.key for key in path]
    for name in names:
      before = before[name]
    if np.any(leaf != before):
      changed.add(tuple(names))
      part = factors["layers_1"][names[2]][names[3]]
      expected = before + 3.0 * np.asarray(part.a) @ np.asarray(part.b)
      np.testing.assert_allclose(leaf, expected, atol=1e-5)
  assert changed == {
    ("decoder", "layers_1", part, name, "kernel")
    for part, names in KERNELS.items()
    for name in names
  }


def test_factors_have_the_rank_and_differ_between_kernels(params):
  factors = lora.init(jax.random.key(0), params, 2, (0, 1))
  query = factors["layers_0"]["attention"]["query"]
  assert query.a.shape == (16, 2)
  assert query.b.shape == (2, 16)
  others = [
    factors["layers_0"]["attention"]["out"],
    factors["layers_1"]["attention"]["query"],
  ]
  assert all(np.all(query.a != other.a) for other in others)


@pytest.mark.training
def test_only_the_second_factors_have_a_first_gradient(params):
  """Training starts, because the gradient of b is not 0 where b is."""
  sizes = problems.sizes()
  batch = problems.batch(sizes)
  network, _ = problems.init(sizes, batch)
  factors = lora.init(jax.random.key(0), params, 2, (2,))

  @jax.jit
  def gradient(factors):
    def total(factors):
      merged = lora.merge(params, factors, 1.0)
      outputs, _ = network.apply({"params": merged}, batch, None, train=True)
      return jnp.sum(jax.nn.log_softmax(outputs)[..., 5])

    return jax.grad(total)(factors)

  for part in gradient(factors)["layers_2"].values():
    for first, second in part.values():
      assert np.all(first == 0)
      assert np.any(second != 0)


def test_a_layer_that_does_not_exist_is_refused(params):
  with pytest.raises(ValueError, match="layers_3"):
    lora.init(jax.random.key(0), params, 2, (3,))
