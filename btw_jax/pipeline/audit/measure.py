"""All that the answers of a model allow to measure, and what they lack."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from btw_jax.data.answers import conditions
from btw_jax.pipeline import progress
from btw_jax.pipeline.audit import changes
from btw_jax.pipeline.audit import interactions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import quality
from btw_jax.pipeline.audit import roles as roles_lib
from btw_jax.pipeline.audit import training_weights
from btw_jax.pipeline.audit import weights as weights_lib


@dataclasses.dataclass
class Measured:
  """The results of an audit.

  Attributes:
    content: what audit.json holds.
    tables: name of a CSV file -> column -> `[N]` values for each question.
  """

  content: dict[str, Any]
  tables: dict[str, Mapping[str, np.ndarray]]


def measure(
  answers: conditions.Answers, options: options_lib.Options
) -> Measured:
  """Measures all that the answers allow.

  Raises:
    InputError: if an option names a condition or a column that is not there.
  """
  roles = roles_lib.assign(
    list(answers.decisions), options.modalities, options.reference
  )
  groups = None
  if options.group:
    groups = interactions.column(answers, "group", options.group)
  if options.control:
    interactions.column(answers, "control", options.control)
  pairs = roles_lib.pairs(roles)
  tasks = interactions.tasks(answers, options.by)
  training_weights.check_shortcut(pairs, options.shortcut)
  measured = Measured(_describe(answers, roles), {})
  content, lacking = measured.content, measured.content["lacking"]
  with progress.doing("measuring accuracy and calibration"):
    content["conditions"] = quality.measure(
      answers, groups, options.num_resamples
    )
  if not quality.labelled(answers).any():
    lacking["accuracy, likelihood and calibration"] = (
      "a column `label` with the right answer"
    )
  _weigh(measured, answers, roles, options)
  others = [name for name in answers.decisions if name != roles.reference]
  if roles.reference is None or not others:
    lacking["changed decisions"] = (
      "a condition that shows everything, named both, and one that does not,"
      " such as without_vision or noise"
    )
  else:
    with progress.doing("comparing decisions"):
      content["changes"] = changes.measure(
        answers, roles.reference, others, groups, options.num_resamples
      )
  if not pairs:
    lacking["interactions (PID)"] = _missing_conditions(roles)
  _decompose(measured, answers, pairs, tasks, options)
  return measured


def _describe(answers, roles) -> dict[str, Any]:
  """Returns what was read."""
  counts, numbers = np.unique(answers.num_options, return_counts=True)
  return {
    "num_questions": len(answers),
    "num_labelled": int(quality.labelled(answers).sum()),
    "num_options": dict(
      zip(map(str, counts.tolist()), numbers.tolist(), strict=True)
    ),
    "files": dict(answers.files),
    "probabilities": list(answers.log_probs),
    "reference": roles.reference,
    "modalities": list(roles.modalities),
    "roles": roles_lib.describe(roles),
    "notes": [
      *answers.notes,
      *roles_lib.notes(roles),
      *_say_identical(answers, roles.reference),
    ],
    "conditions": [],
    "weights": [],
    "information": [],
    "ensembles": [],
    "changes": [],
    "interactions": [],
    "training_weights": None,
    "lacking": {},
  }


def _say_identical(answers, reference):
  """Says which conditions have exactly the predictions of the reference."""
  for name in answers.decisions:
    if name == reference or reference is None:
      continue
    tables = [t for t in (answers.decisions, answers.log_probs) if name in t]
    if all(
      reference in table and np.array_equal(table[name], table[reference])
      for table in tables
    ):
      yield (
        f"{name} has exactly the predictions of {reference}: if both come from"
        " files, are they the same?"
      )


def _missing_conditions(roles):
  """Names conditions that would make a pair of sources."""
  if roles.reference is not None and len(roles.modalities) > 2:
    name = roles.modalities[0]
    return f"a condition that shows all modalities but one: without_{name}"
  return (
    "three conditions that show both sources, the first and the second, such as"
    " both, vision and text"
  )


def _weigh(measured, answers, roles, options):
  """Computes weights, information and ensembles."""
  content, lacking = measured.content, measured.content["lacking"]
  alone = {m: c for m, c in roles.alone.items() if c in answers.log_probs}
  if len(alone) < 2 or roles.reference not in answers.log_probs:
    lacking["weights and information"] = (
      "conditions with probabilities: one that shows everything, named both,"
      " and two or more that show one modality each"
    )
    return
  if not {roles.reference, *alone.values()}.isdisjoint(answers.ceilings):
    lacking["weights and information"] = (
      "longer lists of tokens (top_logprobs), which hold every option"
    )
    return
  with progress.doing("weighting modalities"):
    weights = weights_lib.compute(
      answers,
      alone,
      roles.reference,
      # So many that a p-value can be below .05 after Holm's correction.
      num_permutations=max(options.num_permutations, 40 * len(alone) - 1),
      seed=options.seed,
    )
  content["information"] = list(weights.information)
  content["weights"] = weights_lib.means(weights, list(alone))
  measured.tables["weights.csv"] = weights_lib.columns(weights, list(alone))
  if quality.labelled(answers).any():
    content["ensembles"] = quality.ensembles(
      answers, list(alone.values()), weights.tables
    )


def _decompose(measured, answers, pairs, tasks, options):
  """Computes interactions, those of each task, and weights for fine-tuning."""
  content, lacking = measured.content, measured.content["lacking"]
  if options.control and not any(pair.control for pair in pairs):
    lacking["Sensory PID"] = (
      "three conditions that share a control, such as both, vision+text and"
      " audio+text"
    )
  for pair in pairs:
    name = f"{pair.first} and {pair.second}"
    with progress.doing(f"decomposing decisions by {name}"):
      whole = interactions.measure(answers, pair, options)
      content["interactions"].append(whole.row)
      for task, rows in tasks:
        of_task = answers.select(rows)
        content["interactions"].append(
          interactions.measure(of_task, pair, options, task=task).row
        )
    if whole.atoms is not None:
      given = f"_given_{pair.control}" if pair.control else ""
      file = f"interactions_{pair.first}_{pair.second}{given}.csv"
      measured.tables[file] = {
        atom: getattr(whole.atoms, atom) for atom in interactions.ATOMS
      }
      if content["training_weights"] is None and not pair.control:
        scored = training_weights.compute(answers, pair, whole.atoms, options)
        content["training_weights"] = dict(scored.summary)
        measured.tables["training_weights.csv"] = scored.columns
  if content["training_weights"] is None:
    lacking["GapScore and training weights"] = (
      "three conditions with probabilities, such as both, vision and text"
    )
