from absl import flags
import pytest

from btw_jax import errors
from btw_jax import interventions
from btw_jax import predictions
from btw_jax import tasks
from btw_jax import weighting
from btw_jax.analysis import contribution
from btw_jax.analysis import importance
from btw_jax.data import loading
from btw_jax.models import dispatch
from btw_jax.models import gating
from btw_jax.models import networks
from btw_jax.models import routers
from btw_jax.mutual_information import transforms
from btw_jax.parallel import device_map
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections as sections
from btw_jax.pipeline import interactions
from btw_jax.pipeline import study
from btw_jax.training import selection
from btw_jax.training import weighting_rule
from experiments import flags as flags_lib


@pytest.mark.parametrize(
  ("choices", "implemented"),
  [
    (sections.VARIANTS, weighting.VARIANTS),
    (
      sections.WEIGHTINGS,
      (*weighting.VARIANTS, *importance.IMPORTANCE, *selection.GATED),
    ),
    (sections.REMOVALS, contribution.REMOVALS),
    (sections.NORMALISATIONS, weighting_rule.NORMALISATIONS),
    (sections.DIVERGENCES, predictions.DIVERGENCES),
    (sections.TRANSFORMS, transforms.TRANSFORMS),
    (sections.TASKS, tasks.NAMES),
    (sections.PREDICTIVE, tasks.PREDICTIVE),
    (sections.ENCODERS, ("mean", *networks.SEQUENCE_ENCODERS)),
    (sections.GATINGS, gating.GATINGS),
    (sections.ROUTERS, routers.ROUTERS),
    (sections.DISPATCHES, ("auto", *dispatch.DISPATCHES)),
    (sections.MAPPINGS, device_map.MAPPINGS),
    (sections.READINGS, loading.READINGS),
    (sections.INTERVENTIONS, interventions.KINDS),
    (sections.JOINTS, interactions.JOINTS),
    (sections.ANALYSES, study.ANALYSIS_FUNCTIONS),
  ],
)
def test_choices_are_those_that_are_implemented(choices, implemented):
  assert sorted(map(str, choices)) == sorted(map(str, implemented))


def test_every_intervention_has_its_share():
  names = {setting.name for setting in config_lib.settings()}
  shares = {name for name in names if name.endswith("_share")}
  kinds = {f"{kind}_share" for kind in interventions.KINDS}
  assert shares - {"valid_share"} == kinds


def test_json_gives_back_the_configuration():
  config = config_lib.make(
    model="moe", weighting=("mi", "auto"), perturb=["text"], dropout=0.3
  )
  values = config_lib.to_dict(config)
  assert values["perturb"] == ["text"]
  assert values["weighting"] == ["mi", "auto"]
  assert config_lib.from_dict(values) == config
  assert config.mitigation.perturb == ("text",)
  assert config.model.kind == "moe"


def test_every_setting_can_be_replaced_and_read():
  config = config_lib.RunConfig()
  for setting in config_lib.settings():
    default = setting.field.default
    changed = {
      bool: lambda x: not x,
      tuple: lambda x: (*x, "more"),
      str: lambda x: x + "more",
      int: lambda x: x + 1,
      float: lambda x: x + 1.0,
    }[type(default)](default)
    other = config_lib.replace(config, **{setting.name: changed})
    assert config_lib.get(other, setting) == changed
    free = setting.field.metadata.get("free", False)
    assert config_lib.differing(config, other) == [setting.name] * (not free)


def test_unknown_settings_are_named():
  with pytest.raises(errors.InputError, match="'speed' is not a setting"):
    config_lib.make(speed=3)
  with pytest.raises(errors.InputError, match=r"config.json: 'speed' .* again"):
    config_lib.from_dict({"speed": 3})


@pytest.mark.parametrize(
  ("names", "message"),
  [
    ("kl+mi,auto", "--weighting=auto chooses .*: leave out auto, or use"),
    ("gate,kl", "--weighting=gate chooses .*: leave out gate, or use"),
    ("uniform,mi", "--weighting=uniform,mi uses no divergence: add kl, kl"),
  ],
)
def test_weightings_without_minmax_are_refused(names, message):
  settings = {"weighting": names.split(","), "normalise": "minmax"}
  with pytest.raises(errors.InputError, match=message) as error:
    config_lib.make(**settings)
  assert str(error.value).startswith("--normalise=minmax: ")
  assert "\n" not in str(error.value)
  values = flags.FlagValues()
  flags_lib.define(values)
  values(["train", "--normalise=minmax", f"--weighting={names}"])
  with pytest.raises(errors.InputError, match=message):
    flags_lib.read_config(values)
  config_lib.make(**settings | {"normalise": "rows"})
  config_lib.make(**settings | {"weighting": ["mi", "kl+cc"]})


def test_the_largest_seeds_fit_into_32_bits():
  (seed,) = (s for s in config_lib.settings() if s.name == "seed")
  config = config_lib.make(seed=seed.field.metadata["high"], num_seeds=10_000)
  assert max(config.seeds) < 2**31


@pytest.mark.parametrize(
  ("modalities", "control", "message"),
  [
    (["image", "text"], "foo", "--control=foo: no modality 'foo': use some of"),
    (["image", "text"], "text", "--control=text: .* two or more beside"),
    (["image"], "", "--workdir: .* two or more"),
  ],
)
def test_what_cannot_be_decomposed_is_named(modalities, control, message):
  with pytest.raises(errors.InputError, match=message):
    interactions.control_position(modalities, control)


def test_a_wrong_recipe_is_one_line(tmp_path):
  path = tmp_path / "mine.flags"
  for text, message in (
    ("--max_norm=nan", "mine.flags: --max_norm=nan: nan is not a finite"),
    ("--num_seeds=two", "--num_seeds=two: 'two' is not an integer"),
    ("--weighting=kl,x", "mine.flags: --weighting=kl,x: 'x' is unknown"),
  ):
    path.write_text(text, encoding="utf-8")
    with pytest.raises(errors.InputError, match=message) as error:
      flags_lib.read_recipes([str(path)])
    assert "\n" not in str(error.value)
  with pytest.raises(errors.InputError, match=r"foo: (?!.*study).*digits"):
    flags_lib.read_recipes(["foo"])


def test_help_shows_every_setting_once():
  names = [name for group in flags_lib.groups().values() for name in group]
  assert sorted(names) == sorted(s.name for s in config_lib.settings())
  assert len(set(names)) == len(names)
