"""The sections of a run's configuration, and the choices of their settings."""

import dataclasses
from typing import Any

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.methods.balance import catalog as balance_catalog

# The choices of settings, as the modules that implement them name them; a test
# holds both lists together.
AUTO, DEFAULT = "auto", "default"
AUTO_SCALES = (1.0, 0.5, 0.25)
VARIANTS = ("uniform", "kl", "mi", "cc", "kl+mi", "kl+cc")
WEIGHTINGS = (*VARIANTS, "pid", "gate", AUTO)
BALANCES = tuple(balance_catalog.METHODS)
# What the factors of encoders multiply.
ACTS_ON = ("updates", "gradients")
NORMALISATIONS = ("rows", "minmax")
MITIGATIONS = ("heuristic", "adversarial", "consistency")
DIVERGENCES = ("kl", "reverse_kl", "jeffreys", "js")
TRANSFORMS = ("none", "standardise", "rank")
TASKS = ("regression", "binary", "multiclass", "multilabel")
PREDICTIVE = ("gaussian", "laplace")
MODELS = ("mlp", "moe")
ENCODERS = ("mean", "gru", "transformer", "mtand")
GATINGS = ("softmax", "laplace", "gaussian")
ROUTERS = ("joint", "per_modality", "disjoint")
DISPATCHES = ("auto", "dense", "sparse")
MAPPINGS = ("pmap", "shard_map")
READINGS = ("auto", "memory", "stream")
# The choices of the programs that analyse finished runs.
INTERVENTIONS = ("noise", "zero", "mean", "shuffle", "mismatch", "missing")
JOINTS = ("grid", "binned", "masked")
REMOVALS = ("absent", "shuffle")
ANALYSES = ("interference", "interactions", "contribution")


# Larger numbers leave float32 or the memory, and smaller ones are 0 there.
MODERATE = "give 0, or a number from 1e-30 to 1e30; whole ones up to 1e9"


def is_moderate(number: float) -> bool:
  """Returns whether a setting is a number that a run can compute with."""
  if isinstance(number, int):
    return abs(number) <= 10**9
  return number == 0 or 1e-30 <= abs(number) <= 1e30


def field(default, text, **metadata):
  """Returns a dataclass field with a help text, bounds or choices."""
  return dataclasses.field(default=default, metadata={"text": text, **metadata})


def titled(kind: type) -> dict[str, list[str]]:
  """Returns title -> names of a dataclass of settings, in the order of help.

  A field opens the group whose title it has.
  """
  groups, title = {}, ""
  for one in dataclasses.fields(kind):
    title = one.metadata.get("title", title)
    groups.setdefault(title, []).append(one.name)
  return groups


def to_json(config: Any, *, free: bool = True) -> dict[str, Any]:
  """Returns a dataclass of settings as JSON holds it, with the free or not."""
  values = {
    one.name: getattr(config, one.name)
    for one in dataclasses.fields(config)
    if free or not one.metadata.get("free")
  }
  return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _share(default, replacement):
  """A share of the copies that --mitigation=heuristic makes."""
  return field(default, f"relative share of copies {replacement}", low=0.0)


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
  """The devices that a run uses, and how."""

  parallelism: str = field(
    "pmap",
    "how the program is mapped over devices",
    choices=MAPPINGS,
    free=True,
  )
  expert_parallelism: int = field(
    1,
    "number of devices that share one set of experts; more than 1 needs"
    " --parallelism=shard_map",
    low=1,
    free=True,
  )
  memory_gb: float = field(
    0.0,
    "GB that training may take, runs then train in turns; 0: most of what is"
    " free",
    low=0.0,
    free=True,
  )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The data set of a run, and how it is read."""

  dataset: str = field(
    "digits",
    f"data set: {' | '.join(catalog.SOURCES)} | tfds:NAME for a prepared one",
  )
  data_dir: str = field("", "file or folder of the data set")
  label: str = field(
    "", "column of the labels (csv, parquet); the last column if empty"
  )
  id: str = field("id", "column of the ids (csv, parquet)")
  subject: str = field("subject", "column of the subjects (csv, parquet)")
  index: str = field(
    "auto",
    "whether the first column is an index and is left out (csv, parquet)",
    choices=catalog.INDEX,
  )
  header: str = field(
    "auto", "whether the first row is a header (csv)", choices=catalog.HEADER
  )
  separator: str = field(
    "auto", "character between the cells, or tab, or space (csv)"
  )
  decimal: str = field(
    "auto", "decimal mark of numbers (csv)", choices=catalog.DECIMAL
  )
  encoding: str = field("auto", "encoding of the text (csv)")
  split_by: str = field(
    "given",
    "use the given splits, or draw splits that share no subject",
    choices=catalog.SPLIT_BY,
  )
  reading: str = field(
    "auto",
    "read into memory, or stream prepared data; auto: into memory if it fits",
    choices=READINGS,
  )
  num_buckets: int = field(
    4, "padded shapes of sequence batches when streaming", low=1, high=10000
  )
  modalities: tuple[str, ...] = field(
    (), "modalities to use, in this order; all if empty"
  )
  task: str = field(
    "", "kind of target; inferred if empty", choices=("", *TASKS)
  )
  num_train: int = field(400, "number of labelled examples (digits)", low=20)
  noise_modalities: int = field(
    0, "number of modalities of pure noise to add (digits)", low=0, high=1000
  )
  valid_share: float = field(
    0.3,
    "share of the training split held out for validation if there is no"
    " validation split",
    low=0.01,
    high=0.9,
  )
  split_per_seed: bool = field(
    True,
    "draw held-out examples and noise anew for each seed; otherwise all seeds"
    " share them",
  )
  sentiment: bool = field(
    False, "add the metrics of sentiment in [-3, 3] (regression)"
  )


@dataclasses.dataclass(frozen=True)
class WeightingConfig:
  """The weightings to train, and the settings of the rule."""

  names: tuple[str, ...] = field(
    ("uniform", "kl+mi"),
    f"weightings to train, separated by commas: {' | '.join(WEIGHTINGS)}",
    flag="weighting",
    each=WEIGHTINGS,
  )
  strength: str = field(
    "1",
    "0: uniform weights, 1: full weights; auto tries 0.25, 0.5, 0.75 and 1;"
    " each of several values gets a row",
    numbers_or=AUTO,
    low=0.0,
    high=1.0,
  )
  embedding_scale: str = field(
    "1",
    "factor of every embedding; the uniform model chooses one of several"
    " values; auto means 1,0.5,0.25",
    numbers_or=AUTO,
    low=0.0,
  )
  divergence: str = field(
    "kl",
    "divergence of a modality's prediction p from the multimodal prediction q;"
    " kl is KL(p || q)",
    choices=DIVERGENCES,
  )
  knn_transform: str = field(
    "none",
    "transform of predictions before their information (regression)",
    choices=TRANSFORMS,
  )
  instance: str = field(
    "divergence",
    "for kl weights: whether difference from the multimodal prediction"
    " (divergence) or agreement with it makes a weight large",
    choices=("divergence", "agreement"),
  )
  normalise: str = field(
    "rows",
    "for kl weights: rows divides divergences by their sum over modalities;"
    " minmax scales each modality to [0, 1], as the public code of BTW does",
    choices=NORMALISATIONS,
  )
  information_from: str = field(
    "train",
    "split on which the information of modalities is estimated",
    choices=("train", "valid"),
  )
  refresh_every: int = field(1, "epochs between weight refreshes", low=1)
  information_samples: int = field(
    2**14,
    "largest number of examples that the nearest-neighbour estimate uses"
    " (regression)",
    low=10,
  )
  num_refinements: int = field(
    1, "refinements of the weights of an unseen example", low=0, high=100
  )
  num_exchanges: int = field(
    20,
    "exchanges between examples in the tests of what each modality tells; 0"
    " for no tests",
    low=0,
    high=100000,
  )

  def __post_init__(self):
    """Refuses min-max weights for weightings that cannot have them."""
    if self.normalise != "minmax":
      return
    for name in ("gate", AUTO):
      if name in self.names:
        raise errors.InputError(
          f"--normalise=minmax: --weighting={name} chooses between weights"
          f" whose rows sum to 1, and min-max weights do not: leave out {name},"
          " or use --normalise=rows."
        )
    if not any("kl" in name for name in self.names):
      raise errors.InputError(
        f"--normalise=minmax: --weighting={','.join(self.names)} uses no"
        " divergence: add kl, kl+mi or kl+cc, or use --normalise=rows."
      )

  @property
  def strengths(self) -> list[float | str]:
    """The strengths of weightings, numbers or "auto"."""
    return _numbers_or_auto(self.strength)

  @property
  def scales(self) -> list[float]:
    """The embedding scales to choose from."""
    return [
      scale
      for value in _numbers_or_auto(self.embedding_scale)
      for scale in (AUTO_SCALES if value == AUTO else [value])
    ]


@dataclasses.dataclass(frozen=True)
class MitigationConfig:
  """The training against modality interference."""

  methods: tuple[str, ...] = field(
    (),
    "training against interference, methods separated by commas: heuristic"
    " (copies with one modality replaced), adversarial (embeddings that"
    " increase the loss), consistency (with the predictions for these)",
    flag="mitigation",
    each=MITIGATIONS,
    optional=True,
  )
  perturb: tuple[str, ...] = field(
    (), "modalities that may be perturbed; all if empty"
  )
  num_copies: int = field(
    1, "number of copies of every example (heuristic)", low=1, high=1000
  )
  noise_share: float = _share(1.0, "with normal noise")
  zero_share: float = _share(0.0, "with zeros")
  mean_share: float = _share(0.0, "with the training mean")
  shuffle_share: float = _share(1.0, "with another example's value")
  mismatch_share: float = _share(1.0, "with another class's value")
  missing_share: float = _share(0.0, "without the modality")
  adversarial_radius: float = field(
    1e-3,
    "largest move of an embedding, in standard deviations of its modality's"
    " embeddings",
    low=0.0,
  )
  adversarial_rate: float = field(
    0.1, "step of the ascent, as a share of the radius", low=0.0
  )
  adversarial_steps: int = field(
    2, "number of steps of the ascent", low=0, high=1000
  )
  adversarial_by: str = field(
    "sign",
    "ascend by the sign of the gradient, or by the gradient",
    choices=("sign", "gradient"),
  )
  consistency_weight: float = field(
    0.01, "factor of the consistency loss", low=0.0
  )
  consistency_kind: str = field(
    "kl",
    "consistency loss: KL(perturbed || clean), or Jensen-Shannon",
    choices=("kl", "js"),
  )


@dataclasses.dataclass(frozen=True)
class BalanceConfig:
  """The methods that balance modalities in training."""

  methods: tuple[str, ...] = field(
    (),
    "methods that balance modalities, a row for each, separated by commas: "
    + " | ".join(BALANCES),
    flag="balance",
    each=BALANCES,
    optional=True,
  )
  weightings: tuple[str, ...] = field(
    ("uniform",),
    "weightings that every method is trained with",
    flag="balance_weighting",
    each=VARIANTS,
  )
  value: str = field(
    DEFAULT,
    "the methods' own setting (α, rate, weight, ...); each of several values"
    " gets a row",
    flag="balance_value",
    numbers_or=DEFAULT,
    low=0.0,
  )
  acts_on: str = field(
    "updates",
    "what the factors of encoders multiply; AdamW undoes a constant factor of"
    " gradients",
    flag="balance_acts_on",
    choices=ACTS_ON,
  )

  @property
  def values(self) -> list[float | str]:
    """The values of the methods' own setting, numbers or "default"."""
    return _numbers_or_auto(self.value)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """The networks."""

  kind: str = field(
    "mlp",
    "multimodal model: an MLP, or a sparse mixture of experts",
    flag="model",
    choices=MODELS,
  )
  encoder: str = field(
    "mean",
    "encoder of sequences; mean averages the steps, then applies an MLP",
    choices=ENCODERS,
  )
  hidden_dim: int = field(64, "number of hidden units", low=1, high=1048576)
  embedding_dim: int = field(
    64, "number of units of an embedding", low=1, high=1048576
  )
  dropout: float = field(
    0.1, "share of hidden units that are dropped", low=0.0, high=0.95
  )
  num_heads: int = field(4, "number of attention heads", low=1, high=1024)
  num_layers: int = field(2, "number of attention layers", low=1, high=128)
  num_points: int = field(
    16, "number of reference times of the mtand encoder", low=1, high=4096
  )
  predictive: str = field(
    "gaussian", "predictive distribution of a regression", choices=PREDICTIVE
  )


@dataclasses.dataclass(frozen=True)
class TextConfig:
  """The pretrained encoder of texts."""

  encoder: str = field(
    "",
    "folder of a BERT or RoBERTa to read the words with",
    flag="text_encoder",
  )
  learning_rate: float = field(
    2e-5,
    "learning rate of the text encoder; 0 keeps it as it is",
    flag="text_learning_rate",
    low=0.0,
  )
  max_tokens: int = field(
    128, "largest number of tokens of a text; the rest is cut", low=3, high=8192
  )

  @property
  def trains(self) -> bool:
    """True if there is an encoder that trains with the models."""
    return bool(self.encoder and self.learning_rate)


@dataclasses.dataclass(frozen=True)
class MixtureConfig:
  """The sparse mixture of experts."""

  num_experts: int = field(16, "number of experts", low=1, high=65536)
  num_selected: int = field(2, "number of experts per token", low=1)
  gating: str = field("laplace", "gating function", choices=GATINGS)
  noisy_gating: bool = field(
    False, "add learned noise to gating scores in training"
  )
  router: str = field(
    "per_modality",
    "one router for all, one per modality, or also separate experts",
    choices=ROUTERS,
  )
  importance_loss: float = field(
    0.01, "factor of the penalty on uneven gates", low=0.0
  )
  load_loss: float = field(
    0.01, "factor of the penalty on uneven load, with noisy gating", low=0.0
  )
  router_z_loss: float = field(
    0.001, "factor of the penalty on large gating scores", low=0.0
  )
  placeholder: bool = field(False, "learn a token for an absent modality")
  fuse_steps: bool = field(False, "fuse every step of a sequence, not its mean")
  dispatch: str = field(
    "auto", "how tokens are dispatched to experts", choices=DISPATCHES
  )


def _numbers_or_auto(text):
  """Splits a list of numbers, each once, and "auto" or "default"."""
  values = [v if v in (AUTO, DEFAULT) else float(v) for v in text.split(",")]
  return list(dict.fromkeys(values))
