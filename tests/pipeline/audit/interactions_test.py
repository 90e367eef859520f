"""Interactions of an audit: batches, tasks, controls and truncated lists."""

import jax
import numpy as np
import pytest

from btw_jax import errors
from btw_jax.analysis import passes as passes_lib
from btw_jax.analysis import pid
from btw_jax.mutual_information import discrete
from btw_jax.pipeline.audit import batches
from btw_jax.pipeline.audit import interactions
from btw_jax.pipeline.audit import options as options_lib
from btw_jax.pipeline.audit import roles
from support import audits

pytestmark = pytest.mark.training

PAIR = roles.Pair("vision", "text", "", "both", "vision", "text")
_SENSORY = roles.Pair("vision", "audio", "text", "both", "v", "a")
_SENSORY_BROJA = jax.jit(pid.sensory)


def _means(row):
  return [row["atoms"][atom]["mean"] for atom in interactions.ATOMS]


@pytest.fixture(scope="module")
def drawn():
  return audits.draw({"both": 2.5, "vision": 1.0, "text": 1.0})


def test_one_batch_has_no_spread(drawn):
  whole = interactions.measure(drawn, PAIR, options_lib.Options())
  row = whole.row
  assert (row["kind"], row["num_batches"], row["num_answered"]) == (
    "probabilities", 1, 120,
  )  # fmt: skip
  assert all(atom["spread"] is None for atom in row["atoms"].values())
  for name in interactions.ATOMS:
    values = getattr(whole.atoms, name)
    np.testing.assert_allclose(values.mean(), row["atoms"][name]["mean"])
  assert row["accuracy"]["both"] == np.mean(
    drawn.decisions["both"] == drawn.labels
  )


def test_padding_is_not_counted(drawn):
  """A batch of 50 questions is padded to 64 for the solver."""
  some = drawn.select(np.arange(50))
  row = interactions.measure(some, PAIR, options_lib.Options()).row
  logs = passes_lib.Passes(
    *(some.log_probs[c].astype("f") for c in ("both", "vision", "text"))
  )
  where = np.ones(50, bool)
  atoms = passes_lib.decompose(logs, where)
  np.testing.assert_allclose(
    _means(row),
    [getattr(atoms, a).mean() for a in interactions.ATOMS],
    atol=1e-5,
  )


def test_the_spread_is_the_deviation_over_batches():
  values = np.array([0.1, 0.4, 0.2])
  np.testing.assert_allclose(
    interactions._spread(values, np.full(3, 1 / 3)), np.std(values, ddof=1)
  )


def test_batches_hold_every_question_once(drawn):
  one = interactions.measure(drawn, PAIR, options_lib.Options())
  many = interactions.measure(drawn, PAIR, options_lib.Options(batch_size=32))
  row = many.row
  assert (row["num_batches"], row["batch_size"]) == (4, 30)
  assert not np.isnan(many.atoms.synergistic).any()
  for name in interactions.ATOMS:
    atom = row["atoms"][name]
    # Smaller batches have an error of the order of their spread.
    assert abs(atom["mean"] - one.row["atoms"][name]["mean"]) < (
      2 * atom["spread"] + 0.02
    )
  again = interactions.measure(drawn, PAIR, options_lib.Options(batch_size=32))
  assert again.row == row


@pytest.mark.parametrize("kind", ["and", "copy", "redundant"])
def test_batches_of_certain_answers_lose_nothing(kind):
  """Gates with certain answers, of which a batch has other shares by chance."""
  rng = np.random.default_rng(0)
  first, second = rng.integers(2, size=(2, 600))
  y = {"and": first & second, "copy": first, "redundant": first}[kind]
  second = first if kind == "redundant" else second
  joint = np.zeros((2, 2, 2))
  np.add.at(joint, (first, second, y), 1 / 600)
  with np.errstate(divide="ignore", invalid="ignore"):
    of_first, of_second = (
      np.log(joint.sum(axis) / joint.sum((axis, 2))[:, None]) for axis in (1, 0)
    )
    both = np.log(np.eye(2))[y]
  answers = audits.make(
    {"both": both, "vision": of_first[first], "text": of_second[second]},
    num_options=np.full(600, 2),
  )
  row = interactions.measure(
    answers, PAIR, options_lib.Options(batch_size=64)
  ).row
  assert row["num_batches"] == 10
  exact = jax.jit(pid.broja)(joint)
  # A batch of 64 knows the other source's shares to about 1 / 64.
  np.testing.assert_allclose(
    _means(row), [getattr(exact, a) for a in interactions.ATOMS], atol=0.015
  )
  information = discrete.from_joint(joint.reshape(4, 2))
  assert sum(_means(row)) == pytest.approx(float(information), abs=1e-4)


def test_few_shapes_are_compiled(drawn):
  solve = batches._solve_chunk
  before = solve._cache_size()
  for size in (25, 27, 30, 32):
    interactions.measure(
      drawn.select(np.arange(size)), PAIR, options_lib.Options(seed=1)
    )
  assert solve._cache_size() - before <= 1


def test_a_control_is_held_fixed():
  """Three values of the control, each with a joint of its own."""
  rng = np.random.default_rng(0)
  answers = audits.log_softmax(2 * rng.normal(size=(3, 4, 4, 3)))
  control, v, a = np.indices((3, 4, 4)).reshape(3, -1)
  joint = np.exp(answers)[control, v, a].reshape(3, 4, 4, 3) / 48
  of_v, of_a = (
    np.log(joint.sum(axis) / joint.sum((axis, 3))[:, :, None])
    for axis in (2, 1)
  )
  given = audits.make(
    {
      "both": answers[control, v, a],
      "v": of_v[control, v],
      "a": of_a[control, a],
    },
    columns={"question": np.array(["x", "y", "z"])[control]},
  )
  order = rng.permutation(48)
  row = interactions.measure(
    given.select(order), _SENSORY, options_lib.Options(control="question")
  ).row
  assert (row["num_controls"], row["num_batches"]) == (3, 3)
  exact = _SENSORY_BROJA(joint)
  np.testing.assert_allclose(
    _means(row),
    [getattr(exact, a) for a in interactions.ATOMS],
    atol=row["gap"] + float(exact.gap) + 1e-5,
  )
  # Without the column, all questions have one control.
  row = interactions.measure(given, _SENSORY, options_lib.Options()).row
  assert (row["num_controls"], row["num_batches"]) == (1, 1)


def test_a_control_that_comes_once_tells_nothing():
  given = audits.draw(
    {"both": 2.0, "v": 1.0, "a": 1.0},
    num_questions=9,
    columns={"question": np.array(list("aaabbbcde"))},
  )
  whole = interactions.measure(
    given, _SENSORY, options_lib.Options(control="question")
  )
  assert whole.row["num_answered"] == 6
  np.testing.assert_array_equal(
    np.isnan(whole.atoms.synergistic), [False] * 6 + [True] * 3
  )
  alone = given.select(np.arange(6, 9))
  row = interactions.measure(
    alone, _SENSORY, options_lib.Options(control="question")
  ).row
  assert row["atoms"] is None
  assert row["lacking"] == "two or more questions with the same control"


def test_hard_answers_are_corrected_for_chance(drawn):
  row = interactions.measure(
    audits.hard(drawn), PAIR, options_lib.Options(num_permutations=19)
  ).row
  assert row["kind"] == "answers"
  for atom in row["atoms"].values():
    assert atom["mean"] == atom["observed"] - atom["by_chance"]
  decided = [drawn.decisions[c] for c in ("vision", "text", "both")]
  joint = np.zeros((3, 3, 3))
  np.add.at(joint, tuple(decided), 1)
  exact = jax.jit(pid.broja)(joint)
  np.testing.assert_allclose(
    [row["atoms"][a]["observed"] for a in interactions.ATOMS],
    [getattr(exact, a) for a in interactions.ATOMS],
    atol=1e-5,
  )


def test_hard_answers_of_many_kinds_are_not_decomposed():
  names = ("both", "vision", "text")
  for number, lacking in ((40, "40 different answers"), (7, "8 or more quest")):
    answers = audits.hard(
      audits.make({name: np.log(np.eye(number) + 1e-9) for name in names})
    )
    row = interactions.measure(answers, PAIR, options_lib.Options()).row
    assert row["atoms"] is None
    assert lacking in row["lacking"]


def test_batches_of_many_options_are_smaller():
  assert batches.largest_size(4) >= 2048
  size = batches.largest_size(1000)
  # Four tables of 4 bytes a cell stay far below a gigabyte.
  assert size > 100 and 4 * 4 * 1000 * size**2 < 2**30


def test_truncated_lists_show_both_ends(drawn):
  vision = drawn.log_probs["vision"].copy()
  smallest = vision.argmin(axis=1)
  rows = np.arange(len(drawn))
  ceiling = vision.copy()
  vision[rows, smallest] = -np.inf
  vision = audits.log_softmax(vision)
  cut = audits.make(
    dict(drawn.log_probs) | {"vision": vision},
    drawn.labels,
    num_options=drawn.num_options,
    ceilings={"vision": ceiling},
  )
  row = interactions.measure(cut, PAIR, options_lib.Options()).row
  whole = interactions.measure(drawn, PAIR, options_lib.Options()).row
  # What the list left out was the rest of the mass, so its ceiling is exact.
  ends = [row["at_ceiling"][a]["mean"] for a in interactions.ATOMS]
  np.testing.assert_allclose(ends, _means(whole), atol=1e-5)
  assert abs(_means(row)[1] - _means(whole)[1]) > 0.01


def test_tasks_are_values_of_a_column(drawn):
  names = np.array(["a"] * 60 + ["b"] * 55 + ["c"] * 5)
  with_tasks = audits.make(
    drawn.log_probs, drawn.labels, columns={"category": names}
  )
  tasks = interactions.tasks(with_tasks, "category")
  # Five questions are too few.
  assert [(name, mask.sum()) for name, mask in tasks] == [("a", 60), ("b", 55)]
  assert interactions.tasks(with_tasks, "") == []
  with pytest.raises(
    errors.InputError, match=r"--by=topic: no file .*category"
  ):
    interactions.tasks(with_tasks, "topic")
  many = audits.make(drawn.log_probs, columns={"image": np.arange(120)})
  with pytest.raises(errors.InputError, match="has 120 values"):
    interactions.tasks(many, "image")
