"""Training against interference: what is perturbed, and what is minimised."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest
from scipy import special
from scipy import stats

from btw_jax import errors
from btw_jax import forward as forward_lib
from btw_jax import interventions
from btw_jax import types
from btw_jax import weighting
from btw_jax.data import scaling
from btw_jax.methods import adversarial
from btw_jax.methods import heuristic
from btw_jax.methods import mitigation
from btw_jax.models import networks
from btw_jax.parallel import device_map
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import mitigations

KEY = jax.random.key(0)
PLAIN = interventions.FeatureStats(*np.zeros((3, 3, 5), np.float32))
KINDS = tuple(interventions.KINDS)


class Linear(networks.Concatenation):
  """A head that is linear in the embeddings."""

  def read(self, embeddings, *, train):
    del train
    return self.head(embeddings.reshape(len(embeddings), -1))[None]


def _forward(network=Linear, *, task="binary", dropout=0.0, missing=0.3):
  """A batch and its labels, some modalities missing, and a network."""
  made = problems.trainer(network, task=task, dropout=dropout)
  batch = problems.batch(16, missing=missing)
  # The last example has no modality at all.
  last = jnp.arange(16)[:, None] == 15
  batch = batch._replace(
    present=batch.present & ~last,
    features=jnp.where(last[..., None], 0, batch.features),
  )
  if task == "binary":
    batch = batch._replace(target=batch.target % 2)
  params = made.init(0, types.Split(batch, None)).train.params
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  # Weights of their own for every example.
  rng = np.random.default_rng(0)
  multipliers *= rng.uniform(0.5, 1.5, multipliers.shape)
  return forward_lib.Forward(
    made.network, made.task, params, batch, multipliers, KEY, jnp.int32(0),
    None,
  )  # fmt: skip


def _clean(forward):
  embeddings = forward.encode(forward.batch)
  return embeddings, forward.fuse(
    embeddings, forward.batch, forward.multipliers
  )[0]


def test_ascent_ends_in_the_corner_where_a_linear_loss_is_largest():
  rng = np.random.default_rng(0)
  slope = rng.normal(size=(4, 3)).astype("f")
  radius = rng.uniform(0.5, 1, (4, 1)).astype("f")
  radius[2] = 0

  def loss(delta):
    return jnp.sum(slope * delta)

  start = radius * rng.uniform(-1, 1, (4, 3)).astype("f")
  for signed, rate, direction in (
    (True, 0.4 * radius, np.sign(slope)), (False, 0.1, slope)
  ):  # fmt: skip
    for num_steps in (0, 2, 60):
      found = jax.jit(
        lambda start, rate=rate, signed=signed, num_steps=num_steps: (
          adversarial.ascend(
            loss, start, radius, rate=rate, num_steps=num_steps, signed=signed
          )
        )
      )(start)
      expected = np.clip(start + num_steps * rate * direction, -radius, radius)
      np.testing.assert_allclose(found, expected, atol=1e-5)
    if signed:
      np.testing.assert_allclose(found, radius * np.sign(slope))
  np.testing.assert_array_equal(found[2], 0.0)
  slope_of_start = jax.grad(
    lambda start: jnp.sum(
      adversarial.ascend(loss, start, radius, rate=0.1, num_steps=1)
    )
  )(start)
  np.testing.assert_array_equal(slope_of_start, 0.0)


@pytest.mark.parametrize("modalities", [None, (1,)])
def test_the_worst_of_a_linear_model_is_known(modalities):
  """`z − y·Σ_m c_m ε_m |w_m|`, where c multiplies the embeddings."""
  forward = _forward()
  method = adversarial.Adversarial(
    radius=0.3, rate=0.5, num_steps=6, modalities=modalities
  )
  embeddings, clean = _clean(forward)
  outputs, batch = jax.jit(lambda: method(forward, embeddings, KEY))()
  assert batch is not None and batch.target is not None
  present = np.asarray(forward.batch.present)
  deviations = [np.std(embeddings[present[:, m], m]) for m in range(3)]
  radius = 0.3 * np.array(deviations)
  radius *= np.isin(np.arange(3), range(3) if modalities is None else (1,))
  slopes = np.abs(forward.params["head"]["kernel"]).reshape(3, -1).sum(axis=1)
  shift = np.asarray(forward.multipliers) @ (radius * slopes)
  sign = 2 * np.asarray(forward.batch.target) - 1
  np.testing.assert_allclose(
    outputs[0, :, 0], clean[0, :, 0] - sign * shift, rtol=1e-3, atol=1e-5
  )
  assert np.min(shift[present[:, 1]]) > 1e-3


def test_parameters_learn_from_the_worst_as_it_is():
  """How it would move with them is not part of the gradient."""
  forward = _forward(networks.Concatenation)
  method = adversarial.Adversarial(
    radius=0.5, rate=0.7, num_steps=1, signed=False
  )

  def loss(params):
    own = dataclasses.replace(forward, params=params)
    outputs, batch = method(own, own.encode(own.batch), KEY)
    return jnp.sum(own.losses(outputs, batch))

  def moved(params, delta):
    own = dataclasses.replace(forward, params=params)
    embeddings = own.encode(own.batch) + delta
    outputs, _ = own.fuse(embeddings, own.batch, own.multipliers)
    return jnp.sum(own.losses(outputs, own.batch))

  embeddings, _ = _clean(forward)
  radius = method.radii(forward, embeddings)[:, None]
  start = jax.vmap(
    lambda key: jax.random.uniform(key, embeddings.shape[1:], minval=-1.0)
  )(types.keys(KEY, 16, None))
  slope = jax.jit(jax.grad(moved, argnums=1))(forward.params, radius * start)
  worst = jnp.clip(radius * (start + 0.7 * slope), -radius, radius)
  for found, expected in problems.leaves(
    jax.jit(jax.grad(loss))(forward.params),
    jax.jit(jax.grad(moved))(forward.params, worst),
  ):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_one_modality_of_an_example_is_intervened_on():
  present = np.random.default_rng(0).random((2000, 4)) < 0.6
  made = heuristic.Heuristic(
    ("noise", "mismatch", "zero"), (1.0, 2.0, 1.0), PLAIN, (0,), (0, 1, 3)
  )
  chosen = np.asarray(jax.jit(made.choose)(KEY, present))
  taken = chosen >= 0
  may = present & [True, True, False, True]
  np.testing.assert_array_equal(taken.sum(axis=1), may.any(axis=1))
  assert not np.any(taken & ~may)
  counts = np.bincount(chosen[taken])
  expected = np.array([1, 2, 1]) / 4 * counts.sum()
  assert stats.chisquare(counts, expected).pvalue > 0.001
  complete = may[:, [0, 1, 3]].all(axis=1)
  each = taken[complete][:, [0, 1, 3]].sum(axis=0)
  assert stats.chisquare(each).pvalue > 0.001


def test_copies_are_what_the_network_says_to_the_intervened_batch():
  forward = _forward(networks.Concatenation, task="multiclass")
  zeros = dataclasses.replace(forward, seed=jnp.int32(7))
  usual = interventions.FeatureStats(
    *np.random.default_rng(0).normal(size=(3, 2, 3, 5)).astype("f")
  )
  # The zeros of the run's own seed.
  made = heuristic.Heuristic(("zero",), (1.0,), usual, (6, 7))
  outputs, copy = jax.jit(lambda: made(zeros, None, KEY))()
  changed = np.any(np.asarray(copy.features != forward.batch.features), axis=2)
  np.testing.assert_array_equal(changed.sum(axis=1), [1] * 15 + [0])
  expected = np.where(changed[..., None], usual.zero[1], forward.batch.features)
  np.testing.assert_array_equal(copy.features, expected)
  again, _ = forward.fuse(
    forward.encode(forward.batch._replace(features=expected)),
    forward.batch,
    forward.multipliers,
  )
  np.testing.assert_allclose(outputs, again, rtol=1e-5, atol=1e-6)


def test_what_is_left_is_multiplied_by_more():
  """So that multipliers have the same mean as before."""
  seen = []

  class Recording(networks.Concatenation):
    def fuse(self, embeddings, batch, multipliers, *, train):
      seen.append((multipliers, batch.present))
      return super().fuse(embeddings, batch, multipliers, train=train)

  forward = _forward(Recording, task="multiclass")
  made = heuristic.Heuristic(("missing",), (1.0,), PLAIN, (0,))
  seen.clear()
  _, copy = made(forward, None, KEY)
  ((multipliers, present),) = seen
  np.testing.assert_array_equal(present, copy.present)
  before = np.asarray(forward.multipliers)
  np.testing.assert_array_equal(multipliers > 0, present)
  for i in np.flatnonzero(present.any(axis=1)):
    own, there = np.asarray(forward.batch.present[i]), np.asarray(present[i])
    assert own.sum() == there.sum() + 1
    np.testing.assert_allclose(
      multipliers[i, there].mean(), before[i, own].mean(), rtol=1e-5
    )
    ratio = multipliers[i, there] / before[i, there]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Moved:
  """A view whose outputs are those of the batch, moved by what is drawn."""

  factor: float
  num_views: int = 1

  def __call__(self, forward, embeddings, key):
    outputs, _ = forward.fuse(embeddings, forward.batch, forward.multipliers)
    moved = self.factor * jax.random.normal(key, outputs.shape)
    return outputs + moved, forward.batch


@pytest.mark.parametrize("kind", ["kl", "js"])
def test_what_is_minimised_besides_the_loss(kind):
  forward = _forward(networks.Concatenation, task="multiclass")
  embeddings, outputs = _clean(forward)
  made = mitigation.Mitigation(
    (Moved(1.0, num_views=3), Moved(2.0)), 0.7, 0.3, kind
  )
  found = jax.jit(lambda: made(forward, embeddings, outputs, KEY))()
  clean = special.log_softmax(outputs[0], axis=-1)
  expected = np.zeros(16)
  for number, (factor, num_views) in enumerate(((1.0, 3), (2.0, 1))):
    own = jax.random.fold_in(KEY, number)
    keys = jax.random.split(own, num_views) if num_views > 1 else [own]
    for key in keys:
      moved = outputs + factor * jax.random.normal(key, outputs.shape)
      view = special.log_softmax(moved[0], axis=-1)
      nll = -view[np.arange(16), forward.batch.target]
      if kind == "kl":
        apart = np.sum(np.exp(view) * (view - clean), axis=-1)
      else:
        half = np.log((np.exp(view) + np.exp(clean)) / 2)
        apart = sum(np.sum(np.exp(p) * (p - half), -1) for p in (view, clean))
        apart /= 2
      expected += (0.7 * nll + 0.3 * apart) / num_views
  there = np.asarray(forward.batch.present).any(axis=1)
  np.testing.assert_allclose(
    found[0], np.where(there, expected, 0), rtol=1e-4, atol=1e-6
  )


def test_consistency_pulls_the_view_and_not_the_batch():
  forward = _forward(networks.Concatenation, task="multiclass")
  made = mitigation.Mitigation((Moved(1.0),), 0.0, 1.0)
  embeddings, outputs = _clean(forward)

  def paid(outputs):
    return jnp.sum(made(forward, embeddings, outputs, KEY))

  slope = jax.jit(jax.grad(paid))(outputs)
  np.testing.assert_array_equal(slope, 0.0)


def _run(hook=None, **changes):
  made = problems.trainer(dropout=0.0, optimizer=optax.sgd(1.0))
  made = dataclasses.replace(made, hook=hook, **changes)
  batch = problems.batch(16, missing=0.2)
  state = made.init(0, types.Split(batch, None)).train
  step = jax.jit(
    jax.vmap(made.step, (None, 0, 0, None, 0), axis_name=device_map.AXIS)
  )
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  counts = jnp.asarray(np.random.default_rng(0).uniform(0, 2, 16))
  one = jax.tree.map(lambda x: x[None], (batch, multipliers))
  stepped, sums = step(state, *one, 3, counts[None])
  return made, state, batch, multipliers, counts, stepped, sums


def test_a_step_descends_the_loss_and_what_the_hook_adds():
  def hook(forward, embeddings, outputs, key):
    """Something that hangs on all that it is given."""
    drawn = jax.random.normal(key, (len(forward.batch.present),))
    sums = jnp.sum(embeddings**2, axis=(1, 2)) + jnp.sum(outputs[0], axis=-1)
    return (drawn * sums)[None]

  made, state, batch, multipliers, counts, stepped, sums = _run(hook)
  bare = _run()
  # The draw of the first step of seed 3.
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 4), state.step)

  def whole(params):
    forward = forward_lib.Forward(
      made.network, made.task, params, batch, multipliers, KEY, 3, None
    )
    embeddings, outputs = _clean(forward)
    paid = made.task.loss(outputs, batch.target)
    paid += hook(forward, embeddings, outputs, key)
    return jnp.mean(counts * paid)

  for before, after, slope in problems.leaves(
    state.params, stepped.params, jax.jit(jax.grad(whole))(state.params)
  ):
    np.testing.assert_allclose(before - after[0], slope, rtol=1e-3, atol=1e-5)
  # What is logged is the loss itself.
  np.testing.assert_allclose(sums["loss"], bare[-1]["loss"], rtol=1e-6)
  np.testing.assert_array_equal(sums["score"], bare[-1]["score"])


def test_a_step_on_shares_equals_a_step_on_the_whole():
  """Copies, donors, noise and starts of the ascent are drawn by the slot."""
  usual = interventions.FeatureStats(*np.ones((3, 3, 5), np.float32))
  hook = mitigation.Mitigation(
    (
      heuristic.Heuristic(KINDS, [1.0] * len(KINDS), usual, (0,), num_views=2),
      # By the gradient: its sign would magnify the rounding of a small one.
      adversarial.Adversarial(radius=0.5, rate=2.0, signed=False),
    ),
    consistency=0.5,
  )
  made = problems.trainer(dropout=0.1, optimizer=optax.sgd(1.0))
  batch = problems.batch(16, missing=0.3)
  state = jax.jit(made.init)(0, types.Split(batch, None)).train
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )

  def run(num_devices, hook=hook):
    own = dataclasses.replace(made, hook=hook)
    step = jax.vmap(own.step, (None, 0, 0, None), axis_name=device_map.AXIS)
    shares = jax.tree.map(
      lambda x: x.reshape(num_devices, -1, *x.shape[1:]), (batch, multipliers)
    )
    stepped, _ = jax.jit(step)(state, *shares, 3)
    return stepped.params

  whole, shares = run(1), run(4)
  for a, b in problems.leaves(whole, shares):
    for device in range(4):
      np.testing.assert_allclose(a[0], b[device], rtol=1e-4, atol=1e-5)
  moved = [
    np.max(np.abs(a - b)) for a, b in problems.leaves(whole, run(1, None))
  ]
  assert min(moved) > 1e-2


def test_training_on_mismatches_makes_models_hard_to_mislead():
  """By a modality that says nothing: no decision should hang on it."""
  train, valid = problems.splits()
  made = problems.trainer(dropout=0.0, optimizer=optax.adamw(1e-2))
  hook = mitigation.Mitigation(
    (heuristic.Heuristic(("mismatch",), (1.0,), PLAIN, (0,), (2,)),)
  )
  batch = problems.batch(4000, seed=5)
  multipliers = weighting.multipliers(
    weighting.uniform(batch.present), batch.present
  )
  chosen = np.broadcast_to([-1, -1, 0], (4000, 3))

  @jax.jit
  def flipped(params):
    misled = interventions.intervene(
      batch, chosen, KEY, PLAIN, kinds=("mismatch",), classes=batch.target
    )
    decided = [
      made.task.decide(
        made.network.apply({"params": params}, x, multipliers, train=False)[0]
      )
      for x in (batch, misled)
    ]
    return jnp.mean(decided[0] != decided[1])

  plain, robust = (
    flipped(
      jax.tree.map(
        lambda x: x[0, 0],
        problems.fit(own, problems.PLAIN, [0], train, valid, num_epochs=30)[
          0
        ].params,
      )
    )
    for own in (made, dataclasses.replace(made, hook=hook))
  )
  assert robust < 0.6 * plain


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
  config = config_lib.Config(mitigation=("heuristic",), **changes)
  with pytest.raises(errors.InputError, match=message):
    mitigations.make(config, ("sound", "words"), [])


@pytest.mark.parametrize(
  "asked, views, augmented, consistency",
  [
    (("heuristic",), ["Heuristic"], 1.0, 0.0),
    (("adversarial",), ["Adversarial"], 1.0, 0.0),
    # Compared with copies that are not learned from.
    (("consistency",), ["Heuristic"], 0.0, 0.25),
    (("adversarial", "consistency"), ["Adversarial"], 1.0, 0.25),
    (config_lib.MITIGATIONS, ["Heuristic", "Adversarial"], 1.0, 0.25),
  ],
)
def test_flags_say_what_is_minimised(asked, views, augmented, consistency):
  config = config_lib.Config(
    mitigation=asked, perturb=("words",), consistency_weight=0.25
  )
  scaler = scaling.Scaler(*np.ones((2, 2, 3)), *np.ones(3))
  made = mitigations.make(config, ("sound", "words"), [scaler])
  assert [type(view).__name__ for view in made.views] == views
  assert all(view.modalities == [1] for view in made.views)
  assert (made.augmented, made.consistency) == (augmented, consistency)
  bare = dataclasses.replace(config, mitigation=())
  assert mitigations.make(bare, ("sound", "words"), [scaler]) is None
