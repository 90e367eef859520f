from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.pipeline import build
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import saved_config
from btw_jax.training import weighting_rule


def test_every_setting_of_the_rule_has_its_flag():
  config = config_lib.make(
    divergence="js",
    knn_transform="rank",
    instance="agreement",
    normalise="minmax",
    refresh_every=2,
    num_refinements=3,
  )
  shape = saved_config.DataShape(("a", "b"), (3, 4), "regression", 1, (0, 0), 1)
  built = build.build_trainers(config, shape, ["kl+mi"], num_train=50)
  assert built.multimodal.rule == weighting_rule.Rule(
    variants=("kl+mi",),
    divergence="js",
    transform="rank",
    agreement=True,
    normalise="minmax",
    refresh_every=2,
    num_refinements=3,
  )


def test_models_without_weights_have_no_factors_of_examples():
  """The rule of a run with --weighting=pid has them."""
  shape = saved_config.DataShape(("a", "b"), (3, 4), "binary", 1, (0, 0), 1)
  built = build.build_trainers(config_lib.make(), shape, ["pid"], num_train=50)
  assert set(built.multimodal.rule.examples) == {"pid"}
  assert built.unweighted.rule == weighting_rule.Rule()
  assert built.unweighted.importance(None, None) is None


def test_every_setting_of_the_mixture_has_its_flag():
  config = config_lib.make(
    model="moe",
    num_experts=12,
    num_selected=3,
    gating="gaussian",
    noisy_gating=True,
    router="joint",
    dispatch="dense",
    placeholder=True,
    fuse_steps=True,
    importance_loss=0.5,
    load_loss=0.25,
    router_z_loss=0.125,
    max_norm=0.8,
    patience=7,
    encoder="mtand",
    num_points=9,
    num_heads=2,
    num_layers=3,
    hidden_dim=24,
    embedding_dim=16,
    dropout=0.2,
  )
  shape = saved_config.DataShape(
    ("a", "b", "c"), (3, 4, 3), "regression", 1, (5, 0, 5), 1
  )
  trainers = build.build_trainers(config, shape, ("uniform",), 10)
  assert trainers.multimodal.network.mixture == fusion.Mixture(
    num_experts=12,
    num_selected=3,
    gating="gaussian",
    noisy=True,
    router="joint",
    dispatch="dense",
    placeholder=True,
    steps=True,
  )
  sizes = networks.Sizes(
    widths=(3, 4, 3),
    num_outputs=2,
    hidden_dim=24,
    embedding_dim=16,
    dropout=0.2,
    groups=((0, 2),),
    num_steps=(5,),
    encoder="mtand",
    num_heads=2,
    num_layers=3,
    num_points=9,
  )
  assert trainers.multimodal.network.sizes == sizes
  assert trainers.unimodal.network.sizes == sizes
  assert trainers.multimodal.penalties == {
    "importance": 0.5, "load": 0.25, "router_z": 0.125,
  }  # fmt: skip
  for trainer in (trainers.unimodal, trainers.multimodal):
    assert (trainer.max_norm, trainer.patience) == (0.8, 7)
  plain = build.build_trainers(
    config_lib.replace(config, max_norm=0.0, patience=0), shape, ("kl",), 10
  )
  assert (plain.unimodal.max_norm, plain.unimodal.patience) == (None, None)
