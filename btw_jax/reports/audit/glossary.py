"""The glossary of the page of an audit."""

from collections.abc import Mapping
import re


def explain(text: str) -> dict[str, str]:
  """Returns term -> explanation, for the terms that a text uses."""
  return {
    term: explanation
    for term, (pattern, explanation) in _TERMS.items()
    if re.search(pattern, text)
  }


# term -> the pattern by which it is found, and its explanation
_TERMS: Mapping[str, tuple[str, str]] = {
  "condition": (
    r"\bconditions?\b",
    "A set of answers to the same questions. Conditions differ in what the"
    " model was shown, or in the model.",
  ),
  "changed input": (
    r"\bchanged input\b",
    "A condition in which a part of the input was replaced, for example by"
    " noise or by a misleading text. Its name tells that.",
  ),
  "decision": (
    r"\bdecisions?\b",
    "The option that the model chooses: the one with the highest probability,"
    " or the answer that the file holds.",
  ),
  "95 % interval": (
    r"95 % (bootstrap )?interval",
    "The percentile interval of a bootstrap over the questions, or over groups"
    " of questions if a column of groups is given.",
  ),
  "NLL": (
    r"\bNLL\b",
    "The mean negative log-likelihood of the right option, in nats. Lower is"
    " better.",
  ),
  "ECE": (
    r"\bECE\b",
    "The expected calibration error: the mean difference between the confidence"
    " of decisions and the share of right ones, in bins of similar confidence,"
    " in %. Lower is better.",
  ),
  "nats": (
    r"\bnats\b",
    "The unit of information and of likelihood; 1 nat is 1.44 bits.",
  ),
  "KL": (
    r"\bKL\b",
    "The Kullback-Leibler divergence of two sets of probabilities, in nats: 0"
    " if they are the same.",
  ),
  "information": (
    r"\b[Ii]nformation\b",
    "The mutual information: how much less uncertain one thing is when another"
    " is known, in nats; 0 if they are independent.",
  ),
  "PID": (
    r"\bPID\b",
    "Partial information decomposition. It splits the information of two"
    " sources about a decision into the four parts below.",
  ),
  "redundant (R)": (
    r"\(R\)|\bredundant\b",
    "Information that either source gives.",
  ),
  "unique (U1, U2)": (
    r"\(U1\)|\bunique\b",
    "Information that only one of the two sources gives.",
  ),
  "synergistic (S)": (
    r"\(S\)|\bsynergistic\b|\bsynergy\b",
    "Information that only both sources together give. It is negative if the"
    " condition with both holds less information than the two with one source"
    " imply.",
  ),
  "gap": (
    r"\bgap\b",
    "The largest numerical error of a part of the decomposition, in nats. The"
    " solver proves this bound.",
  ),
  "distance": (
    r"\bdistance\b",
    "The total variation distance between the mean probabilities of a condition"
    " and those of the condition with both sources: 0 if they are equal, at"
    " most 1. The largest of the conditions is shown.",
  ),
  "given (control)": (
    r", given ",
    "What all three conditions of a decomposition show. The information is"
    " measured for each value of it if a column for it is given.",
  ),
  "BTW variants": (
    r"\bBTW\b",
    "The rules that weight modalities. uniform: equal weights. kl: by the"
    " divergence of a modality's probabilities from the multimodal ones, for"
    " each question. mi, cc: by their mutual information or correlation over"
    " all questions. kl+mi, kl+cc: by the product of the two.",
  ),
  "correlation": (
    r"\bcorrelation\b",
    "The Pearson correlation of the probabilities with one modality alone and"
    " of the multimodal ones over all questions, averaged over the options.",
  ),
  "shortcut": (
    r"\bshortcut\b",
    "The source that the model could answer by without looking at the other;"
    " the text unless an option names another.",
  ),
  "SR, SC": (
    r"\bSR\b",
    "The share of synergy, and the share that the shortcut alone gives, in the"
    " positive information of a question; means over all questions.",
  ),
  "FP": (
    r"\bFP\b",
    "The fusion potential: how much less entropy the answer has with both"
    " sources than with the better single one, in nats, and at least 0."
    " GapScore = (1 − SR) (1 − SC) FP, for each question.",
  ),
  "GapScore": (
    r"\bGapScore\b",
    "A score of each question, in nats. It is high if the model is more certain"
    " with both sources than with either one, although little of its"
    " information is synergy or comes from the shortcut.",
  ),
}
