import numpy as np
import pytest

from btw_jax.data.answers import catalog
from btw_jax.data.answers import read_options
from support import answer_files

OPTIONS = read_options.ReadOptions()


def test_every_format_has_a_writer():
  assert list(answer_files.WRITERS) == list(catalog.FORMATS)


@pytest.mark.parametrize("name", list(catalog.FORMATS))
def test_formats_agree_with_the_truth(tmp_path, name):
  world = answer_files.make_world()
  inputs = catalog.parse(answer_files.WRITERS[name](tmp_path, world))
  assert {catalog.recognise(path) for path in inputs.values()} == {name}
  answers = catalog.read(inputs, OPTIONS)
  assert answers.ids.tolist() == world.ids
  np.testing.assert_array_equal(answers.labels, world.labels)
  np.testing.assert_array_equal(answers.num_options, world.counts)
  assert set(answers.decisions) == {"both", "vision", "text"}
  assert answers.ceilings == {}
  for condition in world.probs:
    np.testing.assert_array_equal(
      answers.decisions[condition], world.decisions(condition)
    )
    if name in answer_files.HARD:
      assert answers.log_probs == {}
    else:
      np.testing.assert_allclose(
        answers.log_probs[condition], world.log_probs(condition), rtol=1e-9
      )
