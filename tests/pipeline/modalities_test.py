import numpy as np
import pandas as pd
import pytest

from btw_jax import errors
from btw_jax.pipeline import modalities as modalities_lib


def _values(n=6):
  rng = np.random.default_rng(0)
  return {"text": rng.normal(size=(n, 3)), "audio": rng.normal(size=(n, 2))}


def _refuse(message, *args, **options):
  with pytest.raises(errors.InputError, match=message) as error:
    modalities_lib.Modalities(*args, **options)
  assert "\n" not in str(error.value)


def test_rows_and_names_are_taken_as_from_an_array_and_a_mapping():
  values = _values()
  given = modalities_lib.Modalities(values, ids=list("abcdef"))
  assert (len(given), given.shape) == (6, (6,))
  np.testing.assert_allclose(given["audio"], values["audio"], rtol=1e-6)
  for rows in ([4, 1], np.array([4, 1]), (np.array([4, 1]), ...)):
    taken = given[rows]
    np.testing.assert_array_equal(taken.examples.ids, ["e", "b"])
    np.testing.assert_array_equal(taken["text"], given["text"][[4, 1]])
  is_chosen = np.arange(6) > 3
  np.testing.assert_array_equal(given[is_chosen].examples.ids, ["e", "f"])
  assert len(given[2:4]) == 2
  assert len(given[3]) == 1


def test_the_index_of_pandas_names_the_examples():
  values = {k: pd.DataFrame(v) for k, v in _values(3).items()}
  for table in values.values():
    table.index = ["p7", "p9", "p8"]
  given = modalities_lib.Modalities(values)
  np.testing.assert_array_equal(given.examples.ids, ["p7", "p9", "p8"])
  # Repeated names cannot be ids.
  for table in values.values():
    table.index = ["p7", "p7", "p8"]
  given = modalities_lib.Modalities(values)
  np.testing.assert_array_equal(given.examples.ids, ["0", "1", "2"])
  given = modalities_lib.Modalities(values, ids=[5, 6, 7])
  np.testing.assert_array_equal(given.examples.ids, ["5", "6", "7"])


def test_rows_in_another_order_are_refused():
  values = {k: pd.DataFrame(v) for k, v in _values(3).items()}
  moved = values | {"audio": values["audio"].iloc[[0, 2, 1]]}
  _refuse("modality 'audio': the index of row 1 is 2, but 1 in 'text'", moved)
  given = modalities_lib.Modalities(values)
  labels = pd.Series([0, 1, 0], index=[0, 1, 2])
  modalities_lib.check_index(given, "labels", labels)
  with pytest.raises(errors.InputError, match="labels: the index of row 0"):
    modalities_lib.check_index(given, "labels", labels.iloc[[1, 0, 2]])


def test_splits_have_the_modalities_of_the_first_by_name():
  train, test = _values(), _values(4)
  test = {"audio": test["audio"], "text": test["text"]}
  splits = {
    "train": (modalities_lib.Modalities(train), np.zeros(6)),
    "test": (modalities_lib.Modalities(test), np.ones(4)),
  }
  loaded = modalities_lib.to_splits(splits)
  assert loaded.splits["test"].modalities == ("text", "audio")
  np.testing.assert_allclose(
    loaded.splits["test"].features["text"], test["text"], rtol=1e-6
  )
  np.testing.assert_array_equal(loaded.splits["test"].target, np.ones(4))
  del test["text"]
  splits["test"] = (modalities_lib.Modalities(test), np.ones(4))
  with pytest.raises(errors.InputError, match="'text' is missing: there are"):
    modalities_lib.to_splits(splits)
  with pytest.raises(errors.InputError, match="'text' is unknown: the model"):
    modalities_lib.select(modalities_lib.Modalities(train), ["audio"])


def test_wrong_modalities_are_named():
  values = _values()
  _refuse("modalities: a ndarray: give a mapping from the name", values["text"])
  _refuse("modalities: none is given: give at least one", {})
  _refuse(
    "modality 'audio' has 5 rows, but 'text' has 6: give one row",
    values | {"audio": values["audio"][:5]},
  )
  _refuse("ids have shape .2,. for 6 examples", values, ids=[1, 2])
  _refuse("present: no modality 'video': use some of text, audio", values,
          present={"video": np.ones(6)})  # fmt: skip
  _refuse("present: a list: give a mapping", values, present=[1, 0])
  with pytest.raises(errors.InputError, match="ids: give it to btw_jax.Modal"):
    modalities_lib.convert(modalities_lib.Modalities(values), ids=[1])
