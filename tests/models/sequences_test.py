import dataclasses
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from btw_jax import types
from btw_jax.models import fusion
from btw_jax.models import networks
from btw_jax.models import sequences
from support import oracles

ENCODERS = tuple(networks.SEQUENCE_ENCODERS)


def _sizes(encoder="transformer", **changes):
  """Returns a batch of a vector, two equal sequences and an irregular one."""
  return networks.Sizes(
    widths=(5, 3, 2, 3),
    num_outputs=3,
    hidden_dim=32,
    embedding_dim=8,
    num_heads=2,
    groups=((1, 3), (2,)),
    num_steps=(7, 9),
    encoder=encoder,
    num_points=5,
    **changes,
  )


def _batch(num_examples=6, seed=0, *, times=True, observed=True):
  rng = np.random.default_rng(seed)

  def steps(num_modalities, num_steps, width, *, irregular):
    shape = (num_examples, num_modalities, num_steps)
    length = rng.integers(1, num_steps + 1, shape[:2])
    inside = np.arange(num_steps) < length[..., None]
    seen = inside[..., None] & (rng.random((*shape, width)) < 0.7)
    valid = seen if irregular and observed else inside[..., None]
    values = np.where(valid, rng.normal(size=(*shape, width)), 0)
    return types.Steps(
      jnp.asarray(values, jnp.float32),
      jnp.asarray(length, jnp.int32),
      jnp.asarray(np.sort(rng.random(shape)), jnp.float32)
      if irregular and times
      else None,
      jnp.asarray(seen) if irregular and observed else None,
    )

  present = rng.random((num_examples, 4)) < 0.8
  present[:, 0] |= ~present.any(1)
  features = np.zeros((num_examples, 4, 5))
  features[:, 0] = rng.normal(size=(num_examples, 5))
  return types.Batch(
    jnp.asarray(features, jnp.float32),
    jnp.asarray(present),
    None,
    (steps(2, 7, 3, irregular=False), steps(1, 9, 2, irregular=True)),
  )


def _init(module, *arguments):
  """Initialises parameters, compiled because it is faster."""
  init = jax.jit(functools.partial(module.init, train=False))
  return init(jax.random.key(0), *arguments)


@functools.partial(jax.jit, static_argnums=0)
def _apply(module, *arguments):
  """Applies a module; it is compiled once for all tests."""
  return module.apply(*arguments, train=False)


def _networks(encoder):
  sizes = _sizes(encoder)
  yield networks.Unimodal(sizes)
  if encoder == "transformer":
    # The unimodal model tests two layers; other encoders test fusion with two.
    sizes = dataclasses.replace(sizes, num_layers=1)
  for steps in (False, True):
    mixture = fusion.Mixture(num_experts=4, steps=steps)
    yield fusion.MixtureOfExperts(sizes, mixture)


@functools.cache
def _made(encoder):
  """Returns networks with drawn parameters, so that nothing is compiled."""
  rng = np.random.default_rng(0)

  def drawn(x):
    return rng.normal(scale=0.3, size=x.shape).astype("f")

  drawn_networks = []
  for network in _networks(encoder):
    init = functools.partial(network.init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), _batch(), None)
    drawn_networks.append((network, jax.tree.map(drawn, shapes)))
  return drawn_networks


def _padded(batch, value):
  """Pads sequences with more steps, of any values and times."""

  def pad(steps):
    inside = sequences.step_mask(steps.length, steps.values.shape[2])
    valid = inside[..., None]
    if steps.observed is not None:
      valid = valid & steps.observed

    def longer(x, last=None):
      widths = [(0, 0)] * x.ndim
      widths[2] = (0, 4)
      return jnp.pad(x, widths, constant_values=value if last is None else last)

    return types.Steps(
      longer(jnp.where(valid, steps.values, value)),
      steps.length,
      None
      if steps.times is None
      else longer(jnp.where(inside, steps.times, 0.5), 0.1),
      None if steps.observed is None else longer(steps.observed, True),
    )

  return batch._replace(sequences=tuple(map(pad, batch.sequences)))


@pytest.mark.training
@pytest.mark.parametrize(
  "encoder", [pytest.param(ENCODERS[0], marks=pytest.mark.slow), *ENCODERS[1:]]
)
def test_padding_never_changes_an_output(encoder):
  """The padding changes in value and length, alone and in a mixture.

  For one encoder the mixture also has one token for all steps.
  """
  # The other encoders read unobserved values as zeros.
  batch = _batch(observed=encoder == "mtand")
  # Without times the spacing depends on the number of steps, so give times.
  if encoder == "mtand":
    first = batch.sequences[0]
    shape = first.values.shape[:3]
    times = jnp.broadcast_to(jnp.linspace(0, 1, shape[2]), shape)
    batch = batch._replace(
      sequences=(first._replace(times=times), *batch.sequences[1:])
    )
  padded = _padded(batch, 7.0)
  for network, params in _made(encoder)[:: 1 if encoder == ENCODERS[0] else 2]:
    longer = type(network)(
      **{
        **{f: getattr(network, f) for f in ("mixture",) if hasattr(network, f)},
        "sizes": networks.Sizes(
          **{**vars(network.sizes), "num_steps": (11, 13)}
        ),
      }
    )
    multipliers = jnp.where(batch.present, 1.0, 0.0)
    expected, usage = _apply(network, params, batch, multipliers)
    actual, padded_usage = _apply(longer, params, padded, multipliers)
    where = network.training_mask(batch.present)[..., None]
    np.testing.assert_allclose(
      jnp.where(where, actual, 0), jnp.where(where, expected, 0), atol=2e-5
    )
    if usage is not None:
      np.testing.assert_allclose(
        padded_usage.importance, usage.importance, atol=1e-4
      )


@pytest.mark.training
@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_a_step_holds_is_felt_by_its_own_example_alone(encoder):
  batch = _batch()
  first = batch.sequences[0]
  moved = first._replace(values=first.values.at[2, 0, 0].add(9.0))
  changed = batch._replace(
    sequences=(moved, *batch.sequences[1:]),
    present=batch.present.at[2, 1].set(True),
  )
  batch = batch._replace(present=changed.present)
  # The first encodes alone; the last attends to every step.
  alone, _, attending = _made(encoder)
  for network, params in (alone, attending):
    multipliers = jnp.where(batch.present, 1.0, 0.0)
    before, after = (
      _apply(network, params, b, multipliers)[0] for b in (batch, changed)
    )
    moved = np.any(before != after, axis=-1)
    # Only the unimodal model of this modality changes.
    expected = np.zeros_like(moved)
    expected[1 if len(moved) > 1 else 0, 2] = True
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.slow
def test_modalities_of_one_shape_have_encoders_of_their_own():
  batch = _batch()
  for encoder in ENCODERS:
    sizes = _sizes(encoder)
    network = networks.Unimodal(sizes)
    params = _init(network, batch, None)["params"]
    for leaf in jax.tree.leaves(params["sequences_0"]):
      assert leaf.shape[0] == 2
      assert np.any(leaf[0] != leaf[1]) or np.all((leaf == 0) | (leaf == 1))
    owners = network.model_ids(params)
    for group, name in (((1, 3), "sequences_0"), ((2,), "sequences_1")):
      for ids in jax.tree.leaves(owners[name]):
        np.testing.assert_array_equal(ids, group)
    np.testing.assert_array_equal(jax.tree.leaves(owners["encoder"])[0], [0])


@pytest.mark.training
@pytest.mark.parametrize("observed", [True, False])
def test_multi_time_attention_equals_a_loop(observed):
  """The library's attention scores are applied step by step."""
  batch = _batch(observed=observed)
  steps = jax.tree.map(lambda x: x[:, 0], batch.sequences[1])
  encoder = sequences.MultiTimeAttention(8, 2, 5, 0.0)
  params = _init(encoder, steps)
  actual = _apply(encoder, params, steps)
  scores = sequences.TimeScores(2, 5).apply(
    {"params": params["params"]["TimeScores_0"]}, steps.times
  )
  dense = params["params"]["Dense_0"]
  inside = sequences.step_mask(steps.length, 9)
  for b in range(len(actual)):
    where = np.broadcast_to(inside[b][:, None], (9, 2))
    if observed:
      where = where & np.asarray(steps.observed[b])
    read = oracles.multi_time_attention(
      np.asarray(scores[b], np.float64), np.asarray(steps.values[b]), where
    )
    expected = read.reshape(5, -1) @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(actual[b], expected, atol=1e-5)


@pytest.mark.training
def test_a_feature_never_observed_reads_zero_and_passes_no_nan():
  steps = jax.tree.map(lambda x: x[:, 0], _batch().sequences[1])
  steps = steps._replace(observed=jnp.zeros_like(steps.observed))
  encoder = sequences.MultiTimeAttention(8, 2, 5, 0.0)
  params = _init(encoder, steps)

  def total(params, values):
    out = encoder.apply(params, steps._replace(values=values), train=False)
    return jnp.sum(out**2)

  actual = _apply(encoder, params, steps)
  bias = params["params"]["Dense_0"]["bias"]
  np.testing.assert_allclose(actual, jnp.broadcast_to(bias, actual.shape))
  for gradient in jax.tree.leaves(
    jax.grad(total, (0, 1))(params, steps.values)
  ):
    assert np.all(np.isfinite(gradient))


@pytest.mark.training
def test_the_gru_reads_both_ways():
  """Two cells are stepped by hand, the second from the end backwards."""
  steps = jax.tree.map(lambda x: x[:, 0], _batch().sequences[0])
  encoder = sequences.BidirectionalGRU(8, 0.0)
  params = _init(encoder, steps)
  actual = _apply(encoder, params, steps)
  cells = sorted(params["params"])
  cell = nn.GRUCell(4)
  for b in range(len(actual)):
    length = int(steps.length[b])
    for half, name in enumerate(cells):
      order = range(length) if half == 0 else reversed(range(length))
      carry = jnp.zeros(4)
      for t in order:
        carry, out = cell.apply(
          {"params": params["params"][name]}, carry, steps.values[b, t]
        )
        np.testing.assert_allclose(
          actual[b, t, 4 * half : 4 * half + 4], out, atol=1e-5
        )


def test_masked_mean_is_the_mean_of_what_is_there():
  x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("f")
  length = jnp.asarray([4, 1, 0])
  means = sequences.masked_mean(x, sequences.step_mask(length, 4))
  np.testing.assert_allclose(means[0], x[0].mean(0), rtol=1e-5)
  np.testing.assert_allclose(means[1], x[1, 0], rtol=1e-6)
  np.testing.assert_array_equal(means[2], 0.0)
