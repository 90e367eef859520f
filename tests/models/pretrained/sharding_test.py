import os
import subprocess
import sys

import jax
import pytest

from btw_jax.models.pretrained import sharding
from support import environment

# Answers with sharded and with whole parameters on four simulated devices.
_CODE = """
import jax, numpy as np
from btw_jax.models.pretrained import catalog, lora, sharding, vision_language
from btw_jax.pipeline.pretrained import answers, pairs
from btw_jax.pipeline.pretrained import finetune_step as step
from support import golden

assert jax.device_count() == 4
mesh = sharding.make_mesh(jax.devices())
arrays = golden.arrays("llava")
inputs = (
  arrays["input_ids"], arrays["attention_mask"], arrays["pixel_values"][:, None]
)
logits = jax.jit(vision_language.logits, static_argnums=1)
whole = catalog.load(golden.ROOT / "llava")
spread = catalog.load(golden.ROOT / "llava", place=sharding.placement(mesh))
held = sum(x.addressable_shards[0].data.nbytes for x in spread.params.values())
total = sum(x.nbytes for x in whole.params.values())
assert held < 0.3 * total, (held, total)
ours = logits(spread.params, spread.config, *inputs)
expected = logits(whole.params, whole.config, *inputs)
where = inputs[1] > 0
np.testing.assert_allclose(
  np.asarray(ours)[where], np.asarray(expected)[where], atol=1e-5
)

def loss(params, config, *inputs):
  return vision_language.logits(params, config, *inputs)[..., 0].mean()

grad = jax.jit(jax.grad(loss), static_argnums=1)
ours = grad(spread.params, spread.config, *inputs)
expected = grad(whole.params, whole.config, *inputs)
for name, x in expected.items():
  np.testing.assert_allclose(np.asarray(ours[name]), x, atol=1e-5)

# Adapters, with a batch that is spread over the same devices.
size = lora.Lora(rank=2, share=0.5)
adapters = jax.tree.map(
  lambda x: x + 0.05, lora.init(jax.random.key(0), whole.params, size)
)
batch = pairs.Batch(
  *[answers.Batch(
    np.repeat(inputs[0][:1], 4, 0), np.repeat(where[:1], 4, 0),
    np.repeat(where[:1], 4, 0), np.tile([[5, 6, 7]], (4, 1)),
    np.repeat(inputs[2][:1], 4, 0),
  )] * 2, np.array([0, 1, 2, 0]), np.array([1, 1, 0.5, 2], np.float32),
)
objective = step.Objective(size, ("heuristic", "adversarial", "consistency"))
grad = jax.jit(step.gradients, static_argnums=(0, 1))
ours, expected = (
  grad(objective, model.config, adapters, model.params, of, jax.random.key(1))
  for model, of in ((spread, sharding.spread(batch)), (whole, batch))
)
assert len(sharding.spread(batch).label.addressable_shards) == 4
for a, b in zip(
  jax.tree.leaves(ours[0]), jax.tree.leaves(expected[0]), strict=True
):
  assert np.any(b)
  np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_sharded_parameters_give_the_same_logits_and_gradients():
  flags = "--xla_force_host_platform_device_count=4"
  path = os.pathsep.join(
    [str(environment.ROOT), str(environment.ROOT / "tests")]
  )
  variables = environment.of_child()
  done = subprocess.run(
    [sys.executable, "-c", _CODE],
    env=variables | {"XLA_FLAGS": flags, "PYTHONPATH": path},
    cwd=environment.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  ("name", "shape", "expected"),
  [
    ("embed.weight", (96, 32), (sharding.AXIS, None)),
    ("embed.weight", (97, 32), (None, sharding.AXIS)),
    ("embed.weight", (97, 33), ()),
    ("layers.*.weight", (4, 32, 48), (None, None, sharding.AXIS)),
    ("layers.*.weight", (4, 33, 49), ()),
    ("layers.*.bias", (400, 32), (None, sharding.AXIS)),
  ],
)
def test_parameters_are_split_along_their_longest_axis(name, shape, expected):
  spec = sharding.spec(name, shape, 4)
  assert spec == jax.sharding.PartitionSpec(*expected)
