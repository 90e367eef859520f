"""Tables of an audit about the modalities' weights and what they rest on."""

from collections.abc import Mapping
from typing import Any

from btw_jax.reports import tables


def information(content: Mapping[str, Any]) -> tables.Table | None:
  """Returns the table of each modality's information."""
  rows = [
    {
      "modality": row["modality"],
      "information, nats": f"{row['information']:.4f}",
      "by chance, nats": f"{row['null_mean']:.4f} ± {row['null_std']:.4f}",
      "p": tables.p_cell(row["p_value"]),
      "correlation": f"{row['correlation']:.3f}",
    }
    for row in content["information"]
  ]
  if not rows:
    return None
  reference = tables.quote(content["reference"])
  return tables.Table(
    "information",
    "Information",
    f"Information from each modality alone about the answers under {reference}",
    "The mutual information of the probabilities with one modality alone and of"
    f" those under {reference}, over all questions. “By chance” is the same"
    " with shuffled questions: mean ± standard deviation over shuffles. p is of"
    " a permutation test, corrected for several modalities by Holm's method.",
    rows,
  )


def weights(content: Mapping[str, Any]) -> tables.Table | None:
  """Returns the table of the mean weights."""
  rows = [
    {"modality": modality}
    | {
      row["variant"]: f"{row['means'][modality]:.3f}"
      for row in content["weights"]
    }
    for modality in _weighted(content)
  ]
  if not rows:
    return None
  return tables.Table(
    "weights",
    "Weights",
    "Mean weights of the modalities",
    "The mean weight of each modality by each variant of the BTW rule; the"
    " weights of a question sum to 1. weights.csv has those of every question.",
    rows,
  )


def _weighted(content):
  """Returns the modalities that have weights."""
  return [name for row in content["weights"][:1] for name in row["means"]]


def ensembles(content: Mapping[str, Any]) -> tables.Table | None:
  """Returns the table of the ensembles of single modalities."""
  if not content["ensembles"]:
    return None
  rows = [{"ensemble": r["ensemble"]} | _score(r) for r in content["ensembles"]]
  reference = content["reference"]
  rows += [
    {"ensemble": reference} | _score(row)
    for row in content["conditions"]
    if row["condition"] == reference and "nll" in row
  ]
  return tables.Table(
    "ensembles",
    "Combined answers",
    "Answers of the single modalities, combined",
    f"The probabilities of {tables.listing(_weighted(content))}, each alone,"
    " are combined to one answer: by their mean, or by the mean of their"
    " logarithms with the weights of a BTW variant. The last row is that of"
    f" {tables.quote(reference)}, for comparison.",
    rows,
  )


def _score(row):
  return {
    "accuracy %": tables.percent(row["accuracy"]),
    "NLL": f"{row['nll']:.3f}",
    "ECE %": tables.percent(row["ece"]),
  }


def training_weights(content: Mapping[str, Any]) -> tables.Table | None:
  """Returns the table of the weights for fine-tuning."""
  summary = content["training_weights"]
  if not summary:
    return None
  means = summary["means"]
  row = {
    "shortcut": summary["shortcut"],
    "questions with weight 3": f"{summary['num_gaps']:,}",
    "questions with weight 0.5": f"{summary['num_shortcuts']:,}",
    "mean SR": f"{means['synergy_ratio']:.3f}",
    "mean SC": f"{means['shortcut']:.3f}",
    "mean FP, nats": f"{means['fusion_potential']:.3f}",
    "mean GapScore, nats": f"{means['gap_score']:.3f}",
  }
  return tables.Table(
    "training_weights",
    "Weights for fine-tuning",
    "GapScore and weights for fine-tuning",
    "A high GapScore means that the model is more certain with both sources"
    " than with either one, although little of its information is synergy or"
    f" comes from the shortcut ({summary['shortcut']}) alone. The questions"
    " with the highest GapScore get weight 3, those that rest most on the"
    " shortcut get weight 0.5, and all others 1. training_weights.csv has the"
    " scores and the weight of every question.",
    [row],
  )
