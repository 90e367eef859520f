"""The methods that balance modalities, as a configuration asks for them."""

from collections.abc import Iterable, Sequence
import dataclasses

from absl import logging

from btw_jax import errors
from btw_jax import hooks
from btw_jax.methods.balance import base
from btw_jax.methods.balance import catalog
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections as sections
from btw_jax.training import model_checkpoints
from btw_jax.training import selection
from btw_jax.training import trainer as trainer_lib
from btw_jax.training import vectorized_runs

# The largest factor of the learning rate that is tried, and its inverse.
_WIDEST_RATE = 4.0


def plan(
  config: config_lib.RunConfig,
  scale: float = 1.0,
  rate: float | None = None,
) -> selection.Plan:
  """Plans the settings of stage 2.

  `scale` and `rate` are the embedding scale and the factor of the learning rate
  that the uniform model has chosen.
  """
  weighting = config.weighting
  return selection.plan(
    weighting.names,
    weighting.strengths,
    scale,
    balancing=_balancing(config),
    rate=rate,
    num_tuned=config.tune,
  )


def _balancing(config):
  balance = config.balance
  if not balance.methods:
    return None
  values = {}
  for name in balance.methods:
    setting = catalog.load(name).setting
    if balance.values == [sections.DEFAULT]:
      values[name] = setting.candidates(config.tune)
    else:
      values[name] = [
        setting.default if v == sections.DEFAULT else v for v in balance.values
      ]
  separate = len(balance.values) > 1
  return selection.Balancing(values, balance.weightings, separate)


def rates(number: int) -> list[float]:
  """Returns so many factors of the learning rate, 1 first."""
  setting = base.Setting("", 1.0, 1 / _WIDEST_RATE, _WIDEST_RATE, log=True)
  return setting.candidates(number)


def check(
  config: config_lib.RunConfig,
  trainers: build.Trainers,
  modalities: Sequence[str],
) -> None:
  """Checks the methods, before any training.

  Raises:
    InputError: if a method does not fit the network, the data or the weighting.
  """
  balance = config.balance
  for name in balance.methods:
    method, trainer = catalog.load(name), trainers.multimodal
    reason = method.check(trainer.network, trainer.batch_size)
    if reason:
      raise errors.InputError(f"--balance={name}: {reason}.")
    others = [w for w in balance.weightings if w != "uniform"]
    if catalog.METHODS[name].has_network and others:
      raise errors.InputError(
        f"--balance_weighting={others[0]}: {name} mixes modalities by"
        " confidence, which leaves no weights to learn: use uniform."
      )
  if balance.methods and len(modalities) == 1:
    raise errors.InputError(
      f"--balance={','.join(balance.methods)}: there is only one modality,"
      f" {modalities[0]}: give at least two."
    )
  _check_values(config)
  if config.tune > 1 and config.weighting.strength != "1":
    raise errors.InputError(
      f"--strength={config.weighting.strength}: --tune={config.tune} chooses"
      " the strength: leave one of them out."
    )


def _check_values(config):
  """Checks --balance_value, and warns of methods that change nothing."""
  balance, given = config.balance, f"--balance_value={config.balance.value}"
  numbers = [v for v in balance.values if v != sections.DEFAULT]
  if numbers and config.tune > 1:
    raise errors.InputError(
      f"{given}: --tune={config.tune} chooses the value: leave one of them out."
    )
  if numbers and len(balance.methods) != 1:
    raise errors.InputError(
      f"{given}: is the setting of one method, and --balance names"
      f" {len(balance.methods)}: name one."
    )
  for name in balance.methods:
    method = catalog.load(name)
    for value in numbers:
      if value >= method.setting.limit:
        raise errors.InputError(
          f"{given}: the {method.setting.name} of {name} must be below"
          f" {method.setting.limit:g}."
        )
    doubt = method.doubt(config.num_epochs, balance.acts_on)
    if doubt:
      logging.warning("--balance=%s: %s", name, doubt)


def trainer(
  trainers: build.Trainers,
  name: str,
  specs: Sequence[vectorized_runs.RunSpec],
  config: config_lib.RunConfig,
  unimodal: model_checkpoints.Unimodal,
) -> trainer_lib.Trainer:
  """Builds the trainer of a method's settings.

  `unimodal` are the models of stage 1.
  """
  plain = _without_hook(trainers, specs)
  sizes = plain.network.sizes
  setup = base.Setup(
    num_modalities=len(sizes.widths),
    embedding_dim=sizes.embedding_dim,
    acts_on=config.balance.acts_on,
    seeds=config.seeds,
    teacher=trainers.unimodal.network,
    teacher_params=unimodal.params,
  )
  hook = catalog.load(name).make(setup)
  # A mitigation may train with the method.
  if type(plain.hook) is not hooks.Hook:
    hook = hooks.Chain([plain.hook, hook])
  return dataclasses.replace(plain, hook=hook)


def predicting_trainers(
  trainers: build.Trainers, plan: selection.Plan, names: Iterable[str]
) -> dict[str, trainer_lib.Trainer]:
  """Returns row -> the trainer whose network predicts, for balanced rows.

  `names` are the rows that have models.
  """
  methods = {
    name: plan.specs[plan.candidates[name][0]].balance for name in names
  }
  return {
    name: _without_hook(trainers, plan.balanced[method])
    for name, method in methods.items()
    if method
  }


def _without_hook(trainers, specs):
  """Returns the trainer of a method's settings, before it has its hook.

  Settings with and without weights are one program, which has weights then.
  """
  is_plain = all(spec.variant == "uniform" for spec in specs)
  plain = trainers.unweighted if is_plain else trainers.multimodal
  network = catalog.load(specs[0].balance).network(plain.network, trainers.task)
  return dataclasses.replace(plain, network=network)
