import math

import numpy as np
import pytest

from btw_jax.data.questions import tasks as tasks_lib
from btw_jax.pipeline.audit import roles
from btw_jax.pipeline.language import truth

_OPEN = [task for task in tasks_lib.TASKS if truth.is_open(task)]


@pytest.fixture(scope="module")
def atoms():
  """Returns task -> atoms, in bits."""
  of_tasks = truth.atoms(list(tasks_lib.TASKS))
  return {task: x / np.log(2) for task, x in of_tasks.items()}


def _entropy(counts):
  probs = np.array(counts) / np.sum(counts)
  return -np.sum(
    probs * np.log2(probs, where=probs > 0, out=np.zeros(len(probs)))
  )


# The number of pairs of digits with each sum.
_SUMS = [10 - abs(9 - total) for total in range(19)]


@pytest.mark.parametrize(
  ("task", "expected"),
  [
    ("shown", [0, math.log2(10), 0, 0]),
    ("seen", [0, math.log2(10), 0, 0]),
    ("spoken", [0, math.log2(10), 0, 0]),
    ("arithmetic", [0, 0, _entropy(_SUMS), 0]),
    ("same", [0, 0, 0, 1]),
    ("shown_choice", [0, 0, 0, 2]),
    ("arithmetic_choice", [0, 0, 2, 0]),
  ],
)
def test_tasks_with_one_atom(atoms, task, expected):
  np.testing.assert_allclose(atoms[task], expected, atol=1e-4)


@pytest.mark.parametrize("task", ["add", "both_sum"])
def test_sums(atoms, task):
  # Either digit leaves the ten values of the other one.
  of_source = _entropy(_SUMS) - math.log2(10)
  np.testing.assert_allclose(
    atoms[task], [of_source, 0, 0, math.log2(10)], atol=1e-4
  )


def test_comparisons(atoms):
  redundant, unique1, unique2, synergistic = atoms["compare"]
  # 45 of 90 pairs of a digit and a threshold are a yes.
  of_digit = 1 - np.mean([_entropy([d, 9 - d]) for d in range(10)])
  of_threshold = 1 - np.mean([_entropy([9 - t, t + 1]) for t in range(9)])
  assert redundant + unique1 == pytest.approx(of_digit, abs=1e-4)
  assert redundant + unique2 == pytest.approx(of_threshold, abs=1e-4)
  assert sum(atoms["compare"]) == pytest.approx(1, abs=1e-4)
  assert synergistic > 0.5
  # The answers are two: the text tells which one is yes.
  np.testing.assert_allclose(
    atoms["compare_choice"], [0, 0, of_threshold, 1 - of_threshold], atol=1e-4
  )


@pytest.mark.parametrize("task", _OPEN)
def test_equal_texts_share_a_place(task):
  made = truth.make(task)
  assert made.joint.sum() == pytest.approx(1)
  assert made.joint.shape[-1] == truth.num_options(task)
  # The answer follows from both sources.
  assert np.all(np.sum(made.joint > 0, axis=-1) == 1)
  assert {"arithmetic": 19, "shown": 1, "seen": 10, "compare": 9}.get(
    task, made.joint.shape[1]
  ) == made.joint.shape[1]
  first, second = made.codes
  np.testing.assert_array_equal(first, np.arange(10))
  assert set(second) == set(range(made.joint.shape[1]))


def test_sums_of_two_numbers_share_a_place():
  codes = truth.make("arithmetic").codes[1]
  sums = [n // 10 + n % 10 for n in range(100)]
  assert len(set(zip(codes.tolist(), sums, strict=True))) == 19


@pytest.mark.parametrize("task", tasks_lib.TASKS)
def test_an_audit_finds_the_sources_by_the_names_of_the_passes(task):
  of_task = truth.sources(task)
  names = [of_task.condition(m) for m in (of_task.first, of_task.second)]
  (pair,) = roles.pairs(roles.assign(["both", *names]))
  assert [pair.only_first, pair.only_second] == names
  control = f" given {pair.control}" if pair.control else ""
  assert f"{pair.first}, {pair.second}{control}" == str(of_task)
