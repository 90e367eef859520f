import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.training import checksums
from support import environment


def _arrays():
  rng = np.random.default_rng(0)
  return {
    "float32": rng.normal(size=(3, 5)).astype(np.float32),
    "float64": rng.normal(size=7),
    "float16": rng.normal(size=(2, 2)).astype(np.float16),
    "int64": rng.integers(-5, 5, (4,)),
    "bool": rng.random((2, 3)) < 0.5,
    "scalar": np.float64(1.5),
    "empty": np.zeros((0, 3)),
    "nested": [np.arange(3, dtype=np.uint8)],
  }


def test_every_flipped_bit_changes_one_checksum():
  before = checksums.of_tree(_arrays())
  assert set(before) == {*_arrays(), "nested/0"} - {"nested"}
  for name in ("float32", "float64", "float16", "int64", "scalar"):
    for bit in range(0, 8 * _arrays()[name].nbytes, 7):
      arrays = _arrays()
      content = np.array(arrays[name]).reshape(-1)
      content.view(np.uint8)[bit // 8] ^= 1 << bit % 8
      arrays[name] = content.reshape(np.shape(arrays[name]))
      assert checksums.differing(before, arrays) == [name]


def test_exchanged_values_change_the_checksum():
  before = checksums.of_tree({"x": np.array([1.0, 2.0, 3.0])})
  assert checksums.differing(before, {"x": np.array([1.0, 3.0, 2.0])}) == ["x"]


def test_arrays_of_jax_have_the_checksums_of_numpy():
  names = ("float32", "float16", "bool")
  arrays = {name: _arrays()[name] for name in names}
  on_device = {name: jnp.asarray(x) for name, x in arrays.items()}
  assert checksums.of_tree(on_device) == checksums.of_tree(arrays)
  assert checksums.of_tree({"k": jax.random.key(3)}) == checksums.of_tree(
    {"k": jax.random.key_data(jax.random.key(3))}
  )


@pytest.mark.training
@pytest.mark.parametrize("name", ["float32", "float16", "bool", "scalar"])
def test_devices_compute_what_the_host_computes(name):
  x = _arrays()[name]
  x = jnp.asarray(x, np.float32 if name == "scalar" else None)
  on_devices = jax.device_get(checksums.sums_on_devices(x))
  np.testing.assert_array_equal(checksums.sums(x), on_devices)


_SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
from btw_jax.training import checksums

x = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
mesh = Mesh(np.array(jax.devices()), ("devices",))
sharded = jax.device_put(x, NamedSharding(mesh, PartitionSpec("devices")))
before = checksums.of_tree([x])
sums = jax.device_get(checksums.sums_on_devices(sharded))
assert np.array_equal(checksums.sums(x), sums)
print(jax.device_count(), checksums.differing(before, [sharded]))
"""


@pytest.mark.training
def test_sharded_arrays_have_the_checksums_of_whole_ones():
  done = environment.run_code(_SHARDED)
  assert done.stdout.split(maxsplit=1) == ["4", "[]\n"], done.stderr
