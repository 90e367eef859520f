from btw_jax.training import rule as rule_lib
from experiments import config as config_lib
from experiments import trainers


def test_every_setting_of_the_rule_has_its_flag():
  config = config_lib.Config(
    divergence="js",
    knn_transform="rank",
    instance="agreement",
    refresh_every=2,
    num_refinements=3,
  )
  shape = trainers.Shape(("a", "b"), (3, 4), "regression", 1, 1)
  built = trainers.build(config, shape, ["kl+mi"], num_train=50)
  assert built.multimodal.rule == rule_lib.Rule(
    variants=("kl+mi",),
    divergence="js",
    transform="rank",
    agreement=True,
    refresh_every=2,
    num_refinements=3,
  )
