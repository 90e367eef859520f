"""Contents of audit.json, made by hand."""

ATOMS = ("redundant", "unique1", "unique2", "synergistic")


def condition(name, accuracy=None, *, with_scores=False, unanswered=0):
  """Returns a row of `conditions`, with an interval of ± 2 points."""
  row = {"condition": name, "unanswered": unanswered}
  if accuracy is not None:
    row["accuracy"] = accuracy
    row["accuracy_interval"] = [accuracy - 0.02, accuracy + 0.02]
  if with_scores:
    row |= {"nll": 0.7, "ece": 0.05}
  return row


def change(name, flipped, accuracy_change=None, *, num_questions=100):
  """Returns a row of `changes`, with intervals of ± 2 points."""
  row = {"condition": name, "num_questions": num_questions, "flipped": flipped}
  row["flipped_interval"] = [flipped - 0.02, flipped + 0.02]
  if accuracy_change is not None:
    for field, value in (
      ("accuracy_before", 0.9),
      ("accuracy_after", 0.9 + accuracy_change),
      ("accuracy_change", accuracy_change),
    ):
      row |= {field: value, f"{field}_interval": [value - 0.02, value + 0.02]}
  return row


def atoms(*means, spread=0.01):
  """Returns atoms with these means: R, U1, U2 and S."""
  return {
    atom: {"mean": mean, "spread": spread}
    for atom, mean in zip(ATOMS, means, strict=True)
  }


def interaction(of_atoms, task="", **others):
  """Returns a row of `interactions`, by default of vision and text."""
  return {
    "task": task,
    "first": "vision",
    "second": "text",
    "control": "",
    "num_questions": 100,
    "num_answered": 90,
    "accuracy": None,
    "kind": "probabilities",
    "gap": 0.0005,
    "atoms": of_atoms,
    "lacking": "more questions",
  } | others


def content(**parts):
  """Returns the content of an audit of 100 questions that measured nothing."""
  return {
    "num_questions": 100,
    "num_labelled": 100,
    "num_options": {"2": 50, "4": 50},
    "files": {"both": "both.jsonl"},
    "probabilities": [],
    "reference": "both",
    "modalities": ["vision", "text"],
    "roles": "",
    "notes": [],
    "conditions": [],
    "weights": [],
    "information": [],
    "ensembles": [],
    "changes": [],
    "interactions": [],
    "training_weights": None,
    "lacking": {},
  } | parts


def everything():
  """Returns the content of an audit that has all tables."""
  information = {
    "modality": "vision", "information": 0.3, "null_mean": 0.1,
    "null_std": 0.02, "p_value": 0.01, "correlation": 0.5,
  }  # fmt: skip
  means = ("synergy_ratio", "shortcut", "fusion_potential", "gap_score")
  return content(
    probabilities=["both"],
    roles="both shows everything; noise is a changed input",
    notes=["A note."],
    conditions=[condition("both", 0.9, with_scores=True)],
    changes=[change("noise", 0.4, -0.3)],
    interactions=[interaction(atoms(0.4, -0.1, 0.05, -0.2))],
    information=[information],
    weights=[
      {"variant": "uniform", "means": {"vision": 0.5, "text": 0.5}},
      {"variant": "kl+mi", "means": {"vision": 0.8, "text": 0.2}},
    ],
    ensembles=[
      {"ensemble": "mean probability", "accuracy": 0.7, "nll": 0.8, "ece": 0.1}
    ],
    training_weights={
      "shortcut": "text", "num_top": 10, "num_gaps": 10, "num_shortcuts": 8,
      "means": {name: 0.25 for name in means},
    },
    options={"by": "category"},
    versions={"btw_jax": "0.1.0"},
    finished="2026-11-26",
  )  # fmt: skip
