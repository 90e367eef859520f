import numpy as np
import pytest

from btw_jax.models.language import sizes as sizes_lib
from support import language_problems as problems


def test_tokens_are_counted_per_modality():
  sizes = problems.sizes()
  # 4 x 6 pixels hold 2 x 3 patches of 2 x 2; 6 frames make 3 tokens of 2.
  assert (sizes.num_image_tokens, sizes.num_audio_tokens) == (6, 3)
  assert sizes.step_token_modalities == (1,) * 6 + (2,) * 3 + (0,) * 18
  assert sizes.widths == (18, 24, 18)
  assert sizes.groups == ((2,),)
  assert sizes.num_outputs == sizes.vocab_size


def test_without_audio_there_are_two_modalities():
  sizes = problems.sizes(audio_shape=None, num_steps=())
  assert sizes.widths == (18, 24)
  assert sizes.groups == ()
  assert np.max(sizes.step_token_modalities) == sizes_lib.IMAGE


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"embedding_dim": 20}, "embedding_dim=20"),
    ({"num_kv_heads": 3}, "num_kv_heads=3"),
    ({"patch_size": 4}, "patch_size=4"),
    ({"frames_per_token": 4}, "frames_per_token=4"),
  ],
)
def test_sizes_that_do_not_fit_are_refused(changes, named):
  with pytest.raises(ValueError, match=named):
    problems.sizes(**changes)
