import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from btw_jax import hooks
from btw_jax import tasks
from btw_jax import weighting
from btw_jax.methods.balance import mla
from btw_jax.parallel import device_map
from support import balances
from support import problems


def test_the_projector_follows_the_rule_and_keeps_its_norm():
  rng = np.random.default_rng(0)
  expected = actual = np.eye(4)
  for _ in range(5):
    features = rng.normal(size=4)
    expected = expected - expected @ np.outer(features, features) @ expected / (
      0.3 + features @ expected @ features
    )
    # The identity has the norm 2.
    expected *= 2 / np.linalg.norm(expected)
    actual = mla.project_away(jnp.asarray(actual), features, 0.3)
  np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(np.linalg.norm(actual), 2.0, rtol=1e-5)


def test_with_a_small_alpha_nothing_is_left_of_what_was_seen():
  rng = np.random.default_rng(1)
  seen, projector = rng.normal(size=(3, 6)).astype("f"), jnp.eye(6)
  for features in seen:
    projector = mla.project_away(projector, features, 1e-6)
  np.testing.assert_allclose(projector @ seen.T, 0, atol=1e-4)
  other = rng.normal(size=6)
  assert np.linalg.norm(projector @ other) > 0.1
  # The larger α, the more is left.
  left = [
    np.linalg.norm(mla.project_away(jnp.eye(6), seen[0], alpha) @ seen[0])
    for alpha in (0.1, 1.0, 10.0)
  ]
  assert left[0] < left[1] < left[2]


def test_features_of_0_change_nothing():
  projector = mla.project_away(jnp.eye(3), np.array([1.0, 2.0, 0.0]), 0.5)
  np.testing.assert_allclose(
    mla.project_away(projector, np.zeros(3), 0.5), projector, rtol=1e-6
  )


def _trainer(**more):
  return balances.trainer("mla", dropout=0.0, **more)


@pytest.mark.training
def test_the_head_is_projected_away_from_the_modalities_before():
  trainer = _trainer(optimizer=optax.sgd(1.0))
  batch = problems.batch(16, missing=0.3)
  state, stepped, _ = balances.step_on(trainer, batch, value=0.2)
  params, projector = jax.device_get(state.params), np.eye(6)
  present = np.asarray(batch.present)
  for m in range(3):
    shown = jnp.asarray(present & (np.arange(3) == m))

    def mean_loss(params):
      outputs, _ = trainer.network.apply(
        {"params": params}, batch._replace(present=shown),
        shown.astype(jnp.float32), train=False,
      )  # fmt: skip
      losses = trainer.task.loss(outputs[0], batch.target)
      return jnp.sum(jnp.where(shown[:, m], losses, 0)) / 16

    slopes = jax.device_get(jax.jit(jax.grad(mean_loss))(params))
    features = np.asarray(
      trainer.network.apply(
        {"params": params}, batch, train=False, method="encode"
      )
    )[present[:, m], m].mean(axis=0)
    slopes["head"]["kernel"] = projector @ slopes["head"]["kernel"]
    params = jax.tree.map(lambda x, g: x - g, params, slopes)
    projector = np.asarray(mla.project_away(projector, features, 0.2))
  for actual, expected in problems.leaves(stepped.params, params):
    np.testing.assert_allclose(actual[0], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.training
def test_a_step_trains_one_encoder_and_the_head():
  """With AdamW, encoders that are not trained keep their moments too."""
  trainer = _trainer(optimizer=optax.adamw(1e-2))
  batch = problems.batch(16, missing=0.3)
  state, state_then, _ = balances.step_on(trainer, batch)
  # A second state, whose moments are not 0.
  state = jax.tree.map(lambda x: x[0], state_then)
  assert trainer.hook.rounds == 3 and state.step == 3
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  step = jax.jit(
    jax.vmap(trainer.step, (None, 0, 0, None), axis_name=device_map.AXIS)
  )
  parts = jax.tree.map(lambda x: x[None], (batch, multipliers))
  for turn in range(3):
    after = jax.tree.map(lambda x: x[0], step(state, *parts, 3)[0])
    before_adam, adam = (
      optax.tree_utils.tree_get_all_with_path(s.opt_state, name)[0][1]
      for name in ("mu",)
      for s in (state, after)
    )
    for old, new in ((state.params, after.params), (before_adam, adam)):
      assert np.all(new["head"]["kernel"] != old["head"]["kernel"])
      for a, b in problems.leaves(old["encoder"], new["encoder"]):
        for m in range(3):
          assert np.any(a[m] != b[m]) == (m == turn)
    state = after


@pytest.mark.training
def test_examples_without_the_modality_have_no_loss_and_no_features():
  forward = balances.forward_of(3)
  embeddings = forward.encode(forward.batch)
  hook = mla.Method(3, embedding_dim=6)
  for number, m in ((1, 1), (5, 2)):
    step = balances.step(hook.init(0), 0.4, number=number)
    present = np.asarray(forward.batch.present)[:, m]
    losses = hook.minimise(step, forward, embeddings, None, jnp.ones((1, 12)))
    np.testing.assert_array_equal(losses[0], present)
    state = hook.observe(step, forward, embeddings)
    mean = np.asarray(embeddings)[present, m].mean(axis=0)
    expected = mla.project_away(jnp.eye(6), mean, 0.4)
    np.testing.assert_allclose(state["next"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(state["projector"], np.eye(6))
    shown = hook.show(
      step, forward, hooks.Shown(embeddings, forward.batch, None)
    )
    np.testing.assert_array_equal(
      shown.batch.present, forward.batch.present & (np.arange(3) == m)
    )
    # One modality alone has the mean multiplier of all, here 1.
    np.testing.assert_array_equal(shown.multipliers, shown.batch.present)


@pytest.mark.parametrize(
  "task, outputs, expected",
  [
    ("multiclass", [0.0, 0.0, 0.0], -np.log(3)),
    ("multiclass", [np.log(2), 0.0, 0.0], -1.5 * np.log(2)),
    # H(1/2) = log 2.
    ("binary", [0.0], -np.log(2)),
    ("multilabel", [0.0, 0.0], -2 * np.log(2)),
    # p = 3/4: H = 2 log 2 − 3/4 log 3.
    ("binary", [np.log(3)], 0.75 * np.log(3) - 2 * np.log(2)),
    # A spread of softplus(0) + .01 = log 2 + .01.
    ("regression", [5.0, 0.0], -np.log(np.log(2) + tasks.MIN_SPREAD)),
  ],
)
def test_certainty_is_the_negative_entropy(task, outputs, expected):
  actual = mla.CERTAINTIES[task](jnp.asarray(outputs))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_a_network_of_tokens_is_refused():
  mlp = problems.trainer().network
  assert mla.Method.check(mlp, 16) is None
  moe = problems.trainer(problems.mixture()).network
  assert "use --model=mlp" in mla.Method.check(moe, 16)
