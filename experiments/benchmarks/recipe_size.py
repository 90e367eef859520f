"""Computes the size of the multimodal model of a recipe."""

from absl import flags
import jax

from btw_jax.pipeline import build
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from experiments import flags as flags_lib


def num_bytes(path: str, *more_flags: str) -> int:
  """Returns the bytes of a recipe's multimodal model in float32."""
  values = flags.FlagValues()
  flags_lib.define(values)
  values([__name__, f"--flagfile={path}", *more_flags])
  config = flags_lib.read_config(values)
  dataset = run_data.read(config)[0]
  shape = saved_config.DataShape.from_dataset(dataset, 1)
  num_train = len(dataset.splits["train"])
  trainers = build.build_trainers(
    config, shape, config.weighting.names, num_train
  )
  params = build.checkpoint_shapes(trainers, shape, 1)[1].params
  return sum(4 * x.size for x in jax.tree.leaves(params))
