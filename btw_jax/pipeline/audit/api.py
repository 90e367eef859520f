"""An audit of predictions in Python: btw_jax.audit."""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

import numpy as np

from btw_jax import errors
from btw_jax.data.answers import arrays as answer_arrays
from btw_jax.pipeline import arrays
from btw_jax.pipeline import logs
from btw_jax.pipeline import settings as settings_lib
from btw_jax.pipeline.audit import measure as measure_lib
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import run
from btw_jax.reports.audit import tables as audit_tables


def audit(
  predictions: str | os.PathLike | Mapping[str, Any],
  labels: Any = None,
  *,
  ids: Sequence[Any] | None = None,
  options: Sequence[str] | None = None,
  columns: Mapping[str, Sequence[Any]] | None = None,
  output: str | os.PathLike | None = None,
  verbose: bool = False,
  **settings: Any,
) -> "Audit":
  """Measures what the predictions of any model tell about its modalities.

  It does what the command `btw-jax audit` does. The names of the conditions say
  what the model was shown: `both` (or `all`, `multimodal`) everything, `text`
  one modality, `vision+text` several, `without_vision` all others, and a name
  with a word such as `noise` or `misleading` a changed input. The model of a
  modality alone is the condition with its name.

  Args:
    predictions: condition -> `[N, C]` probabilities, log-probabilities or
      logits, or `[N]` answers (arrays or tensors); condition -> file; or one
      file or folder that holds several conditions.
    labels: `[N]` right options, if predictions are arrays: positions or names.
    ids: `[N]` ids, likewise; row numbers by default.
    options: C names of the options, likewise; letters by default.
    columns: name -> `[N]` values to group questions by, likewise.
    output: folder for the files of the audit; nothing is written by default.
    verbose: whether to log the progress.
    **settings: every setting of `btw-jax audit`, by the name of its flag.

  Returns:
    The results.

  Raises:
    InputError: a `ValueError` of one line, if an array, a file or a setting is
      wrong.
  """
  with logs.shown(verbose), settings_lib.named_in_python():
    chosen = options_lib.make(settings)
    if output is not None:
      run.check_output(os.fspath(output))
    answers = _read(predictions, labels, ids, options, columns, chosen)
    result = Audit(run.run(answers, chosen))
    if output is not None:
      result.save(output)
  return result


def _read(predictions, labels, ids, names, columns, chosen):
  """Reads files, or takes arrays, as condition -> file or array."""
  if isinstance(predictions, str | os.PathLike):
    predictions = {"": predictions}
  if not isinstance(predictions, Mapping) or not predictions:
    raise errors.InputError(
      f"predictions: a {type(predictions).__name__}: give condition -> array,"
      " condition -> file, or a file."
    )
  for name in predictions:
    if not isinstance(name, str):
      raise errors.InputError(
        f"predictions: the condition {name!r} is no text: name it, as in"
        " {'both': ...}."
      )
  are_files = [isinstance(x, str | os.PathLike) for x in predictions.values()]
  if not any(are_files):
    return answer_arrays.from_arrays(
      {c: np.asarray(arrays.to_host(x)) for c, x in predictions.items()},
      None if labels is None else np.asarray(arrays.to_host(labels)),
      ids,
      names,
      _to_columns(columns),
      chosen.reading,
    )
  if not all(are_files):
    raise errors.InputError(
      "predictions: some are files and some are arrays: give one kind."
    )
  for name, value in (
    ("labels", labels), ("ids", ids), ("options", names), ("columns", columns),
  ):  # fmt: skip
    if value is not None:
      raise errors.InputError(
        f"{name}: the files hold them: give {name} with arrays only."
      )
  return run.read({c: os.fspath(x) for c, x in predictions.items()}, chosen)


def _to_columns(columns):
  """Returns name -> values of a mapping, or of a table of pandas."""
  if columns is None:
    return None
  if hasattr(columns, "to_dict"):  # a table of pandas
    return {str(name): columns[name].to_numpy() for name in columns}
  if not isinstance(columns, Mapping):
    raise errors.InputError(
      f"columns: a {type(columns).__name__}: give name -> [N] values."
    )
  return columns


class Audit:
  """The results of an audit. Printing it shows its tables.

  Attributes:
    content: what `audit.json` holds.
    tables: name of a CSV file -> column -> `[N]` values for each question.
  """

  def __init__(self, measured: measure_lib.Measured):
    """Takes the results of `measure.measure`."""
    self.content, self.tables = measured.content, measured.tables

  def __str__(self) -> str:
    """Returns the tables as Markdown."""
    return audit_tables.write(self.content)

  def __repr__(self) -> str:
    """Names the conditions, and the number of questions."""
    conditions = ", ".join(self.content["files"])
    return f"Audit({self.content['num_questions']} questions: {conditions})"

  def weights(self, variant: str = "kl+mi") -> dict[str, np.ndarray]:
    """Returns modality -> `[N]` weights; those of a question sum to 1.

    Raises:
      InputError: if the predictions do not allow weights, or the variant is
        unknown.
    """
    table = self._table("weights.csv", "weights and information")
    variants = [row["variant"] for row in self.content["weights"]]
    with settings_lib.named_in_python():
      errors.check_names("variant", [variant], variants, "variant")
    modalities = self.content["weights"][0]["means"]
    return {m: np.asarray(table[f"{variant}_{m}"]) for m in modalities}

  def training_weights(self) -> dict[str, float]:
    """Returns id -> weight of the question in fine-tuning: 3, 1 or 0.5.

    Raises:
      InputError: if the predictions do not allow them.
    """
    table = self._table("training_weights.csv", "GapScore and training weights")
    pairs = zip(table["id"].tolist(), table["weight"].tolist(), strict=True)
    return dict(pairs)

  def _table(self, name, what):
    if name not in self.tables:
      need = self.content["lacking"][what]
      raise errors.InputError(f"the predictions allow no {what}: give {need}.")
    return self.tables[name]

  def save(self, folder: str | os.PathLike) -> pathlib.Path:
    """Writes the files of the audit, and returns the path of its page."""
    measured = measure_lib.Measured(self.content, self.tables)
    return run.write(measured, os.fspath(folder))
