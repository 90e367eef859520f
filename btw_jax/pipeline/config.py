"""What a training run is told: one frozen dataclass, one flag per field."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from absl import flags
import jax

from btw_jax import errors
from btw_jax import interventions
from btw_jax import predictions
from btw_jax import tasks
from btw_jax import weighting
from btw_jax.analysis import importance
from btw_jax.data import catalog
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import loading
from btw_jax.models import dispatch
from btw_jax.models import gating as gating_lib
from btw_jax.models import networks
from btw_jax.models import routers
from btw_jax.mutual_information import transforms
from btw_jax.parallel import device_map
from btw_jax.training import selection

MITIGATIONS = ("heuristic", "adversarial", "consistency")
WEIGHTINGS = (*weighting.VARIANTS, *importance.IMPORTANCE, selection.AUTO)

# Of the copies that --mitigation=heuristic makes, relative to the others.
_SHARE = "how often (heuristic), in place of a modality: "

_DATASETS = f"data set: {' | '.join(catalog.SOURCES)} | tfds:NAME, one prepared"


def _field(group, default, text, **metadata):
  return dataclasses.field(
    default=default, metadata={"group": group, "text": text, **metadata}
  )


@dataclasses.dataclass(frozen=True)
class Config:
  """Every field is a flag of that name; its metadata is the flag's help.

  A run may be taken up again with other values of the fields marked `free`.
  """

  workdir: str = _field(
    "Run", "runs/run", "folder for what the run leaves", free=True
  )
  num_seeds: int = _field("Run", 5, "number of seeds, trained together", low=1)
  seed: int = _field("Run", 0, "first seed", low=0)
  resume: bool = _field(
    "Run", True, "go on with a run that was stopped, if the workdir has one",
    free=True,
  )  # fmt: skip
  snapshot_seconds: int = _field(
    "Run",
    60,
    "seconds between snapshots to go on from, at least",
    low=0,
    free=True,
  )
  num_epochs: int = _field("Run", 60, "epochs of every run", low=1)
  batch_size: int = _field("Run", 32, "examples per step, all devices", low=1)
  device_batch_size: int = _field(
    "Run", 0, "examples per step of each device, in place of those of all",
    low=0,
  )  # fmt: skip
  learning_rate: float = _field("Run", 1e-3, "AdamW step, per step", low=0.0)
  weight_decay: float = _field("Run", 1e-4, "AdamW decay, relative", low=0.0)
  max_norm: float = _field(
    "Run", 0.0, "clip gradients to this norm; 0 leaves them", low=0.0
  )
  max_skipped: int = _field(
    "Run",
    10,
    "steps in a row that may be passed over because a gradient is not finite",
    low=1,
  )
  patience: int = _field(
    "Run", 0, "epochs without a better one before a run ends; 0 for no end",
    low=0,
  )  # fmt: skip

  parallelism: str = _field(
    "Devices",
    "pmap",
    "how a program is mapped over devices",
    choices=device_map.MAPPINGS,
    free=True,
  )
  expert_parallelism: int = _field(
    "Devices",
    1,
    "devices that share one set of experts, with --parallelism=shard_map",
    low=1,
    free=True,
  )

  dataset: str = _field("Data", "digits", _DATASETS, check=catalog.find)
  data_dir: str = _field("Data", "", "file or folder of a data set of files")
  split_by: str = _field(
    "Data",
    "given",
    "splits as given, or drawn anew with no subject in two of them",
    choices=catalog.SPLIT_BY,
  )
  reading: str = _field(
    "Data",
    "auto",
    "all at once, or batch by batch from disk (tfds:NAME); auto: at once if it"
    " fits",
    choices=loading.READINGS,
  )
  num_buckets: int = _field(
    "Data", 4, "shapes of batches of sequences when streaming", low=1
  )
  modalities: tuple[str, ...] = _field(
    "Data", (), "modalities to use, in order; all if empty"
  )
  task: str = _field(
    "Data", "", "what to predict; inferred if empty", choices=("", *tasks.NAMES)
  )
  num_train: int = _field("Data", 400, "labelled examples (digits)", low=20)
  noise_modalities: int = _field(
    "Data", 0, "added modalities of pure noise (digits)", low=0
  )
  valid_share: float = _field(
    "Data",
    0.3,
    "share of train held out where no validation split is given",
    low=0.01,
    high=0.9,
  )
  split_per_seed: bool = _field(
    "Data", True, "draw held-out shares and noise anew for each seed"
  )
  sentiment: bool = _field(
    "Data", False, "add the metrics of sentiment in [-3, 3] (regression)"
  )

  weighting: tuple[str, ...] = _field(
    "Weighting", ("uniform", "kl+mi"), "weightings to train", each=WEIGHTINGS
  )
  strength: str = _field(
    "Weighting",
    "1",
    "share of the weights against uniform, 0 to 1, or auto; several make a row"
    " each; `auto` weighting chooses its own",
    numbers_or=selection.AUTO,
    low=0.0,
    high=1.0,
  )
  embedding_scale: str = _field(
    "Weighting",
    "1",
    "factor of every embedding; several, or auto for 1,0.5,0.25: tuned on the"
    " uniform model",
    numbers_or=selection.AUTO,
    low=0.0,
  )
  divergence: str = _field(
    "Weighting",
    "kl",
    "of each modality's prediction p from the multimodal q; kl is KL(p || q)",
    choices=tuple(predictions.DIVERGENCES),
  )
  knn_transform: str = _field(
    "Weighting",
    "none",
    "of predictions before their information is estimated (regression)",
    choices=tuple(transforms.TRANSFORMS),
  )
  instance: str = _field(
    "Weighting",
    "divergence",
    "weigh an example by divergence, or by agreement, its inverse",
    choices=("divergence", "agreement"),
  )
  refresh_every: int = _field("Weighting", 1, "epochs between refreshes", low=1)
  information_samples: int = _field(
    "Weighting",
    2**14,
    "examples, at most, that neighbours are sought among (regression)",
    low=10,
  )
  num_refinements: int = _field(
    "Weighting", 1, "rounds of weighing an unseen example", low=0
  )

  num_permutations: int = _field(
    "Weighting",
    200,
    "shuffles to test each modality's information against; 0 for no test",
    low=0,
  )

  mitigation: tuple[str, ...] = _field(
    "Mitigation",
    (),
    "of modality interference: heuristic (copies with one modality perturbed),"
    " adversarial (embeddings moved to where the loss is larger), consistency"
    " (of the predictions for these and for the batch); composed",
    each=MITIGATIONS,
    optional=True,
  )
  perturb: tuple[str, ...] = _field(
    "Mitigation", (), "modalities that may be perturbed; all if empty"
  )
  num_copies: int = _field(
    "Mitigation", 1, "copies of every example (heuristic)", low=1
  )
  noise_share: float = _field(
    "Mitigation", 1.0, _SHARE + interventions.KINDS["noise"], low=0.0
  )
  zero_share: float = _field(
    "Mitigation", 0.0, _SHARE + interventions.KINDS["zero"], low=0.0
  )
  mean_share: float = _field(
    "Mitigation", 0.0, _SHARE + interventions.KINDS["mean"], low=0.0
  )
  shuffle_share: float = _field(
    "Mitigation", 1.0, _SHARE + interventions.KINDS["shuffle"], low=0.0
  )
  mismatch_share: float = _field(
    "Mitigation", 1.0, _SHARE + interventions.KINDS["mismatch"], low=0.0
  )
  missing_share: float = _field(
    "Mitigation", 0.0, _SHARE + interventions.KINDS["missing"], low=0.0
  )
  adversarial_radius: float = _field(
    "Mitigation",
    1e-3,
    "how far an embedding is moved, in standard deviations of its modality's",
    low=0.0,
  )
  adversarial_rate: float = _field(
    "Mitigation", 0.1, "length of a step of ascent, of that radius", low=0.0
  )
  adversarial_steps: int = _field("Mitigation", 2, "steps of ascent", low=0)
  adversarial_by: str = _field(
    "Mitigation",
    "sign",
    "ascend by the gradient, or by its sign",
    choices=("sign", "gradient"),
  )
  consistency_weight: float = _field(
    "Mitigation", 0.01, "price of disagreement", low=0.0
  )
  consistency_kind: str = _field(
    "Mitigation",
    "kl",
    "KL(perturbed || clean), or Jensen-Shannon",
    choices=("kl", "js"),
  )

  model: str = _field(
    "Model",
    "mlp",
    "multimodal model: an MLP, or a sparse mixture of experts",
    choices=("mlp", "moe"),
  )
  encoder: str = _field(
    "Model",
    "mean",
    "of modalities that come in steps; mean averages them, then an MLP",
    choices=("mean", *networks.SEQUENCE_ENCODERS),
  )
  hidden_dim: int = _field("Model", 64, "hidden units", low=1)
  embedding_dim: int = _field("Model", 64, "units of an embedding", low=1)
  dropout: float = _field(
    "Model", 0.1, "share of hidden units dropped", low=0.0, high=0.95
  )
  num_heads: int = _field("Model", 4, "heads of attention", low=1)
  num_layers: int = _field("Model", 2, "layers of attention", low=1)
  num_points: int = _field(
    "Model", 16, "points in time that mtand reads", low=1
  )
  predictive: str = _field(
    "Model", "gaussian", "law of a regression", choices=tasks.PREDICTIVE
  )

  num_experts: int = _field("Mixture of experts", 16, "experts", low=1)
  num_selected: int = _field(
    "Mixture of experts", 2, "experts that answer a token", low=1
  )
  gating: str = _field(
    "Mixture of experts",
    "laplace",
    "score of an expert",
    choices=tuple(gating_lib.GATINGS),
  )
  noisy_gating: bool = _field(
    "Mixture of experts", False, "add learned noise to scores in training"
  )
  router: str = _field(
    "Mixture of experts",
    "per_modality",
    "one for all, one per modality, or also experts of its own for each",
    choices=routers.ROUTERS,
  )
  importance_loss: float = _field(
    "Mixture of experts", 0.01, "price of uneven gates", low=0.0
  )
  load_loss: float = _field(
    "Mixture of experts", 0.01, "price of uneven load, with noise", low=0.0
  )
  router_z_loss: float = _field(
    "Mixture of experts", 0.001, "price of large scores", low=0.0
  )
  placeholder: bool = _field(
    "Mixture of experts", False, "learn a token for an absent modality"
  )
  fuse_steps: bool = _field(
    "Mixture of experts", False, "fuse every step, not each modality's mean"
  )
  dispatch: str = _field(
    "Mixture of experts",
    "auto",
    "how tokens reach experts",
    choices=("auto", *dispatch.DISPATCHES),
  )

  @property
  def seeds(self) -> list[int]:
    """The seeds, one run each."""
    return list(range(self.seed, self.seed + self.num_seeds))

  @property
  def strengths(self) -> list[float | str]:
    """Strengths of weightings, or "auto"."""
    return _numbers_or_auto(self.strength)

  @property
  def scales(self) -> list[float]:
    """Embedding scales to choose from."""
    return [
      scale
      for given in _numbers_or_auto(self.embedding_scale)
      for scale in (selection.SCALES if given == selection.AUTO else [given])
    ]

  def read_datasets(self) -> list[dataset_lib.Dataset]:
    """The data set, once for all seeds or once for each."""
    return loading.read_datasets(
      self.dataset,
      self.source_options(),
      self.seeds,
      split_per_seed=self.split_per_seed,
      reading=self.how_to_read(),
    )

  def how_to_read(self) -> loading.Reading:
    """All at once, or batch by batch."""
    return loading.Reading(self.reading, self.num_buckets)

  def source_options(self) -> catalog.Options:
    """What the data set's source needs to know."""
    return catalog.Options(
      data_dir=self.data_dir,
      modalities=self.modalities,
      task=self.task or None,
      num_train=self.num_train,
      noise_modalities=self.noise_modalities,
      valid_share=self.valid_share,
      average_steps=self.encoder == "mean",
      split_by=self.split_by,
      seed=self.seed,
    )


def define_flags(
  values: flags.FlagValues = flags.FLAGS, *, without: Sequence[str] = ()
) -> None:
  """Defines a flag for every field.

  Args:
    values: where to define them.
    without: names of fields to leave out.
  """
  for field in dataclasses.fields(Config):
    meta, name, default = field.metadata, field.name, field.default
    if name in without:
      continue
    text, to = meta["text"], {"flag_values": values}
    if "choices" in meta:
      flags.DEFINE_enum(name, default, meta["choices"], text, **to)
    elif isinstance(default, bool):
      flags.DEFINE_bool(name, default, text, **to)
    elif isinstance(default, tuple):
      flags.DEFINE_list(name, list(default), text, **to)
      if "each" in meta:
        optional = meta.get("optional", False)
        check_each(name, meta["each"], optional=optional, values=values)
    elif isinstance(default, int):
      flags.DEFINE_integer(name, default, text, meta.get("low"), **to)
    elif isinstance(default, float):
      bounds = meta.get("low"), meta.get("high")
      flags.DEFINE_float(name, default, text, *bounds, **to)
    else:
      flags.DEFINE_string(name, default, text, **to)
      if "numbers_or" in meta:
        _check_numbers_or(name, meta, values)
      if "check" in meta:
        check(name, meta["check"], values)


def from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
  """The configuration that parsed flags give, for the devices at hand.

  Args:
    values: the flags.

  Returns:
    The configuration.
  """
  found = {}
  for field in dataclasses.fields(Config):
    value = values[field.name].value
    found[field.name] = tuple(value) if isinstance(value, list) else value
  # What a run does is a matter of the batches of all devices.
  each = found["device_batch_size"]
  if each:
    found["batch_size"] = each * jax.device_count()
    found["device_batch_size"] = 0
  return Config(**found)


def differing(one: Config, other: Config) -> list[str]:
  """Names of the flags that make two runs different ones.

  Args:
    one: a configuration.
    other: another.

  Returns:
    Names, in order.
  """
  return [
    field.name
    for field in dataclasses.fields(Config)
    if not field.metadata.get("free")
    and getattr(one, field.name) != getattr(other, field.name)
  ]


def to_dict(config: Config) -> dict[str, Any]:
  """The configuration as JSON holds it."""
  return {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in dataclasses.asdict(config).items()
  }


def from_dict(values: dict[str, Any]) -> Config:
  """The configuration that JSON held.

  Args:
    values: field -> value.

  Returns:
    The configuration.

  Raises:
    InputError: if a field is unknown.
  """
  known = {field.name for field in dataclasses.fields(Config)}
  unknown = sorted(set(values) - known)
  if unknown:
    raise errors.InputError(
      f"config.json: unknown field {unknown[0]!r}: it was written by another"
      " version; train again."
    )
  return Config(
    **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
  )


def _numbers_or_auto(value):
  """A flag's value as numbers, each once, or "auto"."""
  found = [v if v == selection.AUTO else float(v) for v in value.split(",")]
  return list(dict.fromkeys(found))


def define_dataset() -> flags.FlagHolder:
  """Defines --dataset alone, for programs that train nothing."""
  holder = flags.DEFINE_string("dataset", "digits", _DATASETS)
  check("dataset", catalog.find)
  return holder


def check(
  name: str,
  test: Callable[[str], object],
  values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Makes a flag refuse what a function refuses.

  Args:
    name: of the flag; of a list every value is tested.
    test: raises `InputError` for a wrong value.
    values: where it is defined.
  """

  def validate(given):
    for value in given if isinstance(given, list) else [given]:
      try:
        test(value)
      except errors.InputError as error:
        message = str(error).removeprefix(f"--{name}={value}: ")
        raise flags.ValidationError(message) from error
    return True

  flags.register_validator(name, validate, flag_values=values)


def check_each(
  name: str,
  right: Sequence[str],
  *,
  optional: bool,
  values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Makes a flag of several names refuse others.

  Args:
    name: of the flag.
    right: the names.
    optional: whether there may be none.
    values: where it is defined.
  """

  def test(given):
    wrong = [v for v in given if v not in right]
    if wrong or not (given or optional):
      what = f"{wrong[0]!r} is unknown" if wrong else "is empty"
      raise flags.ValidationError(f"{what}: use some of {', '.join(right)}")
    return True

  flags.register_validator(name, test, flag_values=values)


def some_of(
  flag: str, asked: Sequence[str], known: Sequence[str], what: str = "modality"
) -> list[str]:
  """Names that a flag asks for.

  Args:
    flag: its name.
    asked: names; all if empty.
    known: that there are.
    what: they are names of.

  Returns:
    Names.

  Raises:
    InputError: if one is unknown.
  """
  wrong = [name for name in asked if name not in known]
  if wrong:
    raise errors.InputError(
      f"--{flag}={','.join(asked)}: no {what} {wrong[0]!r}: use some of"
      f" {', '.join(known)}."
    )
  return list(asked or known)


def _check_numbers_or(name, meta, values):
  low, high = meta["low"], meta.get("high", float("inf"))
  span = f"{low:g} to {high:g}" if "high" in meta else f"{low:g} or more"

  def good(value):
    try:
      return value == meta["numbers_or"] or low <= float(value) <= high
    except ValueError:
      return False

  def check(given):
    for value in given.split(","):
      if not good(value):
        raise flags.ValidationError(
          f"{value!r} is not a number from {span}, nor {meta['numbers_or']}"
        )
    return True

  flags.register_validator(name, check, flag_values=values)


def groups(without: Sequence[str] = ()) -> dict[str, list[str]]:
  """Titles and names of the flags, as help shows them.

  Args:
    without: names of fields to leave out.

  Returns:
    Title -> names.
  """
  found = {}
  for field in dataclasses.fields(Config):
    if field.name not in without:
      found.setdefault(field.metadata["group"], []).append(field.name)
  return found
