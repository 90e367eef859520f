import numpy as np
import pytest

from btw_jax import errors
from btw_jax.data import scaling
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections as sections
from btw_jax.pipeline import mitigations


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"perturb": ("smell",)}, "--perturb=smell: no modality 'smell': use some"),
    (
      {"noise_share": 0.0, "shuffle_share": 0.0, "mismatch_share": 0.0},
      "--mitigation=heuristic: nothing to perturb with: set one of",
    ),
  ],
)
def test_what_cannot_be_perturbed_is_refused(changes, message):
  config = config_lib.make(mitigation=("heuristic",), **changes)
  with pytest.raises(errors.InputError, match=message):
    mitigations.make_hook(config, ("sound", "words"), [])


@pytest.mark.parametrize(
  "asked, views, augmented, consistency",
  [
    (("heuristic",), ["Heuristic"], 1.0, 0.0),
    (("adversarial",), ["Adversarial"], 1.0, 0.0),
    # The copies are only compared with; their own loss has no weight.
    (("consistency",), ["Heuristic"], 0.0, 0.25),
    (("adversarial", "consistency"), ["Adversarial"], 1.0, 0.25),
    (sections.MITIGATIONS, ["Heuristic", "Adversarial"], 1.0, 0.25),
  ],
)
def test_flags_say_what_is_minimised(asked, views, augmented, consistency):
  config = config_lib.make(
    mitigation=asked, perturb=("words",), consistency_weight=0.25
  )
  scaler = scaling.Scaler(*np.ones((2, 2, 3)), *np.ones(3))
  hook = mitigations.make_hook(config, ("sound", "words"), [scaler])
  assert [type(view).__name__ for view in hook.views] == views
  assert all(view.modalities == [1] for view in hook.views)
  assert (hook.augmented, hook.consistency) == (augmented, consistency)
  bare = config_lib.replace(config, mitigation=())
  assert mitigations.make_hook(bare, ("sound", "words"), [scaler]) is None
