"""From a configuration and a data set's shape to what trains and predicts."""

from collections.abc import Sequence
import dataclasses

from absl import logging
import jax
import jax.numpy as jnp
import optax

from btw_jax import errors
from btw_jax import tasks
from btw_jax import types
from btw_jax.analysis import importance
from btw_jax.data import batching
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import scaling
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.parallel import device_map
from btw_jax.pipeline import config as config_lib
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import weighting_rule


@dataclasses.dataclass(frozen=True)
class Shape:
  """What a model must know of a data set.

  Attributes:
    modalities: names, in order.
    widths: features of each.
    task: name of the task.
    num_classes: classes or labels.
    num_steps: steps of each; 0 for a vector.
    num_scalers: 1 if seeds share the examples, else the number of seeds.
  """

  modalities: tuple[str, ...]
  widths: tuple[int, ...]
  task: str
  num_classes: int
  num_steps: tuple[int, ...]
  num_scalers: int

  @classmethod
  def of(cls, dataset: dataset_lib.Dataset, num_scalers: int) -> "Shape":
    """The shape of a data set."""
    return cls(
      dataset.modalities,
      dataset.widths,
      dataset.task,
      dataset.num_classes,
      dataset.num_steps,
      num_scalers,
    )


@dataclasses.dataclass(frozen=True)
class Trainers:
  """The task and the trainers of both stages."""

  task: tasks.Task
  unimodal: trainer_lib.Trainer
  multimodal: trainer_lib.Trainer


def build(
  config: config_lib.Config,
  shape: Shape,
  variants: Sequence[str],
  num_train: int,
  hook: trainer_lib.Hook | None = None,
) -> Trainers:
  """Trainers of both stages.

  Args:
    config: the run.
    shape: of the data.
    variants: those that any run of stage 2 uses.
    num_train: training examples; a batch is no larger.
    hook: what stage 2 minimises besides its loss.

  Returns:
    The trainers.

  Raises:
    InputError: if a batch does not divide over the devices.
  """
  devices = jax.device_count()
  batch_size = min(config.batch_size, num_train) // devices * devices
  if batch_size == 0:
    raise errors.InputError(
      f"--batch_size={config.batch_size}: fewer than the {devices} devices:"
      f" give at least {devices}."
    )
  if config.batch_size % devices:
    logging.warning(
      "--batch_size=%d: %d devices share batches of %d",
      config.batch_size,
      devices,
      batch_size,
    )
  task = tasks.make(shape.task, shape.num_classes, config.predictive)
  sizes = _sizes(config, shape, task.num_outputs)
  rule = weighting_rule.Rule(
    variants=tuple(variants),
    divergence=config.divergence,
    transform=config.knn_transform,
    agreement=config.instance == "agreement",
    refresh_every=config.refresh_every,
    num_refinements=config.num_refinements,
    num_samples=config.information_samples,
    examples={
      name: hook
      for name, hook in importance.IMPORTANCE.items()
      if name in variants
    },
  )
  network, penalties = networks.Concatenation(sizes), {}
  if config.model == "moe":
    network = fusion.MixtureOfExperts(sizes, _mixture(config, shape))
    penalties = {
      "importance": config.importance_loss,
      "load": config.load_loss,
      "router_z": config.router_z_loss,
    }
  common = {
    "task": task,
    "optimizer": optax.adamw(
      config.learning_rate, weight_decay=config.weight_decay
    ),
    "batch_size": batch_size,
    "max_norm": config.max_norm or None,
    "patience": config.patience or None,
    "max_skipped": config.max_skipped,
  }
  return Trainers(
    task,
    trainer_lib.Trainer(
      networks.Unimodal(sizes),
      parallelism=device_map.Parallelism(config.parallelism),
      **common,
    ),
    trainer_lib.Trainer(
      network,
      rule=rule,
      penalties=penalties,
      hook=hook,
      parallelism=_parallelism(config),
      **common,
    ),
  )


def _sizes(config, shape, num_outputs):
  groups = batching.groups(shape.num_steps, shape.widths)
  attends = config.model == "moe" or (groups and config.encoder != "gru")
  if attends and config.embedding_dim % config.num_heads:
    raise errors.InputError(
      f"--num_heads={config.num_heads}: does not divide"
      f" --embedding_dim={config.embedding_dim}: give a divisor."
    )
  return networks.Sizes(
    shape.widths,
    num_outputs,
    hidden_dim=config.hidden_dim,
    embedding_dim=config.embedding_dim,
    dropout=config.dropout,
    groups=groups,
    num_steps=tuple(shape.num_steps[group[0]] for group in groups),
    encoder=config.encoder,
    num_heads=config.num_heads,
    num_layers=config.num_layers,
    num_points=config.num_points,
  )


def _parallelism(config):
  shared = config.expert_parallelism
  found = device_map.Parallelism(config.parallelism, shared)
  if shared == 1:
    return found
  for wrong, why in (
    (config.model != "moe", "needs --model=moe"),
    (config.parallelism != "shard_map", "needs --parallelism=shard_map"),
    (
      config.num_experts % shared,
      f"does not divide --num_experts={config.num_experts}",
    ),
    (
      jax.device_count() % shared,
      f"does not divide the {jax.device_count()} devices",
    ),
  ):
    if wrong:
      raise errors.InputError(
        f"--expert_parallelism={shared}: {why}: change it, or leave it out."
      )
  return found


def _mixture(config, shape):
  needed, why = config.num_selected, f"--num_selected={config.num_selected}"
  if config.router == "disjoint":
    needed *= len(shape.modalities)
    why += f" of its own for each of {len(shape.modalities)} modalities"
  if config.num_experts < needed:
    raise errors.InputError(
      f"--num_experts={config.num_experts}: too few for {why}: give at least"
      f" {needed}."
    )
  return fusion.Mixture(
    num_experts=config.num_experts,
    num_selected=config.num_selected,
    gating=config.gating,
    noisy=config.noisy_gating,
    router=config.router,
    dispatch=config.dispatch,
    placeholder=config.placeholder,
    steps=config.fuse_steps,
  )


def like(
  trainers: Trainers, shape: Shape, num_seeds: int
) -> tuple[model_checkpoints.Unimodal, model_checkpoints.Multimodal]:
  """Shapes of the checkpoints of both stages, nothing computed.

  Args:
    trainers: of both stages.
    shape: of the data.
    num_seeds: S.

  Returns:
    Pytrees of shapes.
  """
  num_modalities, width = len(shape.widths), max(shape.widths)
  sizes = trainers.unimodal.network.sizes

  def of_seeds(trainer):
    batch = types.Batch(
      jnp.zeros((1, num_modalities, width)),
      jnp.ones((1, num_modalities), bool),
      jnp.zeros(1),
      tuple(
        types.Steps(
          jnp.zeros((1, len(group), num_steps, shape.widths[group[0]])),
          jnp.ones((1, len(group)), jnp.int32),
        )
        for group, num_steps in zip(sizes.groups, sizes.num_steps, strict=True)
      ),
    )
    seeds = jnp.zeros(num_seeds, jnp.int32)
    split = types.Split(batch, None)
    return jax.eval_shape(
      lambda: jax.vmap(lambda seed: trainer.init(seed, split).best)(seeds)
    )

  table = jnp.zeros((num_modalities, width))
  scaler = scaling.Scaler(
    table, table, jnp.zeros(num_modalities), jnp.zeros(()), jnp.zeros(())
  )
  best = of_seeds(trainers.multimodal)
  return (
    model_checkpoints.Unimodal(
      of_seeds(trainers.unimodal).params, [scaler] * shape.num_scalers
    ),
    model_checkpoints.Multimodal(
      best.params,
      best.guide,
      state_lib.RunParams(jnp.int32(0), jnp.float32(0), jnp.float32(0)),
    ),
  )
