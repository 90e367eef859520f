"""Complete networks: the unimodal models and the multimodal model.

All networks run in two parts: `encode` maps a batch to embeddings, `fuse` maps
embeddings and their multipliers to outputs `[U, B, K]`, where U is the number
of models trained together. New weights of the modalities thus need no new
embeddings. `fuse` also returns the usage of the experts, None without experts.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import NamedTuple

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import types
from btw_jax.models import dropout
from btw_jax.models import encoders
from btw_jax.models import routers
from btw_jax.models import sequences
from btw_jax.models.pretrained import bert
from btw_jax.models.pretrained import text_encoder

# The type of what `fuse` returns.
Outputs = tuple[chex.Array, routers.Usage | None]

# name -> function that builds the encoder of a sequence modality
SEQUENCE_ENCODERS = {
  "transformer": lambda sizes: sequences.Transformer(
    sizes.embedding_dim,
    sizes.hidden_dim,
    sizes.num_heads,
    sizes.num_layers,
    sizes.dropout,
    sizes.axis_name,
  ),
  "gru": lambda sizes: sequences.BidirectionalGRU(
    sizes.embedding_dim, sizes.dropout, sizes.axis_name
  ),
  "mtand": lambda sizes: sequences.MultiTimeAttention(
    sizes.embedding_dim,
    sizes.num_heads,
    sizes.num_points,
    sizes.dropout,
    sizes.axis_name,
  ),
}


class Text(NamedTuple):
  """The pretrained encoder of texts; see `text_encoder.TextEncoder`."""

  config: bert.Config
  mean: float
  std: float


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The sizes of a network.

  Attributes:
    widths: number of features of each modality before padding.
    num_outputs: K, number of outputs of a head.
    hidden_dim: number of hidden units of encoders, experts and heads.
    embedding_dim: width of an embedding.
    dropout: fraction of the hidden units dropped in training, in [0, 1).
    groups: the sequence modalities, grouped by shape, as in `Batch.sequences`.
    num_steps: T of each group.
    encoder: a name of `SEQUENCE_ENCODERS`.
    num_heads: number of attention heads, a divisor of `embedding_dim`.
    num_layers: number of layers of sequence encoders and of the fusion.
    num_points: number of grid points of "mtand".
    text: the pretrained encoder of groups of tokens; None if there are none.
    text_groups: the positions in `groups` of those that hold tokens.
    axis_name: axis of the devices that a batch is sharded over, or None. With
      it, random draws do not depend on the number of devices.
    experts_axis_name: axis of the devices that the experts are sharded over, or
      None.
  """

  widths: Sequence[int]
  num_outputs: int
  hidden_dim: int = 64
  embedding_dim: int = 64
  dropout: float = 0.1
  groups: Sequence[Sequence[int]] = ()
  num_steps: Sequence[int] = ()
  encoder: str = "transformer"
  num_heads: int = 4
  num_layers: int = 2
  num_points: int = 16
  text: Text | None = None
  text_groups: Sequence[int] = ()
  axis_name: str | Sequence[str] | None = None
  experts_axis_name: str | None = None

  @property
  def vector_modalities(self) -> tuple[int, ...]:
    """The modalities that are not sequences."""
    in_groups = {m for group in self.groups for m in group}
    return tuple(m for m in range(len(self.widths)) if m not in in_groups)

  @property
  def step_token_modalities(self) -> tuple[int, ...]:
    """The modality of each token of an example: one per vector and per step."""
    owners = list(self.vector_modalities)
    for number, group in enumerate(self.groups):
      length = self.num_steps[number]
      if number in self.text_groups:
        length = 1
      elif self.encoder == "mtand":
        length = self.num_points
      owners += [m for m in group for _ in range(length)]
    return tuple(owners)

  @property
  def num_encoded_steps(self) -> int:
    """The number of steps and vectors of an example that encoders read."""
    steps = zip(self.groups, self.num_steps, strict=True)
    read = len(self.vector_modalities) + sum(len(g) * n for g, n in steps)
    return max(read, len(self.step_token_modalities))

  def make_encoder(self, group: int) -> nn.Module:
    """Makes the encoder of a group of sequences."""
    if group in self.text_groups:
      return text_encoder.TextEncoder(
        embedding_dim=self.embedding_dim,
        dropout=self.dropout,
        axis_name=self.axis_name,
        **self.text._asdict(),
      )
    return SEQUENCE_ENCODERS[self.encoder](self)


class _Network(nn.Module):
  """The base of all networks, with the encoders.

  Attributes:
    sizes: the sizes of the network.
  """

  sizes: Sizes

  def setup(self):
    """Declares the encoders."""
    self.declare_encoders()

  def declare_encoders(self) -> None:
    """Declares the encoders, in `setup` of a network."""
    sizes = self.sizes
    if sizes.vector_modalities:
      widths = tuple(sizes.widths[m] for m in sizes.vector_modalities)
      self.encoder = encoders.MLP(
        widths,
        sizes.hidden_dim,
        sizes.embedding_dim,
        sizes.dropout,
        sizes.axis_name,
      )
    self.sequences = [
      sequences.Group(sizes.make_encoder(group))
      for group in range(len(sizes.groups))
    ]

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to `[B, M, D]`, the mean token of each modality."""
    if not self.sizes.groups:
      return self.encoder(batch.features, train=train)
    tokens = self.encode_steps(batch, train=train)
    owners = sequences.modality_one_hot(
      self.sizes.step_token_modalities, len(self.sizes.widths)
    )
    return sequences.pool(tokens, self.steps_present(batch), owners)

  def encode_steps(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """Encodes a batch to tokens `[B, N, D]`, ordered as their modalities.

    See `Sizes.step_token_modalities`.
    """
    encoded, vectors = [], np.asarray(self.sizes.vector_modalities, int)
    if len(vectors):
      encoded.append(self.encoder(batch.features[:, vectors], train=train))
    for encoder, steps in zip(self.sequences, batch.sequences, strict=True):
      tokens = encoder(steps, train=train)
      encoded.append(tokens.reshape(len(tokens), -1, tokens.shape[-1]))
    return jnp.concatenate(encoded, axis=1)

  def steps_present(self, batch: types.Batch) -> chex.Array:
    """Returns a mask `[B, N]` of the valid tokens of `encode_steps`."""
    present = batch.present[:, np.asarray(self.sizes.step_token_modalities)]
    if self.sizes.encoder == "mtand":
      # Grid points are valid whatever the length of a sequence is.
      return present
    num_vectors = len(self.sizes.vector_modalities)
    masks = [jnp.ones((len(present), num_vectors), bool)]
    for group, steps in enumerate(batch.sequences):
      is_text = group in self.sizes.text_groups
      length = 1 if is_text else steps.values.shape[2]
      valid = sequences.step_mask(steps.length, length)
      masks.append(valid.reshape(len(valid), -1))
    return present & jnp.concatenate(masks, axis=1)

  def encoder_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the modality of each entry of an encoder's leading axis.

    The result is a pytree like `params`, the parameters of the network, of int
    arrays: `[G]` for a leaf of encoders, the scalar M for any other leaf.
    """
    sizes = self.sizes
    groups = {f"sequences_{i}": g for i, g in enumerate(sizes.groups)}
    groups |= {"encoder": sizes.vector_modalities}

    def repeat_ids(name, subtree):
      ids = np.asarray(groups.get(name, len(sizes.widths)))
      return jax.tree.map(lambda _: ids, subtree)

    return {name: repeat_ids(name, subtree) for name, subtree in params.items()}

  def penalties(self, usage: routers.Usage | None) -> Mapping[str, chex.Array]:
    """Computes the auxiliary losses from the usage of the experts, by name."""
    del usage
    return {}

  def __call__(self, batch, multipliers, *, train: bool) -> Outputs:
    """Encodes and fuses a batch."""
    embeddings = self.encode(batch, train=train)
    return self.fuse(embeddings, batch, multipliers, train=train)


class Unimodal(_Network):
  """One model per modality, trained together: U = M.

  Their parameters are disjoint, so one program trains all of them. Parameters
  of modalities of one shape are stacked along a leading axis.
  """

  def setup(self):
    """Declares encoders and heads."""
    super().setup()
    sizes = self.sizes
    embedding = (sizes.embedding_dim,) * len(sizes.widths)
    self.head = encoders.ModalityDense(sizes.num_outputs, embedding)

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> Outputs:
    """Maps each embedding to its outputs `[M, B, K]`; no multipliers apply."""
    del batch, multipliers, train
    return self.head(jnp.swapaxes(embeddings, 0, 1)), None

  def training_mask(self, present: chex.Array) -> chex.Array:
    """Returns `[M, B]`: a model is trained where its modality is present."""
    return jnp.swapaxes(present, 0, 1)

  def model_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns the model of each entry of a parameter's leading axis.

    The result is a pytree like `params`, the parameters of the network, of int
    arrays.
    """
    all_modalities = np.arange(len(self.sizes.widths))
    return jax.tree.map(
      lambda ids: ids if ids.ndim else all_modalities,
      self.encoder_ids(params),
    )


class Multimodal(_Network):
  """The base of the multimodal networks: one model, U = 1, and its head."""

  def setup(self):
    """Declares encoders and head."""
    super().setup()
    self.hidden = nn.Dense(self.sizes.hidden_dim)
    self.dropout = dropout.Dropout(self.sizes.dropout, self.sizes.axis_name)
    self.head = nn.Dense(self.sizes.num_outputs)

  def apply_head(self, embeddings: chex.Array, *, train: bool) -> chex.Array:
    """Maps concatenated embeddings `[B, M, D]` to outputs `[1, B, K]`."""
    x = jnp.reshape(embeddings, (embeddings.shape[0], -1))
    x = self.dropout(nn.relu(self.hidden(x)), train=train)
    return self.head(x)[None]

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """The modality of each embedding that `fuse` takes."""
    return tuple(range(len(self.sizes.widths)))

  def training_mask(self, present: chex.Array) -> chex.Array:
    """Returns `[1, B]`: all examples with at least one present modality."""
    return jnp.any(present, axis=-1)[None]

  def model_ids(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns 0 for each parameter: all belong to one model."""
    return jax.tree.map(lambda _: np.zeros((), int), params)

  def expert_mask(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Returns a pytree of bool, true for parameters with an axis of experts.

    That axis leads; `params` are the parameters of the network.
    """
    return jax.tree.map(lambda _: False, params)


class Concatenation(Multimodal):
  """The multimodal model that concatenates multiplied embeddings for an MLP."""

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> Outputs:
    """Maps embeddings `[B, M, D]` and multipliers `[B, M]` to `[1, B, K]`.

    Without multipliers it is the plain model on complete data.
    """
    del batch
    if multipliers is not None:
      embeddings = embeddings * multipliers[..., None]
    return self.apply_head(embeddings, train=train), None

  def fuse_subsets(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array,
    *,
    train: bool,
  ) -> chex.Array:
    """Fuses P subsets of the modalities, for outputs `[P, B, K]`.

    The first layer is linear in the embeddings, so that one product serves all
    subsets.
    """
    del batch
    params = self.hidden.variables["params"]
    shape = (*embeddings.shape[1:], -1)
    parts = jnp.einsum(
      "bmd,mdh->bmh", embeddings, params["kernel"].reshape(shape)
    )
    x = jnp.einsum("pbm,bmh->pbh", multipliers, parts) + params["bias"]
    # The subsets of an example share its dropout mask.
    mask = self.dropout(jnp.ones(x.shape[1:]), train=train)
    return self.head(nn.relu(x) * mask)
