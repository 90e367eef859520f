"""The sizes of the language model, and the layout of its tokens."""

from collections.abc import Sequence
import dataclasses

# The modalities, in the order of `Batch.present`.
TEXT, IMAGE, AUDIO = 0, 1, 2
# The token ids with a meaning of their own; all larger ids are words.
PAD, BOS, IMAGE_TOKEN, AUDIO_TOKEN, UNKNOWN = range(5)


@dataclasses.dataclass(frozen=True)
class LanguageSizes:
  """The sizes of a `LanguageNetwork`.

  Attributes:
    num_text: T, the number of tokens of a text, padding included.
    vocab_size: V.
    image_shape: height and width of an image, multiples of `patch_size`.
    patch_size: height and width of a patch; each patch is one token.
    audio_shape: F frames of so many log-mel features; None without audio.
    frames_per_token: frames that make one token, a divisor of F.
    embedding_dim: D, width of an embedding, a multiple of `2 * num_heads`.
    hidden_dim: number of hidden units of an MLP.
    num_layers: L of the decoder.
    num_heads: number of query heads.
    num_kv_heads: number of heads of keys and values, a divisor of `num_heads`.
    tower_layers: number of layers of the towers of images and audio.
    tied: whether the head is the transposed embedding of the tokens.
    rope_base: the base of the rotary positions.
    num_steps: (F,) with audio, else (); `F` of the batch, as trainers set it.
    axis_name: axis of the devices that a batch is sharded over, or None.
    experts_axis_name: unused; trainers set it for any network.
  """

  num_text: int
  vocab_size: int
  image_shape: tuple[int, int] = (8, 8)
  patch_size: int = 4
  audio_shape: tuple[int, int] | None = None
  frames_per_token: int = 4
  embedding_dim: int = 64
  hidden_dim: int = 176
  num_layers: int = 4
  num_heads: int = 4
  num_kv_heads: int = 2
  tower_layers: int = 1
  tied: bool = True
  rope_base: float = 10_000.0
  num_steps: Sequence[int] = ()
  axis_name: str | Sequence[str] | None = None
  experts_axis_name: str | None = None

  def __post_init__(self):
    """Refuses sizes that do not fit each other."""
    if self.embedding_dim % (2 * self.num_heads):
      raise ValueError(
        f"embedding_dim={self.embedding_dim}: choose a multiple of twice"
        f" num_heads={self.num_heads}."
      )
    if self.num_heads % self.num_kv_heads:
      raise ValueError(
        f"num_kv_heads={self.num_kv_heads}: choose a divisor of"
        f" num_heads={self.num_heads}."
      )
    if any(side % self.patch_size for side in self.image_shape):
      raise ValueError(
        f"patch_size={self.patch_size}: choose a divisor of both sides of an"
        f" image, {self.image_shape}."
      )
    if self.audio_shape and self.audio_shape[0] % self.frames_per_token:
      raise ValueError(
        f"frames_per_token={self.frames_per_token}: choose a divisor of the"
        f" {self.audio_shape[0]} frames."
      )

  @property
  def widths(self) -> tuple[int, ...]:
    """The number of features of each modality before padding."""
    height, width = self.image_shape
    vectors = (self.num_text, height * width)
    return vectors if self.audio_shape is None else (*vectors, self._num_audio)

  @property
  def _num_audio(self):
    num_frames, num_features = self.audio_shape
    return num_frames * num_features

  @property
  def num_image_tokens(self) -> int:
    """P, the number of patches of an image."""
    height, width = self.image_shape
    return (height // self.patch_size) * (width // self.patch_size)

  @property
  def num_audio_tokens(self) -> int:
    """Q, the number of tokens of a sound; 0 without audio."""
    if self.audio_shape is None:
      return 0
    return self.audio_shape[0] // self.frames_per_token

  @property
  def num_outputs(self) -> int:
    """The number of outputs: one logit per token of the vocabulary."""
    return self.vocab_size

  @property
  def groups(self) -> tuple[tuple[int, ...], ...]:
    """The sequence modalities, grouped by shape, as in `Batch.sequences`."""
    return () if self.audio_shape is None else ((AUDIO,),)

  @property
  def step_token_modalities(self) -> tuple[int, ...]:
    """The modality of each of the N = P + Q + T embeddings, in that order."""
    return (
      (IMAGE,) * self.num_image_tokens
      + (AUDIO,) * self.num_audio_tokens
      + (TEXT,) * self.num_text
    )

  @property
  def num_encoded_steps(self) -> int:
    """The number of embeddings of an example that the decoder reads."""
    return len(self.step_token_modalities)
