import dataclasses

import numpy as np

from btw_jax.data import dataset
from btw_jax.data import fingerprints


def _examples(**changes):
  x = np.arange(12.0).reshape(6, 2)
  examples = dataset.complete(
    {"a": x, "b": -x}, np.arange(6) % 2, ids=np.array(list("abcdef")),
    present={"b": [1, 1, 1, 1, 1, 0]},
  )  # fmt: skip
  return dataclasses.replace(examples, **changes)


def test_equal_examples_have_equal_fingerprints():
  first, again = (fingerprints.of_examples([_examples()]) for _ in range(2))
  assert first == again
  # What a row without the modality holds does not count.
  other = _examples()
  other.features["b"][5] = 99
  assert fingerprints.of_examples([other]) == first


def test_every_part_counts():
  plain = _examples()
  moved = plain.take(np.array([1, 0, 2, 3, 4, 5]))
  changes = [
    moved,
    _examples(ids=np.array(list("abcdeg"))),
    _examples(target=np.arange(6)),
    _examples(target=None),
    _examples(features={"a": plain.features["a"], "c": plain.features["b"]},
              present={"a": plain.present["a"], "c": plain.present["b"]}),
    _examples(present={m: np.ones(6, bool) for m in "ab"}),
    plain.select(["b", "a"]),
  ]  # fmt: skip
  nearly = _examples()
  nearly.features["a"][2, 1] += 1e-6
  found = [fingerprints.of_examples([e]) for e in [plain, nearly, *changes]]
  assert len(set(found)) == len(found)


def test_it_counts_which_examples_lack_a_modality():
  alike = {"a": np.ones((3, 1))}
  absent = [
    dataset.complete(alike, np.arange(3), present={"a": present})
    for present in ([1, 1, 0], [1, 0, 1])
  ]
  first, second = (fingerprints.of_examples([e]) for e in absent)
  assert first != second
