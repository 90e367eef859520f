"""The logs of a known world give the same audit in every format."""

import jax
import numpy as np
import pytest

import btw_jax
from btw_jax.analysis import pid
from btw_jax.data.answers import catalog
from btw_jax.pipeline.audit import interactions
from support import answer_files

pytestmark = pytest.mark.training

_FEW = {"num_permutations": 19, "num_resamples": 100}
_NUM_VALUES, _NUM_OPTIONS, _COPIES = 4, 3, 3


def _make_world():
  """Returns p(v, t, y) and questions that have exactly these frequencies."""
  rng = np.random.default_rng(0)
  size = (_NUM_VALUES, _NUM_VALUES, _NUM_OPTIONS)
  answers = rng.dirichlet(np.ones(_NUM_OPTIONS), size[:2])
  v, t = (
    np.repeat(x.ravel(), _COPIES)
    for x in np.indices((_NUM_VALUES, _NUM_VALUES))
  )
  order = rng.permutation(len(v))
  v, t = v[order], t[order]
  world = answer_files.World(
    ids=[str(100 + row) for row in range(len(v))],
    probs={
      "both": answers[v, t],
      "vision": answers.mean(axis=1)[v],
      "text": answers.mean(axis=0)[t],
    },
    labels=rng.integers(_NUM_OPTIONS, size=len(v)),
    texts=[(f"cat {i}", f"two dogs {i}", f"no {i}") for i in range(len(v))],
  )
  return answers / _NUM_VALUES**2, world


JOINT, WORLD = _make_world()


def _audit(folder, name):
  inputs = catalog.parse(answer_files.WRITERS[name](folder, WORLD))
  # The folder's conditions come in the order of their names.
  options = {"modalities": "vision,text", **_FEW}
  if list(inputs) == [""]:
    return btw_jax.audit(inputs[""], **options)
  return btw_jax.audit(inputs, **options)


def _numbers(content):
  """Returns all measured numbers of an audit by name."""
  numbers = {}
  for table, key in (
    ("conditions", "condition"), ("changes", "condition"),
    ("information", "modality"), ("ensembles", "ensemble"),
  ):  # fmt: skip
    for row in content[table]:
      for field, value in row.items():
        if field != key:
          numbers[table, row[key], field] = value
  (row,) = content["interactions"]
  for atom in interactions.ATOMS:
    numbers["interactions", atom] = row["atoms"][atom]["mean"]
  return numbers


@pytest.fixture(scope="module")
def truth():
  probs = dict(WORLD.probs)
  return btw_jax.audit(probs, WORLD.labels, ids=WORLD.ids, **_FEW)


@pytest.mark.parametrize(
  "name", [n for n in answer_files.WRITERS if n not in answer_files.HARD]
)
def test_every_format_gives_the_same_numbers(tmp_path, truth, name):
  audit = _audit(tmp_path, name)
  assert audit.content["num_questions"] == len(WORLD.ids)
  expected = _numbers(truth.content)
  numbers = _numbers(audit.content)
  assert set(numbers) == set(expected)
  for field, value in expected.items():
    np.testing.assert_allclose(
      numbers[field], value, atol=1e-6, err_msg=str(field)
    )
  assert audit.training_weights() == truth.training_weights()


def test_the_atoms_are_those_of_the_joint(truth):
  (row,) = truth.content["interactions"]
  exact = jax.jit(pid.broja)(JOINT)
  distance = max(d["total_variation"] for d in row["distance"].values())
  assert distance < 1e-6
  np.testing.assert_allclose(
    [row["atoms"][a]["mean"] for a in interactions.ATOMS],
    [getattr(exact, a) for a in interactions.ATOMS],
    atol=row["gap"] + float(exact.gap) + distance + 2e-6,
  )


@pytest.mark.parametrize("name", answer_files.HARD)
def test_hard_formats_give_the_decisions(tmp_path, truth, name):
  content = _audit(tmp_path, name).content
  (row,) = content["interactions"]
  assert row["kind"] == "answers"
  for table in ("conditions", "changes"):
    for ours, theirs in zip(content[table], truth.content[table], strict=True):
      for field in set(ours) & set(theirs):
        assert ours[field] == theirs[field], field
