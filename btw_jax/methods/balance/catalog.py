"""Names of the methods that balance modalities. It imports nothing heavy."""

import importlib
from typing import Any, NamedTuple


class Entry(NamedTuple):
  """A method, as reports describe it.

  Attributes:
    does: what it does.
    needs: what a step needs besides one pass; empty for nothing.
    has_teacher: whether it learns from the unimodal models.
    has_network: whether it replaces the multimodal network.
  """

  does: str
  needs: str = ""
  has_teacher: bool = False
  has_network: bool = False


_ALONE = "a further pass for each modality in every step"
_SUBSETS = "further passes with subsets of the modalities in every step"
_TURNS = "a step for each modality on every batch"

# Name of a method, which is that of its module -> its entry.
METHODS = {
  "unimodal_losses": Entry("adds the loss of each modality alone", _ALONE),
  "mmpareto": Entry(
    "combines the gradients of both kinds of losses per encoder",
    f"{_ALONE}, with a gradient of its own",
  ),
  "ogm": Entry("slows down the encoders of modalities that are ahead", _ALONE),
  "ogm_ge": Entry("slows down encoders as ogm does, and adds noise", _ALONE),
  "agm": Entry(
    "speeds up or slows down encoders by their share of the output", _SUBSETS
  ),
  "opm": Entry("drops a modality that is ahead of all others together", _ALONE),
  "modality_dropout": Entry("drops modalities at a fixed rate"),
  "umt": Entry(
    "keeps embeddings close to those of the unimodal models",
    "a pass through the unimodal models in every step",
    has_teacher=True,
  ),
  "gblend": Entry("weighs the losses by how well each generalises", _ALONE),
  "valuation": Entry(
    "shows a modality alone where it contributes little", _SUBSETS
  ),
  "mla": Entry(
    "trains one modality at a time, with a shared head", _TURNS,
    has_network=True,
  ),
  "mixup": Entry("mixes the embeddings and targets of two examples"),
}  # fmt: skip


def load(name: str) -> Any:
  """Returns the class `Method` of a method."""
  return importlib.import_module(f"{__package__}.{name}").Method
