"""The trainers of both stages, built from the configuration's sections."""

from collections.abc import Mapping, Sequence
import dataclasses

from absl import logging
import jax
import jax.numpy as jnp
import numpy as np
import optax

from btw_jax import errors
from btw_jax import hooks
from btw_jax import tasks
from btw_jax import types
from btw_jax.analysis import importance
from btw_jax.data import batching
from btw_jax.data import scaling
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.models.pretrained import text_encoder
from btw_jax.parallel import device_map
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import saved_config
from btw_jax.pipeline.pretrained import text_reader
from btw_jax.training import model_checkpoints
from btw_jax.training import state as state_lib
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import weighting_rule


@dataclasses.dataclass(frozen=True)
class Trainers:
  """The task and the trainers of both stages."""

  task: tasks.Task
  unimodal: trainer_lib.Trainer
  multimodal: trainer_lib.Trainer

  @property
  def unweighted(self) -> trainer_lib.Trainer:
    """The trainer of multimodal models that keep no table of weights."""
    rule = dataclasses.replace(
      self.multimodal.rule, variants=("uniform",), examples={}
    )
    return dataclasses.replace(self.multimodal, rule=rule)


def build_trainers(
  config: config_lib.RunConfig,
  shape: saved_config.DataShape,
  variants: Sequence[str],
  num_train: int,
  hook: hooks.Hook | None = None,
) -> Trainers:
  """Builds the trainers of both stages.

  Args:
    config: the run.
    shape: of the data.
    variants: the variants that stage 2 trains.
    num_train: number of training examples; a batch is no larger.
    hook: what a mitigation changes of the steps of stage 2.

  Returns:
    The trainers.

  Raises:
    InputError: if settings do not fit each other, the data or the devices.
  """
  task = tasks.make(shape.task, shape.num_classes, config.model.predictive)
  sizes = _sizes(config, shape, task.num_outputs)
  shared = {
    "task": task,
    "optimizer": _optimizer(config),
    "read_pretrained": text_reader.params_reader(config.text),
    "batch_size": _batch_size(config.batch_size, num_train),
    "max_norm": config.max_norm or None,
    "patience": config.patience or None,
    "max_skipped": config.max_skipped,
  }
  network, penalties = networks.Concatenation(sizes), {}
  if config.model.kind == "moe":
    mixture = config.mixture
    network = fusion.MixtureOfExperts(sizes, _mixture(mixture, shape))
    penalties = {
      "importance": mixture.importance_loss,
      "load": mixture.load_loss,
      "router_z": mixture.router_z_loss,
    }
  unimodal = trainer_lib.Trainer(
    networks.Unimodal(sizes),
    parallelism=device_map.Parallelism(config.devices.parallelism),
    **shared,
  )
  multimodal = trainer_lib.Trainer(
    network,
    rule=_rule(config.weighting, variants),
    penalties=penalties,
    hook=hook or hooks.Hook(),
    parallelism=_parallelism(config),
    **shared,
  )
  return Trainers(task, unimodal, multimodal)


def _optimizer(config):
  """Returns AdamW, with a learning rate of its own for the text encoder."""
  if not config.text.trains:
    return optax.adamw(config.learning_rate, weight_decay=config.weight_decay)

  def descend(updates, params):
    del params
    return jax.tree.map(
      lambda x, is_text: (
        -(config.text.learning_rate if is_text else config.learning_rate) * x
      ),
      updates,
      text_encoder.is_pretrained(updates),
    )

  return optax.chain(
    optax.scale_by_adam(),
    optax.add_decayed_weights(config.weight_decay),
    optax.stateless(descend),
  )


def _batch_size(batch_size, num_train):
  """Returns the largest batch size that the devices can share equally."""
  devices = jax.device_count()
  shared = min(batch_size, num_train) // devices * devices
  if shared == 0:
    raise errors.InputError(
      f"--batch_size={batch_size}: fewer than the {devices} devices: give at"
      f" least {devices}."
    )
  if batch_size % devices:
    logging.warning(
      "--batch_size=%d: %d devices share batches of %d",
      batch_size,
      devices,
      shared,
    )
  return shared


def _rule(weighting, variants):
  return weighting_rule.Rule(
    variants=tuple(variants),
    divergence=weighting.divergence,
    transform=weighting.knn_transform,
    agreement=weighting.instance == "agreement",
    normalise=weighting.normalise,
    refresh_every=weighting.refresh_every,
    information_from=weighting.information_from,
    num_refinements=weighting.num_refinements,
    num_samples=weighting.information_samples,
    examples={
      name: function
      for name, function in importance.IMPORTANCE.items()
      if name in variants
    },
  )


def _sizes(config, shape, num_outputs):
  model = config.model
  vocab_sizes = [shape.vocab_sizes.get(m, 0) for m in shape.modalities]
  groups = batching.groups(shape.num_steps, shape.widths, vocab_sizes)
  text_groups = [g for g, group in enumerate(groups) if vocab_sizes[group[0]]]
  encodes = len(groups) > len(text_groups) and model.encoder != "gru"
  attends = model.kind == "moe" or encodes
  if attends and model.embedding_dim % model.num_heads:
    raise errors.InputError(
      f"--num_heads={model.num_heads}: does not divide"
      f" --embedding_dim={model.embedding_dim}: give a divisor."
    )
  return networks.Sizes(
    shape.widths,
    num_outputs,
    hidden_dim=model.hidden_dim,
    embedding_dim=model.embedding_dim,
    dropout=model.dropout,
    groups=groups,
    num_steps=tuple(shape.num_steps[group[0]] for group in groups),
    encoder=model.encoder,
    num_heads=model.num_heads,
    num_layers=model.num_layers,
    num_points=model.num_points,
    text=text_reader.sizes(config.text),
    text_groups=tuple(text_groups),
  )


def _parallelism(config):
  mapping = config.devices.parallelism
  experts = config.devices.expert_parallelism
  if experts == 1:
    return device_map.Parallelism(mapping)
  num_experts, num_devices = config.mixture.num_experts, jax.device_count()
  for wrong, reason in (
    (config.model.kind != "moe", "needs --model=moe"),
    (mapping != "shard_map", "needs --parallelism=shard_map"),
    (num_experts % experts, f"does not divide --num_experts={num_experts}"),
    (num_devices % experts, f"does not divide the {num_devices} devices"),
  ):
    if wrong:
      raise errors.InputError(
        f"--expert_parallelism={experts}: {reason}: change it, or leave it out."
      )
  return device_map.Parallelism(mapping, experts)


def _mixture(mixture, shape):
  needed = mixture.num_selected
  reason = f"--num_selected={mixture.num_selected}"
  if mixture.router == "disjoint":
    needed *= len(shape.modalities)
    reason += f" of its own for each of {len(shape.modalities)} modalities"
  if mixture.num_experts < needed:
    raise errors.InputError(
      f"--num_experts={mixture.num_experts}: too few for {reason}: give at"
      f" least {needed}."
    )
  return fusion.Mixture(
    num_experts=mixture.num_experts,
    num_selected=mixture.num_selected,
    gating=mixture.gating,
    noisy=mixture.noisy_gating,
    router=mixture.router,
    dispatch=mixture.dispatch,
    placeholder=mixture.placeholder,
    steps=mixture.fuse_steps,
  )


def checkpoint_shapes(
  trainers: Trainers,
  shape: saved_config.DataShape,
  num_seeds: int,
  multimodal: Mapping[str, trainer_lib.Trainer],
) -> tuple[model_checkpoints.Unimodal, dict[str, model_checkpoints.Multimodal]]:
  """Returns the shapes of the checkpoints of both stages, computing nothing.

  `multimodal` names the trainer of each model of stage 2.
  """
  num_modalities, width = len(shape.widths), max(shape.widths)
  sizes = trainers.unimodal.network.sizes
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

  def best_shapes(trainer):
    seeds = jnp.zeros(num_seeds, jnp.int32)
    split = types.Split(batch, None)
    return jax.eval_shape(
      lambda: jax.vmap(lambda seed: trainer.init(seed, split).best)(seeds)
    )

  table, scalar = np.zeros((num_modalities, width)), np.zeros(())
  scaler = scaling.Scaler(
    table, table, np.zeros(num_modalities, np.float32), scalar, scalar
  )
  scalars = state_lib.RunParams(jnp.int32(0), jnp.float32(0), jnp.float32(0))

  def multimodal_shapes(trainer):
    best = best_shapes(trainer)
    return model_checkpoints.Multimodal(best.params, best.unseen_prior, scalars)

  return (
    model_checkpoints.Unimodal(
      best_shapes(trainers.unimodal).params, [scaler] * shape.num_scalers
    ),
    {name: multimodal_shapes(t) for name, t in multimodal.items()},
  )
