import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow
import pytest
from scipy import sparse

from btw_jax import errors
from btw_jax.pipeline import arrays

VALUES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


class Tensor:
  """A tensor that NumPy converts only without its gradient, as torch's."""

  def __init__(self, values, *, on_host=False):
    self._values, self._on_host = values, on_host

  def detach(self):
    return self

  def cpu(self):
    return Tensor(self._values, on_host=True)

  def __array__(self, dtype=None, copy=None):
    assert self._on_host
    return np.array(self._values, dtype)


KINDS = {
  "float64": VALUES,
  "integers": VALUES.astype(int),
  "jax": jnp.asarray(VALUES),
  "lists": VALUES.tolist(),
  "rows": list(VALUES),
  "pandas": pd.DataFrame(VALUES, columns=["a", "b"]),
  "nullable": pd.DataFrame(VALUES).astype("Float64"),
  "pyarrow": pyarrow.table({"a": VALUES[:, 0], "b": VALUES[:, 1]}),
  "tensor": Tensor(VALUES),
  "sparse": sparse.csr_array(VALUES),
  "objects": VALUES.astype(object),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_has_the_same_values(kind):
  column = arrays.Column("a", KINDS[kind])
  np.testing.assert_array_equal(column.values, VALUES)
  assert np.issubdtype(column.values.dtype, np.number)
  assert column.present.all()
  assert (column.steps, len(column)) == (None, 3)


def test_one_feature_needs_no_second_axis():
  for values in (VALUES[:, 0], VALUES[:, 0].tolist(), pd.Series(VALUES[:, 0])):
    column = arrays.Column("a", values)
    np.testing.assert_array_equal(column.values, VALUES[:, :1])


@pytest.mark.parametrize(
  "value",
  [
    [[1, 2], None, [5, 6]],
    np.array([VALUES[0], None, VALUES[2]], object),
  ],
)
def test_none_is_missing(value):
  column = arrays.Column("a", value)
  np.testing.assert_array_equal(column.present, [True, False, True])
  np.testing.assert_array_equal(column.values[[0, 2]], VALUES[[0, 2]])


def test_missing_values_of_pandas_are_nan():
  table = pd.DataFrame([[1, 2], [pd.NA, pd.NA], [5, 6]])
  expected = np.where([[1], [0], [1]], VALUES, np.nan)
  expected[0] = [1, 2]
  np.testing.assert_array_equal(arrays.Column("a", table).values, expected)


def test_columns_of_objects_keep_their_names():
  table = pd.DataFrame({"x": [1.0, 3.0, 5.0], "y": [2, pd.NA, 6]}, dtype=object)
  column = arrays.Column("a", table)
  assert column.names == ("x", "y")
  np.testing.assert_array_equal(column.values, [[1, 2], [3, np.nan], [5, 6]])


def test_a_mask_adds_to_what_is_missing():
  column = arrays.Column("a", [[1, 2], None, [5, 6]], present=[0, 1, 1])
  np.testing.assert_array_equal(column.present, [False, False, True])


def test_sequences_of_any_length_are_padded():
  rows = [VALUES[:1], None, VALUES, VALUES[:2]]
  column = arrays.Column("a", rows)
  assert column.values.shape == (4, 3, 2)
  np.testing.assert_array_equal(column.steps.length[[0, 2, 3]], [1, 3, 2])
  np.testing.assert_array_equal(column.present, [True, False, True, True])
  np.testing.assert_array_equal(column.values[3, :2], VALUES[:2])
  padded = arrays.Column("a", column.values, lengths=[1, 2, 3, 2])
  np.testing.assert_array_equal(padded.steps.length, [1, 2, 3, 2])
  times = np.cumsum(np.ones((4, 3)), axis=1)
  observed = column.values > 0
  timed = arrays.Column("a", column.values, times=times, observed=observed)
  np.testing.assert_array_equal(timed.steps.times, times)
  np.testing.assert_array_equal(timed.steps.observed, observed)


@pytest.mark.parametrize(
  ("value", "options", "message"),
  [
    (np.array([["x"], ["y"]]), {}, "'a' holds <U1 values of shape .2, 1."),
    (VALUES + 1j, {}, "'a' holds complex128 values"),
    (3.0, {}, "'a' holds float64 values of shape ..: give real numbers, a row"),
    ([None, None], {}, "'a' has no example: leave the modality out"),
    ([[1, 2], [1, 2, 3]], {}, "'a' has rows of different shapes"),
    ([VALUES, VALUES[:, :1]], {}, "'a' has rows of different shapes"),
    (["x", None], {}, "'a' holds <U1 values"),
    (
      pd.DataFrame({"w": ["1", "yes"]}, dtype=object),
      {},
      "'a': row 1, column 'w' is 'yes': give numbers",
    ),
    ([[1.0], [1e300]], {}, r"'a', row 1: 1e\+300 is too large for float32"),
    (
      pd.DataFrame({"on": pd.to_datetime(["2026-01-01"])}),
      {},
      "'a': column 'on' holds times: turn them into numbers",
    ),
    (np.zeros((2, 1, 1, 1)), {}, r"'a' has shape \(2, 1, 1, 1\): give \[N, D"),
    (VALUES, {"present": [1]}, r"present of modality 'a' has shape \(1,\)"),
    (VALUES, {"lengths": [1, 1, 1]}, "'a' has lengths, times or a mask"),
    (
      VALUES[None],
      {"lengths": [4]},
      "lengths of modality 'a': row 0 is 4: gi",
    ),
    (VALUES[None], {"lengths": [[1]]}, "lengths of modality 'a' has shape"),
    (VALUES[None], {"times": [[1]]}, "times of modality 'a' has shape"),
  ],
)
def test_wrong_values_are_named(value, options, message):
  with pytest.raises(errors.InputError, match=message) as error:
    arrays.Column("a", value, **options)
  assert "\n" not in str(error.value)


def test_labels_of_every_kind():
  for labels, expected in (
    ([0, 1], [0, 1]),
    (pd.Series(["b", "a"]), ["b", "a"]),
    (pd.Series(["b", "a"], dtype="category"), ["b", "a"]),
    (np.array([[3.5], [1.0]]), [3.5, 1.0]),
    (Tensor([True, False]), [True, False]),
    ([[0, 1], [1, 1]], [[0, 1], [1, 1]]),
  ):
    read = arrays.read_labels("labels", labels, 2)
    np.testing.assert_array_equal(read, expected)
    assert read.dtype != object
  for labels, message in (
    ([1, None], "labels: row 1 is None: give every label"),
    (None, "labels are missing: give one per example"),
    (pd.Series([pd.NA, "a"]), "labels: row 0 is .*: give every label"),
    ([1, 2, 3], r"labels have shape \(3,\) for 2 examples"),
  ):
    with pytest.raises(errors.InputError, match=message):
      arrays.read_labels("labels", labels, 2)
