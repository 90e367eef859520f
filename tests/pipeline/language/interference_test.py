import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax.pipeline.language import interference
from btw_jax.pipeline.language import setup as setup_lib
from support import language_runs


class _Gullible:
  """A model that answers with the first option named in its text, if any.

  It reads the answer of the question otherwise.
  """

  def __init__(self):
    self.setup = setup_lib.make(language_runs.config(""))

  def log_probs(self, questions, batch=None):
    batch = questions.to_batch() if batch is None else batch
    tokens = np.asarray(batch.features[:, 0], int)
    before = np.asarray(questions.to_batch().features[:, 0], int)
    decisions = questions.labels.copy()
    for row in np.flatnonzero(np.any(tokens != before, axis=1)):
      named = [t for t in tokens[row] if t in questions.options[row] and t]
      if named:
        decisions[row] = list(questions.options[row]).index(named[0])
    return np.log(np.eye(19)[decisions] + 1e-9)[None]


@pytest.fixture(scope="module")
def questions():
  return setup_lib.make(language_runs.config("")).questions("test", 240)


@pytest.fixture(scope="module")
def effects(questions):
  return interference.measure(_Gullible(), questions)


def test_groups_are_told_by_what_is_relevant(questions):
  groups = interference.group(questions)
  expected = {
    "shown": "image", "shown_choice": "image", "arithmetic": "text",
    "add": "both",
  }  # fmt: skip
  assert [expected[task] for task in questions.tasks] == groups.tolist()


def test_only_what_is_irrelevant_is_perturbed(effects):
  assert set(effects) == {
    ("image", "misleading"),
    ("image", "facts"),
    *(("text", kind) for kind in ("noise", "black", "white", "other")),
  }
  assert effects["image", "facts"].num_questions == 120
  assert effects["text", "noise"].num_questions == 60


def test_a_gullible_model_believes_every_misleading_statement(effects):
  effect = effects["image", "misleading"]
  np.testing.assert_array_equal(effect.before, [1.0])
  np.testing.assert_array_equal(effect.after, [0.0])
  np.testing.assert_array_equal(effect.changed, [1.0])
  np.testing.assert_array_equal(effect.interval, [1.0, 1.0])
  # It does not look at images.
  np.testing.assert_array_equal(effects["text", "white"].changed, [0.0])


def test_own_facts_are_a_perturbation_too(questions):
  filled = questions.tokens.copy()
  image = questions.tasks == "shown"
  six = questions.options[image][0, 6]
  ends = np.argmax(filled == 0, axis=1)
  filled[np.arange(len(filled)), ends] = six
  measured = interference.measure(
    _Gullible(), questions, (), with_facts=questions._replace(tokens=filled)
  )
  assert set(measured) == {("image", interference.OWN_FACTS)}
  changed = measured["image", interference.OWN_FACTS].changed
  plain = questions.take(image)
  choice = questions.take(questions.tasks == "shown_choice")
  # A question with choices names its first letter before the fact.
  expected = np.sum(plain.shown != 6) + np.sum(choice.labels != 0)
  assert changed == pytest.approx(expected / 120)


def test_tables_have_a_row_for_each_perturbation(effects, questions):
  rows = interference.table({"plain": effects, "trained": effects})
  assert [row["irrelevant modality"] for row in rows[:2]] == [
    "misleading", "facts",
  ]  # fmt: skip
  assert rows[0]["plain: changed %"] == "100.0"
  clean = interference.clean(_Gullible(), questions)
  (plain, trained) = interference.clean_table({"a": clean, "b": dict(clean)})
  assert plain["decided by image, %"] == "100.0"
  assert trained["decided by image, %"] == "100.0 (+0.0)"
  shares = interference.shares({"plain": effects})["plain"]
  assert shares["image: misleading"] == jnp.array([100.0])
