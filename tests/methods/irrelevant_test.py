import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.data.questions import statements
from btw_jax.methods import irrelevant

_KINDS = irrelevant.KINDS
# Answers 5, 6, 7 are of one family and 8, 9 of another.
_STATEMENTS = statements.Statements(
  misleading=np.array(
    [[[20, a, 21], [22, 23, a]] for a in (5, 6, 7, 8, 9)], np.int32
  ),
  answers=np.array([5, 6, 7, 8, 9]),
  families=np.array([0, 0, 0, 1, 1]),
  facts=np.array([[30, 31, 0], [32, 33, 34]], np.int32),
)
_KEY = jax.random.key(0)


def _batch(num_examples, relevant, *, audio=False):
  rng = np.random.default_rng(0)
  num_modalities = 3 if audio else 2
  features = np.zeros((num_examples, num_modalities, 9), np.float32)
  features[:, 0] = [1, 2, 10, 11, 12, 0, 0, 0, 0]
  features[:, 1] = rng.random((num_examples, 9))
  sequences = ()
  if audio:
    values = rng.normal(size=(num_examples, 1, 4, 2)).astype(np.float32)
    length = np.full((num_examples, 1), 4)
    sequences = (types.Steps(values, length),)
  return types.Batch(
    features,
    np.ones((num_examples, num_modalities), bool),
    rng.choice([5, 6, 7], num_examples),
    sequences,
    np.tile(relevant, (num_examples, 1)),
  )


def _perturb(batch, kind):
  kinds = jnp.full(len(batch.target), _KINDS.index(kind))
  return jax.jit(irrelevant.perturb)(_KEY, batch, kinds, _STATEMENTS)


def test_misleading_statements_name_every_wrong_answer_but_not_the_right_one():
  batch = _batch(600, [False, True])
  text = np.asarray(_perturb(batch, "misleading").features[:, 0], int)
  # The statement stands between the placeholder and the question.
  np.testing.assert_array_equal(
    np.delete(text, [2, 3, 4], axis=1), [[1, 2, 10, 11, 12, 0]] * 600
  )
  first = text[:, 2] == 20
  claimed = np.where(first, text[:, 3], text[:, 4])
  for target in (5, 6, 7):
    # The other family has no answer to this question.
    others = {5, 6, 7} - {target}
    assert set(claimed[batch.target == target].tolist()) == others
  assert 0.4 < first.mean() < 0.6


def test_facts_are_drawn_evenly():
  text = np.asarray(_perturb(_batch(400, [False, True]), "facts").features)
  slots = text[:, 0, 2:5].astype(int)
  first = np.all(slots == [30, 31, 0], axis=1)
  second = np.all(slots == [32, 33, 34], axis=1)
  assert np.all(first | second)
  assert 0.4 < first.mean() < 0.6


@pytest.mark.parametrize("kind", irrelevant.SIGNAL_KINDS)
def test_signals_are_replaced_only_where_they_do_not_matter(kind):
  batch = _batch(50, [True, False, True], audio=True)
  copy = _perturb(batch, kind)
  np.testing.assert_array_equal(copy.features[:, 0], batch.features[:, 0])
  np.testing.assert_array_equal(
    copy.sequences[0].values, batch.sequences[0].values
  )
  image = np.asarray(copy.features[:, 1])
  if kind == "black":
    assert not image.any()
  elif kind == "white":
    assert np.all(image == 1)
  elif kind == "other":
    np.testing.assert_array_equal(
      image, np.roll(batch.features[:, 1], 1, axis=0)
    )
  else:
    assert 0.4 < image.mean() < 0.6
    assert np.abs(np.corrcoef(image.ravel(), batch.features[:, 1].ravel()))[
      0, 1
    ] < 0.2  # fmt: skip


def test_a_sound_that_does_not_matter_is_replaced():
  batch = _batch(50, [True, True, False], audio=True)
  copy = _perturb(batch, "black")
  assert not np.asarray(copy.sequences[0].values).any()
  np.testing.assert_array_equal(copy.features, batch.features)


def test_questions_that_need_everything_stay_as_they_are():
  batch = _batch(20, [True, True])
  for kind in _KINDS:
    np.testing.assert_array_equal(
      _perturb(batch, kind).features, batch.features
    )
  kinds = irrelevant.draw_kinds(_KEY, batch)
  np.testing.assert_array_equal(kinds, np.full(20, -1))


def test_half_of_the_copies_change_the_text_if_both_may_change():
  batch = _batch(4000, [False, True, False], audio=True)
  kinds = np.asarray(irrelevant.draw_kinds(_KEY, batch))
  counts = np.bincount(kinds, minlength=len(_KINDS)) / 4000
  # Three standard errors of a share of a half.
  assert abs(counts[:2].sum() - 0.5) < 3 * np.sqrt(0.25 / 4000)
  assert counts[:2].min() > 0.2
  assert counts[2:].min() > 0.09
  only_text = irrelevant.draw_kinds(_KEY, _batch(50, [False, True]))
  assert set(np.asarray(only_text).tolist()) == {0, 1}


def test_shards_draw_what_the_full_batch_draws():
  """Random numbers depend on the slot, so devices do not change a run."""
  batch = _batch(8, [False, True])
  whole = _perturb(batch, "misleading").features
  shards = jax.tree.map(lambda x: x.reshape(2, 4, *x.shape[1:]), batch)
  kinds = jnp.zeros((2, 4), int)
  parts = jax.vmap(
    lambda batch, kinds: (
      irrelevant.perturb(_KEY, batch, kinds, _STATEMENTS, "devices").features
    ),
    axis_name="devices",
  )(shards, kinds)
  np.testing.assert_array_equal(np.concatenate(parts), whole)
