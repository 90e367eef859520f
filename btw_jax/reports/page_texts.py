"""The captions and the glossary of the page, in the words of the task."""

from collections.abc import Mapping
from typing import NamedTuple


class _Words(NamedTuple):
  """The words of a task that captions use.

  Attributes:
    errors: the metrics of which a negative change is an improvement.
    calibration: what the calibration plot shows.
    quality: what is shown by the size of a weight.
    decision: the prediction that interventions may change.
    changed: the share that the interference plot shows.
    other: the examples that a mismatch takes a modality from.
  """

  errors: str
  calibration: str
  quality: str
  decision: str
  changed: str
  other: str


_CLASSIFICATION = _Words(
  errors="NLL",
  calibration="share of correct decisions by their confidence",
  quality="share of correct decisions",
  decision="the model's decision",
  changed="decisions that change",
  other="an example with another class",
)
_REGRESSION = _Words(
  errors="MAE or NLL",
  calibration="share of targets below each predicted quantile",
  quality="mean absolute error",
  decision="the side of the training mean on which the model's prediction lies",
  changed="predictions that move to the other side of the training mean",
  other="an example whose target is on the other side",
)


def captions(*, regression: bool) -> dict[str, str]:
  """Returns the title of each group of panels, in order, and its caption."""
  words = _REGRESSION if regression else _CLASSIFICATION
  subject = "prediction" if regression else "decision"
  return {
    "Change by each weighting": (
      "The mean paired difference to the first row of the table, with the signs"
      f" of its Δ columns: a negative change of {words.errors} is an"
      " improvement. ▲ marks a significant improvement, ▼ a significant loss,"
      " and ● no significant difference."
    ),
    "Learning curves and calibration": (
      "The first two plots show the loss in each epoch, on one scale."
      " Weightings that are the same model share one line. The third plot shows"
      f" the {words.calibration}: the closer to the dotted line, the better."
      " Many methods are split into parts, each with the uniform model."
    ),
    "Weights over training": (
      "The mean weight of each modality over the training examples. Equal"
      " weights are the same as the uniform model."
    ),
    "Weights of test examples": (
      "The number of test examples with each weight, and the"
      f" {words.quality} where a modality has a small or a large weight."
    ),
    "Experts": (
      "The share of each modality's gates that each expert received in the last"
      " epoch."
    ),
    "Contribution of each modality": (
      "The Shapley value of each modality for the log-likelihood of the test"
      " examples, with its 95 % interval over seeds and examples. The values of"
      " a model add up to what all modalities tell together. The bars, if there"
      " are several models, show the share of each modality in the sum of the"
      " positive contributions. The number beside a bar is the imbalance, which"
      " the table of the imbalance explains."
    ),
    f"Information about the {subject}": (
      "Partial information decomposition between one modality and all others:"
      f" information about {words.decision} that either of them gives"
      " (redundant), that only one gives (unique), or that only both together"
      " give (synergistic)."
    ),
    "Interference": (
      f"The share of {words.changed} when one modality is replaced by noise, or"
      f" by that of {words.other} (mismatch)."
    ),
  }


def glossary(
  *,
  classification: bool,
  regression: bool,
  contributions: bool,
  costs: bool = False,
  methods: Mapping[str, str] | None = None,
) -> Mapping[str, str]:
  """Returns term -> explanation.

  The arguments say if the page has data sets of these tasks, plots of
  contributions and costs. `methods` maps balancing methods to what they do.
  """
  terms = dict(_TERMS)
  for name, text in (methods or {}).items():
    terms[name] = f"A method that balances modalities. It {text}."
  if classification:
    terms["accuracy"] = (
      "The share of correct decisions, in %. Higher is better."
    )
  if regression:
    terms["MAE"] = (
      "The mean absolute error, in the unit of the target. Lower is better."
    )
  terms["ECE"] = "The expected calibration error, in %. Lower is better. " + (
    " ".join(_list_errors(classification, regression))
  )
  if costs:
    terms["cost"] = (
      "The time of an epoch, divided by that of the uniform model. It does not"
      " count the candidates that a method chose from."
    )
  if contributions:
    terms["imbalance"] = (
      "0 if all modalities contribute the same, 1 if one modality contributes"
      " everything: 1 minus the entropy of their shares, divided by its largest"
      " value."
    )
    terms["Shapley value"] = (
      "The share of a modality in what all modalities tell together, in nats of"
      " log-likelihood: its gain, averaged over all orders in which the"
      " modalities can be added."
    )
  return terms


def _list_errors(classification, regression):
  """Yields what the calibration error compares in each task."""
  if classification:
    yield (
      "It compares the confidence of decisions with the share of correct ones."
    )
  if regression:
    yield (
      "It compares each predicted quantile with the share of targets below it."
    )


_TERMS = {
  "uniform": (
    "The multimodal model whose modalities have equal weights. All other"
    " weightings are compared with it."
  ),
  "gate": (
    "Closes the modalities that tests find idle, and gives equal weights to all"
    " others. It is the uniform model if validation does not confirm that."
  ),
  "kl": (
    "Weights for each example, from the divergence KL(p‖q) of the prediction q"
    " of the multimodal model from the prediction p of a modality's own model."
  ),
  "mi": (
    "Weights from the mutual information of p and q over the training examples."
    " They are equal for all examples that have the same modalities."
  ),
  "kl+mi": "Weights from the product of the two, normalised.",
  "auto": (
    "The best of gate, mi and kl+mi at several strengths, by validation loss;"
    " the gate or the uniform model if the gain is within its standard error."
  ),
  "strength, λ": (
    "A number from 0 (uniform weights) to 1 (the full weights of a weighting)."
  ),
  "embedding scale": (
    "A constant factor of all embeddings, the same for every weighting."
  ),
  "nats": "The unit of information and of likelihood; 1 nat is 1.44 bits.",
  "NLL": (
    "The mean negative log-likelihood of the targets, in nats. Lower is better."
  ),
  "Δ": (
    "The mean difference to the uniform model, over seeds. Its sign is that of"
    " the change: a negative Δ NLL is an improvement."
  ),
  "▲, ▼": (
    "A significant improvement, and a significant loss: p < .05 in a paired"
    " permutation test, after Holm's correction."
  ),
}
