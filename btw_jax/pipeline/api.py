"""Training on arrays in memory: `btw_jax.fit`."""

from collections.abc import Mapping
import dataclasses
import os
import shutil
import signal
from typing import Any

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.pipeline import arrays
from btw_jax.pipeline import compilation_cache as cache_lib
from btw_jax.pipeline import logs
from btw_jax.pipeline import modalities as modalities_lib
from btw_jax.pipeline import result as result_lib
from btw_jax.pipeline import settings as settings_lib
from btw_jax.pipeline import train_run

# The settings that `fit` sets itself.
_SET_BY_FIT = ("dataset", "data_dir")


def fit(
  modalities: modalities_lib.ModalitiesLike,
  labels: Any,
  *,
  ids: Any = None,
  subjects: Any = None,
  present: Mapping[str, Any] | None = None,
  lengths: Mapping[str, Any] | None = None,
  times: Mapping[str, Any] | None = None,
  observed: Mapping[str, Any] | None = None,
  valid: tuple[Any, Any] | None = None,
  test: tuple[Any, Any] | None = None,
  workdir: str | os.PathLike | None = None,
  verbose: bool = True,
  compilation_cache: str = cache_lib.AUTO,
  **settings: Any,
) -> result_lib.Result:
  """Trains one model per modality and the weighted multimodal models.

  It does what the command `btw-jax train` does, on arrays in memory.

  Args:
    modalities: modality -> array, table or tensor; or `Modalities`, which see.
    labels: `[N]` classes (numbers or names) or values, or `[N, labels]` of 0
      and 1.
    ids: as in `Modalities`, like the next five.
    subjects: `[N]`.
    present: modality -> `[N]`.
    lengths: modality -> `[N]`.
    times: modality -> `[N, T]`.
    observed: modality -> `[N, T, D]`.
    valid: modalities and labels to choose the epochs and settings by; a share
      `valid_share` of the training examples by default.
    test: modalities and labels to evaluate on. By default the table is of the
      validation examples, on which it is optimistic.
    workdir: folder for the files of the run; a temporary one by default.
    verbose: whether to log the progress.
    compilation_cache: folder of compiled programs that runs share, "auto" for
      the user's own; none if empty. A cache that JAX uses already stays.
    **settings: every setting of `btw-jax train`, by the name of its flag; a
      list, a tuple or a text with commas where several values are possible.

  Returns:
    The trained models.

  Raises:
    InputError: a `ValueError` of one line, if an array or a setting is wrong.
  """
  for name in _SET_BY_FIT:
    if name in settings:
      raise errors.InputError(f"{name}: fit takes arrays: leave it out.")
  options = {
    "ids": ids, "subjects": subjects, "present": present, "lengths": lengths,
    "times": times, "observed": observed,
  }  # fmt: skip
  train = modalities_lib.convert(modalities, **options)
  splits = {"train": _labelled("train", train, labels)}
  for name, pair in (("valid", valid), ("test", test)):
    if pair is not None:
      splits[name] = _labelled(name, *_pair(name, pair))
  loaded = modalities_lib.to_splits(splits)
  is_temporary = workdir is None
  config = settings_lib.make_config(
    {**settings, "dataset": catalog.ARRAYS, "workdir": workdir or ""}
  )
  if is_temporary:
    config = dataclasses.replace(config, workdir=result_lib.make_folder())
  try:
    with (
      logs.shown(verbose),
      settings_lib.named_in_python(),
      cache_lib.enabled(os.fspath(compilation_cache)),
    ):
      results = train_run.train(config, _NoInterrupt(), loaded)
  except BaseException:
    if is_temporary:
      shutil.rmtree(config.workdir, ignore_errors=True)
    raise
  result = result_lib.Result(config.workdir, results, loaded.splits["train"])
  if is_temporary:
    result_lib.remove_with(result)
  return result


def _labelled(split, modalities, labels):
  """Returns modalities and targets of a split."""
  given, name = modalities_lib.convert(modalities), f"labels of {split}"
  modalities_lib.check_index(given, name, labels)
  return given, arrays.read_labels(name, labels, len(given))


def _pair(name, pair):
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    raise errors.InputError(
      f"{name}: a {type(pair).__name__}: give a pair of modalities and labels."
    )
  return pair


class _NoInterrupt:
  """Leaves Ctrl-C to Python: a program that calls `fit` is not ours."""

  requested, number = False, signal.SIGINT
