"""Names of the methods that balance modalities. It imports nothing heavy."""

import importlib
from typing import Any

# Name of a method, which is that of its module -> what it does.
METHODS = {
  "unimodal_losses": "adds the loss of each modality alone",
  "mmpareto": "combines the gradients of both kinds of losses per encoder",
  "ogm": "slows down the encoders of modalities that are ahead",
  "ogm_ge": "ogm, with noise in the gradients",
  "agm": "speeds up or slows down encoders by their share of the prediction",
  "opm": "drops modalities that are ahead",
  "modality_dropout": "drops modalities at a fixed rate",
  "umt": "keeps embeddings close to those of the unimodal models",
  "gblend": "weighs the losses by how well each generalises",
  "valuation": "shows a modality alone where it contributes little",
  "mla": "trains one modality at a time, with a head that all share",
  "mixup": "mixes the embeddings and targets of two examples",
}


def load(name: str) -> Any:
  """Returns the class `Method` of a method."""
  return importlib.import_module(f"{__package__}.{name}").Method
