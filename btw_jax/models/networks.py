"""Whole networks: the unimodal models and the multimodal one.

All run in two parts, `encode` (a batch to embeddings) and `fuse` (embeddings
and their multipliers to outputs `[U, B, K]`, U the number of models trained
side by side), so that new weights need no new embeddings. `fuse` also returns
how experts were used, None in a network without.
"""

from collections.abc import Mapping, Sequence
import dataclasses

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

# What `fuse` returns.
Outputs = tuple[chex.Array, routers.Usage | None]

# name -> encoder of a modality that comes in steps
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


@dataclasses.dataclass(frozen=True)
class Sizes:
  """Shape of a network.

  Attributes:
    widths: features of each modality before padding.
    num_outputs: K, outputs of a head.
    hidden_dim: hidden units of encoders, experts and heads.
    embedding_dim: width of an embedding.
    dropout: share of hidden units dropped in training, in [0, 1).
    groups: modalities that come in steps, by shape, as `Batch.sequences`.
    num_steps: T of each group.
    encoder: a name of `SEQUENCE_ENCODERS`.
    num_heads: of attention; divides `embedding_dim`.
    num_layers: of attention, in encoders of sequences and in fusion.
    num_points: grid points of "mtand".
    axis_name: of the devices that a batch is spread over, so that what is drawn
      does not depend on how many there are; None if it is not.
    experts_axis_name: of devices that share the experts, or None.
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
  axis_name: str | Sequence[str] | None = None
  experts_axis_name: str | None = None

  @property
  def vectors(self) -> tuple[int, ...]:
    """Modalities that do not come in steps."""
    stepped = {m for group in self.groups for m in group}
    return tuple(m for m in range(len(self.widths)) if m not in stepped)

  @property
  def tokens(self) -> tuple[int, ...]:
    """Modality of each token that encoders make of an example."""
    owners = list(self.vectors)
    for group, num_steps in zip(self.groups, self.num_steps, strict=True):
      length = self.num_points if self.encoder == "mtand" else num_steps
      owners += [m for m in group for _ in range(length)]
    return tuple(owners)


class _Encoding(nn.Module):
  """What all networks begin with.

  Attributes:
    sizes: of the network.
  """

  sizes: Sizes

  def setup(self):
    """Declares the encoders."""
    sizes = self.sizes
    if sizes.vectors:
      widths = tuple(sizes.widths[m] for m in sizes.vectors)
      self.encoder = encoders.MLP(
        widths,
        sizes.hidden_dim,
        sizes.embedding_dim,
        sizes.dropout,
        sizes.axis_name,
      )
    self.sequences = [
      sequences.Group(SEQUENCE_ENCODERS[sizes.encoder](sizes))
      for _ in sizes.groups
    ]

  def encode(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """A batch to embeddings `[B, M, D]`, the mean of a modality's tokens."""
    if not self.sizes.groups:
      return self.encoder(batch.features, train=train)
    tokens = self.encode_steps(batch, train=train)
    owners = sequences.whose(self.sizes.tokens, len(self.sizes.widths))
    return sequences.pool(tokens, self.steps_present(batch), owners)

  def encode_steps(self, batch: types.Batch, *, train: bool) -> chex.Array:
    """A batch to tokens `[B, N, D]`, N of `Sizes.tokens`."""
    parts, vectors = [], np.asarray(self.sizes.vectors, int)
    if len(vectors):
      parts.append(self.encoder(batch.features[:, vectors], train=train))
    for encoder, steps in zip(self.sequences, batch.sequences, strict=True):
      tokens = encoder(steps, train=train)
      parts.append(tokens.reshape(len(tokens), -1, tokens.shape[-1]))
    return jnp.concatenate(parts, axis=1)

  def steps_present(self, batch: types.Batch) -> chex.Array:
    """Which tokens of `encode_steps` are there, `[B, N]` bool."""
    present = batch.present[:, np.asarray(self.sizes.tokens)]
    if self.sizes.encoder == "mtand":
      return present
    start = len(self.sizes.vectors)
    ends = [jnp.ones((len(present), start), bool)]
    for steps in batch.sequences:
      inside = sequences.inside(steps.length, steps.values.shape[2])
      ends.append(inside.reshape(len(inside), -1))
    return present & jnp.concatenate(ends, axis=1)

  def penalties(self, usage: routers.Usage | None) -> Mapping[str, chex.Array]:
    """What the usage of experts by a batch may be made to cost."""
    del usage
    return {}

  def __call__(self, batch, multipliers, *, train: bool) -> Outputs:
    """Encodes and fuses."""
    embeddings = self.encode(batch, train=train)
    return self.fuse(embeddings, batch, multipliers, train=train)


class Unimodal(_Encoding):
  """One model per modality, trained side by side: U = M.

  Their parameters are disjoint, so one program trains them all and each could
  be cut out alone: those of modalities of one shape share a leading axis.
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
    """Each embedding to its own outputs `[M, B, K]`; nothing to multiply."""
    del batch, multipliers, train
    return self.head(jnp.swapaxes(embeddings, 0, 1)), None

  def where(self, present: chex.Array) -> chex.Array:
    """`[M, B]`: a modality's model is trained where the modality is present."""
    return jnp.swapaxes(present, 0, 1)

  def models(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Which model each entry of a parameter's leading axis belongs to.

    Args:
      params: the network's parameters.

    Returns:
      A pytree like `params`, of int arrays.
    """
    groups = {f"sequences_{i}": g for i, g in enumerate(self.sizes.groups)}
    groups |= {"encoder": self.sizes.vectors}
    every = tuple(range(len(self.sizes.widths)))

    def owners(name, part):
      ids = np.asarray(groups.get(name, every))
      return jax.tree.map(lambda _: ids, part)

    return {name: owners(name, part) for name, part in params.items()}


class Multimodal(_Encoding):
  """What the multimodal networks share: one model, U = 1, and its head."""

  def setup(self):
    """Declares encoders and head."""
    super().setup()
    self.hidden = nn.Dense(self.sizes.hidden_dim)
    self.dropout = dropout.Dropout(self.sizes.dropout, self.sizes.axis_name)
    self.head = nn.Dense(self.sizes.num_outputs)

  def read(self, embeddings: chex.Array, *, train: bool) -> chex.Array:
    """Embeddings `[B, M, D]`, side by side, to outputs `[1, B, K]`."""
    x = jnp.reshape(embeddings, (embeddings.shape[0], -1))
    x = self.dropout(nn.relu(self.hidden(x)), train=train)
    return self.head(x)[None]

  @property
  def token_modalities(self) -> tuple[int, ...]:
    """Whose each of the embeddings is that `fuse` takes."""
    return tuple(range(len(self.sizes.widths)))

  def where(self, present: chex.Array) -> chex.Array:
    """`[1, B]`: every example that has any modality."""
    return jnp.any(present, axis=-1)[None]

  def models(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Every parameter belongs to the one model, on no axis of its own."""
    return jax.tree.map(lambda _: np.zeros((), int), params)

  def of_experts(self, params: chex.ArrayTree) -> chex.ArrayTree:
    """Which parameters have a leading axis of experts.

    Args:
      params: the network's parameters.

    Returns:
      A pytree like `params`, of bool.
    """
    return jax.tree.map(lambda _: False, params)


class Concatenation(Multimodal):
  """The multimodal model: multiplied embeddings, concatenated, then an MLP."""

  def fuse(
    self,
    embeddings: chex.Array,
    batch: types.Batch,
    multipliers: chex.Array | None,
    *,
    train: bool,
  ) -> Outputs:
    """Embeddings `[B, M, D]` times multipliers `[B, M]` to `[1, B, K]`.

    Without multipliers this is the plain model on complete data.
    """
    del batch
    if multipliers is not None:
      embeddings = embeddings * multipliers[..., None]
    return self.read(embeddings, train=train), None
