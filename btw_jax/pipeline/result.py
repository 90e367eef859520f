"""The result of a run in Python: predictions, weights, pictures, files."""

from collections.abc import Mapping
import dataclasses
import functools
import os
import pathlib
import shutil
import tempfile
from typing import Any, NamedTuple
import weakref

import numpy as np
from sklearn import metrics as sklearn_metrics

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import labels as labels_lib
from btw_jax.pipeline import arrays
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import modalities as modalities_lib
from btw_jax.pipeline import predict_run
from btw_jax.pipeline import results_table
from btw_jax.pipeline import run_data
from btw_jax.pipeline import saved_config
from btw_jax.pipeline import settings as settings_lib
from btw_jax.pipeline import workdir as workdir_lib

# The folder of what only the training of a run needs.
_SNAPSHOTS = "snapshots"


class Values(NamedTuple):
  """The prediction of a regression.

  Attributes:
    mean: `[N]` predicted mean, in the unit of the labels.
    std: `[N]` predicted standard deviation.
  """

  mean: np.ndarray
  std: np.ndarray


def load(folder: str | os.PathLike) -> "Result":
  """Loads what `Result.save`, `fit` or `btw-jax train` left in a folder.

  Raises:
    InputError: a `ValueError`, if the folder holds no finished run.
  """
  with settings_lib.named_in_python():
    saved = saved_config.read(folder)
  if not workdir_lib.is_finished(saved.config):
    raise errors.InputError(
      f"{folder}: the run is not finished: train it with the same settings."
    )
  return Result(folder, workdir_lib.read_results(folder))


def make_folder() -> str:
  """Makes a temporary folder for a run."""
  return tempfile.mkdtemp(prefix="btw_jax_")


def remove_with(result: "Result") -> None:
  """Removes the folder of a result when the result is no longer used."""
  weakref.finalize(result, shutil.rmtree, result.workdir, ignore_errors=True)


class Result:
  """The trained models of a run, and their results.

  Printing it shows the table of `btw-jax train`.

  Attributes:
    workdir: the folder that holds the files of the run.
    results: the content of `results.json`.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    results: Mapping[str, Any],
    train: dataset_lib.Examples | None = None,
  ):
    """Loads nothing yet.

    Args:
      workdir: folder of the finished run.
      results: the content of its `results.json`.
      train: its training examples, if they are in memory.
    """
    self.workdir, self.results = pathlib.Path(workdir), results
    self._train = train

  def __getstate__(self) -> dict[str, Any]:
    """Returns the files, for pickle and joblib, but no training examples."""
    if self._train is not None:
      _ = self.weights  # It writes them beside the models.
    files = {
      str(path.relative_to(self.workdir)): path.read_bytes()
      for path in self.workdir.rglob("*")
      if path.is_file() and _SNAPSHOTS not in path.parts
    }
    return {"results": self.results, "files": files}

  def __setstate__(self, state: Mapping[str, Any]) -> None:
    """Writes the files into a temporary folder."""
    self.__init__(make_folder(), state["results"])
    for name, content in state["files"].items():
      path = self.workdir / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
    remove_with(self)

  def __str__(self) -> str:
    """Returns the tables of the results."""
    return results_table.tables(self.results)

  def __repr__(self) -> str:
    """Names the folder, the data set's size and the weightings."""
    return f"<Result of {results_table.describe(self.results)}>"

  @property
  def modalities(self) -> tuple[str, ...]:
    """The names of the modalities, in order."""
    return self._models[0].shape.modalities

  @property
  def classes(self) -> np.ndarray:
    """The classes `[C]`, in the order of the probabilities."""
    return np.array(self._models[0].shape.classes)

  @property
  def weightings(self) -> list[str]:
    """The weightings that have models."""
    return list(self._models[1].multimodal)

  @functools.cached_property
  def weights(self) -> np.ndarray:
    """The weights `[N, M]` of the training examples.

    They are those of `weigh`, in the order of the examples given to `fit`. Rows
    sum to 1, but not with `normalise="minmax"`.
    """
    file = self.workdir / workdir_lib.WEIGHTS
    if file.exists():
      return np.load(file, allow_pickle=False)
    if self._train is not None:
      weights = self._predict(self._train, "", None).weights
      np.save(file, weights)
      return weights
    (train, *others) = run_data.read_split(self._models[0], "train", "")
    if others:
      raise errors.InputError(
        f"{self.workdir}: each seed has training examples of its own: use"
        " weigh."
      )
    return self._predict(train, "", None).weights

  def predict(
    self,
    modalities: modalities_lib.ModalitiesLike,
    *,
    weighting: str = "",
    seed: int | None = None,
    **options: Any,
  ) -> np.ndarray | Values:
    """Predicts examples; no labels are needed.

    Args:
      modalities: as in `fit`, with the same names. None in place of an array
        says that all examples lack the modality.
      weighting: the weighting whose models predict. If empty, `auto` if it was
        trained, else the one with the lowest validation loss.
      seed: the seed whose models predict; the mixture of the predictions of all
        seeds if None.
      **options: `ids`, `present`, `lengths`, `times`, `observed`, as in `fit`.

    Returns:
      Probabilities `[N, C]` of `classes`, for several labels of each of them;
      for a regression the `Values` mean and std, `[N]` each.

    Raises:
      InputError: a `ValueError`, if the examples do not fit the models.
    """
    predicted = self._predict_new(
      modalities, weighting, seed, options
    ).predicted
    if predicted.std is not None:
      return Values(predicted.decision, predicted.std)
    return predicted.probs

  def predict_proba(
    self,
    modalities: modalities_lib.ModalitiesLike,
    **options: Any,
  ) -> np.ndarray:
    """Returns the probabilities `[N, C]` of `predict`.

    Raises:
      InputError: a `ValueError`, for a regression.
    """
    if self.results["task"] == "regression":
      raise errors.InputError(
        "predict_proba: a regression has no classes: use predict."
      )
    return self.predict(modalities, **options)

  def decide(
    self,
    modalities: modalities_lib.ModalitiesLike,
    *,
    weighting: str = "",
    seed: int | None = None,
    **options: Any,
  ) -> np.ndarray:
    """Returns the class of each example `[N]`; see `predict`.

    These are the 0 or 1 of each of several labels `[N, C]`, and the means of a
    regression.
    """
    predicted = self._predict_new(
      modalities, weighting, seed, options
    ).predicted
    if self.results["task"] in ("binary", "multiclass"):
      return self.classes[predicted.decision]
    return predicted.decision

  def weigh(
    self,
    modalities: modalities_lib.ModalitiesLike,
    *,
    weighting: str = "",
    seed: int | None = None,
    **options: Any,
  ) -> np.ndarray:
    """Returns weights `[N, M]`; see `weights` and `predict`."""
    return self._predict_new(modalities, weighting, seed, options).weights

  def score(
    self,
    modalities: modalities_lib.ModalitiesLike,
    labels: Any,
    **options: Any,
  ) -> float:
    """Returns the accuracy of `predict`, or R² for a regression.

    The options are those of `predict`.
    """
    choices = {k: options.pop(k) for k in ("weighting", "seed") if k in options}
    given = self._convert(modalities, options)
    modalities_lib.check_index(given, "labels", labels)
    target = arrays.read_labels("labels", labels, len(given))
    decided = self.decide(given, **choices)
    if self.results["task"] == "regression":
      return float(sklearn_metrics.r2_score(target, decided))
    if target.ndim == 1:
      labels_lib.check_known("labels", target, self.classes.tolist())
      target, decided = labels_lib.names(target), labels_lib.names(decided)
    return float(sklearn_metrics.accuracy_score(target, decided))

  def save(self, folder: str | os.PathLike) -> None:
    """Copies all files of the run into a new folder.

    It holds what `btw-jax train` leaves, for `load` and all programs, and the
    weights of the training examples; not the examples themselves.

    Raises:
      InputError: a `ValueError`, if the folder is not empty.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and not folder.is_dir():
      raise errors.InputError(f"{folder}: is a file: choose another folder.")
    if folder.exists() and any(folder.iterdir()):
      raise errors.InputError(f"{folder}: is not empty: choose another folder.")
    if self._train is not None:
      _ = self.weights  # It writes them beside the models.
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(self.workdir, partial)
    if folder.exists():
      folder.rmdir()
    partial.rename(folder)

  def report(self, path: str | os.PathLike) -> None:
    """Writes the page of results: tables, learning curves, calibration.

    Raises:
      InputError: a `ValueError`, if the file cannot be written.
    """
    from btw_jax.pipeline import files
    from btw_jax.reports import page
    from btw_jax.reports import study as study_lib

    runs = study_lib.read([(self.results["dataset"], self.workdir)])
    files.write_text(path, page.write(study_lib.problems(runs)))

  def plot(self, path: str | os.PathLike | None = None) -> Any:
    """Draws losses and weights over the epochs.

    Returns the Matplotlib figure, and writes it if a path is given.

    Raises:
      InputError: a `ValueError`, if the ending names no kind of picture.
    """
    from btw_jax.pipeline import files
    from btw_jax.reports import training_plot

    figure = training_plot.draw(self.workdir)
    if path is not None:
      kind = pathlib.Path(path).suffix.removeprefix(".") or "png"
      known = figure.canvas.get_supported_filetypes()
      if kind not in known:
        raise errors.InputError(
          f"{path}: no such kind of picture: use one of {', '.join(known)}."
        )
      files.write(path, lambda file: figure.savefig(file, format=kind))
    return figure

  @functools.cached_property
  def _models(self):
    return finished_run.load_models(self.workdir)

  def _predict_new(self, modalities, weighting, seed, options):
    given = self._convert(modalities, options)
    return self._predict(given.examples, weighting, seed)

  def _convert(self, modalities, options):
    """Returns the modalities of the models, in their order."""
    shape = self._models[0].shape
    sizes = zip(shape.num_steps, shape.widths, strict=True)
    shapes = dict(zip(shape.modalities, sizes, strict=True))
    given = modalities_lib.convert_some(modalities, shapes, options)
    return modalities_lib.select(given, shape.modalities)

  def _predict(self, examples, weighting, seed):
    saved, models = self._models
    with settings_lib.named_in_python():
      examples = assembly.check_split(
        "new",
        dataclasses.replace(examples, target=None),
        run_data.split_options(saved),
        saved.shape.classes,
      )
      examples = run_data.fit_shape(saved, examples)
      run = finished_run.with_examples(saved, models, [examples])
      return predict_run.predict(run, weighting, seed)
