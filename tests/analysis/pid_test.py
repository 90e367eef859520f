"""Decompositions equal closed forms, a cone solver and their equations."""

import itertools

import hypothesis
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from btw_jax.analysis import broja
from btw_jax.analysis import pid
from support import oracles

DECOMPOSE = BROJA, *_ = tuple(
  map(jax.jit, (pid.broja, pid.minimum_information, pid.specific_information))
)
BITS = tuple(itertools.product(range(2), range(2)))
_TRAINING = pytest.mark.training
SHAPES = ((2, 2, 2), (3, 3, 3), (5, 2, 4), (6, 7, 3), (10, 10, 5))


def _table(outcomes, shape=(2, 2, 2)):
  """Returns the joint of (x1, x2, y) from (outcome, probability) pairs."""
  table = np.zeros(shape)
  for outcome, p in outcomes:
    table[outcome] += p
  return table


def _of(function, num_classes=2):
  """Returns the joint of two fair bits and a function of them."""
  return _table(
    [((i, j, function(i, j)), 1 / 4) for i, j in BITS], (2, 2, num_classes)
  )


_FLIP = (0.9, 0.1)
# Information of a bit flipped one time in ten, in bits.
_LEFT = 1 - stats.entropy(_FLIP, base=2)
# AND: either source tells h(1/4) - h(1/2)/2, its unique information being 0.
_AND = stats.entropy([1 / 4, 3 / 4], base=2) - 1 / 2
AND, XOR = _of(lambda i, j: i & j), _of(lambda i, j: i ^ j)


def _block(rng, most):
  """Returns a joint `[X1, X2, Y]` of at most `most` values, and its atoms."""
  kinds = (
    ("unique", "copies", "xor", "and", "both")
    if most >= 4
    else ("unique", "copies", "xor")
  )
  kind = rng.choice(kinds)
  n = int(rng.integers(2, most + 1))
  probs = rng.dirichlet(np.full(n, 2.0))
  information = stats.entropy(probs)
  if kind == "copies":
    joint = np.zeros((n, n, n))
    joint[range(n), range(n), range(n)] = probs
    return joint, np.array([information, 0, 0, 0])
  if kind == "xor":
    i, j = np.indices((n, n))
    joint = np.zeros((n, n, n))
    joint[i, j, (i + j) % n] = 1 / n**2
    return joint, np.array([0, 0, 0, np.log(n)])
  if kind == "and":
    return AND, np.array([_AND, 0, 0, 1 / 2]) * np.log(2)
  if kind == "both":
    n = most // 2
    probs, others = rng.dirichlet(np.full(n, 2.0)), rng.dirichlet((2.0, 2.0))
    joint = np.zeros((n, 2, 2 * n))
    for i, j in np.ndindex(n, 2):
      joint[i, j, 2 * i + j] = probs[i] * others[j]
    return joint, np.array([0, stats.entropy(probs), stats.entropy(others), 0])
  # One source tells all, the other one is independent of it.
  joint = np.zeros((n, n, n))
  others = rng.dirichlet(np.ones(n))
  joint[range(n), :, range(n)] = probs[:, None] * others
  if rng.random() < 0.5:
    return joint, np.array([0, information, 0, 0])
  return np.swapaxes(joint, 0, 1), np.array([0, 0, information, 0])


def _known(rng, size):
  """Returns a joint of one or more disjoint blocks, and its atoms in nats.

  Either source tells the block, which is redundant information.
  """
  blocks = [_block(rng, size)]
  if size >= 4 and rng.random() < 0.6:
    sizes = [size // 2, size - size // 2]
    if size >= 16:
      sizes = [size // 3] * 3
    blocks = [_block(rng, most) for most in sizes]
  shares = rng.dirichlet(np.full(len(blocks), 3.0))
  table, corner = np.zeros((size,) * 3), np.zeros(3, int)
  for share, (joint, _) in zip(shares, blocks, strict=True):
    end = corner + joint.shape
    table[tuple(map(slice, corner, end))] = share * joint
    corner = end
  atoms = shares @ np.stack([atoms for _, atoms in blocks])
  atoms[0] += stats.entropy(shares)
  return table, atoms


# name -> joint, and its atoms in bits
GATES = {
  "and": (AND, (_AND, 0, 0, 1 / 2)),
  "xor": (XOR, (0, 0, 0, 1)),
  "y = x1": (_of(lambda i, j: i), (0, 1, 0, 0)),
  "copies": (_table([((i, i, i), 1 / 2) for i in (0, 1)]), (1, 0, 0, 0)),
  "y = (x1, x2)": (_of(lambda i, j: 2 * i + j, 4), (0, 1, 1, 0)),
  "noisy xor": (
    _table(
      [
        ((i, j, (i ^ j) ^ n), _FLIP[n] / 4)
        for (i, j), n in itertools.product(BITS, (0, 1))
      ]
    ),
    (0, 0, 0, _LEFT),
  ),
  "noisy copy": (
    _table([((i, i ^ n, i), _FLIP[n] / 2) for i, n in BITS]),
    (_LEFT, 1 - _LEFT, 0, 0),
  ),
  # Two cone solvers gave these atoms.
  "counts": (
    np.random.default_rng(0).integers(1, 10, (3, 3, 3)),
    (0.0017, 0.0328, 0.0013, 0.0379),
  ),
}


def _random(rng, shape, kind):
  """Returns a random joint of one of four kinds."""
  if kind == "function":
    table = np.zeros(shape)
    answers = rng.integers(0, shape[2], shape[:2])
    for i, j in np.ndindex(*shape[:2]):
      table[i, j, answers[i, j]] = rng.exponential()
  else:
    concentration = {"dense": 1.0, "peaked": 0.1, "sparse": 1.0}[kind]
    table = rng.gamma(concentration, size=shape) + 1e-30
    if kind == "sparse":
      table = table * (rng.random(shape) < 0.4)
      table[0, 0, 0] += 0.1
  return table / table.sum()


def _randoms(shape, per_kind=10, seed=0):
  rng = np.random.default_rng((seed, *shape))
  kinds = ("dense", "peaked", "sparse", "function")
  return np.stack(
    [_random(rng, shape, kind) for kind in kinds for _ in range(per_kind)]
  )


def _informations(joint):
  """Computes I(x1; y), I(x2; y) and I(x1, x2; y) by loops."""
  return [
    oracles.table_information(table)
    for table in (
      joint.sum(1), joint.sum(0), joint.reshape(-1, joint.shape[-1])
    )
  ]  # fmt: skip


@pytest.mark.parametrize(
  "gate",
  [
    pytest.param(name, marks=() if np.shape(joint) == (2, 2, 2) else _TRAINING)
    for name, (joint, _) in GATES.items()
  ],
)
def test_gates(gate):
  joint, bits = GATES[gate]
  actual = np.array(BROJA(joint)[:4]) / np.log(2)
  np.testing.assert_allclose(actual, bits, atol=1e-4)


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(
  ("size", "number"),
  [
    (2, 68),
    *(
      pytest.param(*pair, marks=_TRAINING)
      for pair in ((4, 160), (8, 160), (16, 100), (30, 12))
    ),
  ],
)
def test_the_gap_is_never_less_than_the_error(size, number, x64):
  """Rounding is part of the certificate: 500 joints have known atoms."""
  rng = np.random.default_rng(size)
  joints, expected = zip(
    *(_known(rng, size) for _ in range(number)), strict=True
  )
  with jax.enable_x64(x64):
    *atoms, gaps = map(np.asarray, jax.jit(pid.broja)(np.stack(joints)))
  assert gaps.dtype == (np.float64 if x64 else np.float32)
  errors = np.abs(np.stack(atoms, axis=1).astype(float) - expected).max(axis=1)
  assert np.all(gaps >= 0)
  worst = np.argmax(errors - gaps)
  assert np.all(errors <= gaps), (worst, errors[worst], gaps[worst])
  # Most joints have a solution that is found exactly: rounding remains.
  assert np.median(gaps) < (1e-6 if x64 else 9e-5)


def test_the_gap_of_thirty_values_is_not_negative():
  """Y equals the first source; the second one is noise. 1,800 cells."""
  table = np.zeros((30, 2, 30))
  table[range(30), :, range(30)] = 1 / 60
  decomposition = BROJA(table)
  error = np.abs(np.array(decomposition[:4]) - (0, np.log(30), 0, 0)).max()
  # The error is that of rounding in a few steps, not in 1,800.
  assert error < 2e-6
  assert error <= decomposition.gap < 9e-5


@pytest.mark.training
def test_the_gap_holds_for_joints_without_zeros():
  """The solution has cells near the smallest number of the dtype."""
  joints = np.random.default_rng(0).dirichlet(np.ones(27), 40)
  joints = joints.reshape(40, 3, 3, 3).astype("f")
  decomposition = BROJA(joints)
  with jax.enable_x64():
    exact = jax.jit(
      lambda x: pid.broja(x, num_iterations=3000, tolerance=1e-12)
    )(joints.astype(float))
    exact = jax.tree.map(np.asarray, exact)
  errors = [
    np.abs(a - b) for a, b in zip(decomposition[:4], exact[:4], strict=True)
  ]
  assert np.all(exact.gap < 1e-10)
  assert np.all(np.max(errors, axis=0) <= decomposition.gap + exact.gap)
  assert np.median(decomposition.gap) < 3e-5


@pytest.mark.training
def test_the_gap_of_a_control_holds():
  # Joints whose solution is exact: rounding alone remains.
  rng = np.random.default_rng(0)
  joints, expected = zip(*(_known(rng, 2) for _ in range(40)), strict=True)
  weights = rng.dirichlet(np.ones(8), 5)
  joints = np.stack(joints).reshape(5, 8, 2, 2, 2)
  expected = np.einsum("nl,nla->na", weights, np.reshape(expected, (5, 8, 4)))
  *atoms, gaps = jax.jit(pid.sensory)(joints * weights[..., None, None, None])
  errors = np.abs(np.stack(atoms, axis=1) - expected).max(axis=1)
  assert np.all(errors <= gaps)


@pytest.mark.training
def test_a_control_is_conditioned_on():
  """The value of the control selects the gate."""
  gates = [
    _of(lambda v, a: v), _of(lambda v, a: a), XOR, AND
  ]  # fmt: skip
  sensory = jax.jit(pid.sensory)
  actual = np.array(sensory(np.stack(gates) / 4)[:4]) / np.log(2)
  np.testing.assert_allclose(
    actual, (_AND / 4, 1 / 4, 1 / 4, (1 + 1 / 2) / 4), atol=1e-4
  )
  # The atoms of the gates are averaged by the probability of their value.
  weights = np.array([0.0, 0.5, 0.2, 0.3])
  decomposition = sensory(100 * np.stack(gates) * weights[:, None, None, None])
  atoms_per_gate = np.array(BROJA(np.stack(gates))[:4])
  np.testing.assert_allclose(
    decomposition[:4], atoms_per_gate @ weights, atol=1e-6
  )


@pytest.mark.training
@pytest.mark.parametrize("shape", SHAPES)
def test_another_solver_finds_the_same(shape):
  joints = _randoms(shape)
  decomposition = jax.tree.map(np.asarray, BROJA(joints))
  for n, joint in enumerate(joints):
    one, two, both = _informations(joint)
    least = oracles.broja_information(joint)
    expected = one + two - least, least - two, least - one, both - least
    atoms = np.array([atom[n] for atom in decomposition[:4]])
    np.testing.assert_allclose(atoms, expected, atol=1e-4)
    error = decomposition.unique1[n] - expected[1]
    assert -1e-6 < error < decomposition.gap[n] + 1e-6


@pytest.mark.training
@pytest.mark.parametrize("num_iterations", [0, 1, 7, 30])
def test_the_certificate_holds_however_early_it_ends(num_iterations):
  joints = _randoms((4, 3, 3), per_kind=4)
  decomposition = jax.jit(
    lambda x: pid.broja(x, num_iterations=num_iterations)
  )(joints)
  for n, joint in enumerate(joints):
    least = oracles.broja_information(joint)
    error = decomposition.unique1[n] - (least - _informations(joint)[1])
    assert -1e-6 < error < decomposition.gap[n] + 1e-6
  if not num_iterations:
    # Without iterations the gap is large, so the bound is not trivial.
    assert np.median(decomposition.gap) > 1e-3


@pytest.mark.training
def test_it_ends_at_the_gap_that_is_asked_for():
  joints = _randoms((6, 6, 3))
  rough, fine = (
    np.asarray(jax.jit(lambda x, t=t: pid.broja(x, tolerance=t))(joints).gap)
    for t in (1e-2, 1e-4)
  )
  assert np.all(rough < 1e-2)
  assert np.max(fine) < 1e-3 < np.max(rough)


@pytest.mark.training
@hypothesis.settings(max_examples=25)
@hypothesis.given(st.integers(0, 2**32 - 1))
def test_what_defines_a_decomposition(seed):
  """The equations hold, and outcomes and sources may be permuted."""
  rng = np.random.default_rng(seed)
  kind = rng.choice(["dense", "peaked", "sparse", "function"])
  joint = _random(rng, (4, 3, 3), kind)
  for decompose in DECOMPOSE:
    decomposition = decompose(joint)
    one, two, both = _informations(joint)
    r, u1, u2, s, gap = (float(x) for x in decomposition)
    np.testing.assert_allclose(
      (r + u1, r + u2, r + u1 + u2 + s), (one, two, both), atol=2e-6
    )
    assert min(r, s) > -gap - 2e-6
    swapped = decompose(np.swapaxes(joint, 0, 1))
    np.testing.assert_allclose(
      (swapped.redundant, swapped.unique2), (r, u1), atol=2e-6 + 2 * gap
    )
    order = [rng.permutation(n) for n in joint.shape]
    other = decompose(1000 * joint[np.ix_(*order)])
    np.testing.assert_allclose(
      other[:4], decomposition[:4], atol=2e-6 + 2 * gap
    )


@pytest.mark.training
def test_outcomes_that_never_come_change_nothing():
  joint = _randoms((3, 3, 3), per_kind=1)
  padded = np.pad(joint, ((0, 0), (1, 2), (0, 1), (2, 0)))
  for decompose in DECOMPOSE:
    many, few = decompose(padded), decompose(joint)
    np.testing.assert_allclose(np.stack(many[:4]), np.stack(few[:4]), atol=2e-6)
    # A larger table has longer sums, whose rounding the gap includes.
    assert np.all((few.gap <= many.gap) & (many.gap <= 2 * few.gap))
  assert all(np.all(x == 0) for x in BROJA(np.zeros((2, 3, 2))))


@pytest.mark.training
def test_closed_forms_beside_it():
  for joint in _randoms((4, 3, 3), per_kind=2):
    one, two, _ = _informations(joint)
    decomposition = pid.minimum_information(joint)
    np.testing.assert_allclose(
      decomposition.redundant, min(one, two), atol=1e-6
    )
    decomposition = pid.specific_information(joint)
    np.testing.assert_allclose(
      decomposition.redundant, oracles.specific_redundancy(joint), atol=1e-6
    )
  # Two bits, each told by its own source: I_min calls one of them redundant.
  copy, _ = GATES["y = (x1, x2)"]
  np.testing.assert_allclose(
    pid.specific_information(copy).redundant, np.log(2), rtol=1e-6
  )


@pytest.mark.training
def test_gradients_are_those_of_finite_differences():
  joint = _randoms((3, 4, 3), per_kind=1)[0]
  rng = np.random.default_rng(0)

  def atoms(joint, weights):
    decomposition = pid.broja(joint, num_iterations=2000, tolerance=1e-9)
    return jnp.dot(weights, jnp.stack(decomposition[:4]))

  with jax.enable_x64():
    atoms, slopes = jax.jit(atoms), jax.jit(jax.grad(atoms))
    for weights in np.eye(4):
      slope = slopes(jnp.asarray(joint), weights)
      way = rng.normal(size=joint.shape) * joint
      ends = [atoms(joint + sign * 1e-4 * way, weights) for sign in (1, -1)]
      np.testing.assert_allclose(
        np.sum(slope * way), (ends[0] - ends[1]) / 2e-4, rtol=1e-3, atol=1e-6
      )


@pytest.mark.training
def test_gradients_are_finite_where_nothing_is():
  joint = jnp.asarray(np.pad(AND, ((0, 1), (0, 0), (0, 1))))
  slope = jax.jit(jax.grad(lambda joint: pid.broja(joint).synergistic))(joint)
  assert np.all(np.isfinite(slope))


@pytest.mark.training
def test_pointwise_atoms_add_up():
  joints = _randoms((4, 3, 3), per_kind=2)
  atoms = jax.jit(pid.pointwise)(joints)
  means = [np.sum(joints * atom, axis=(1, 2, 3)) for atom in atoms]
  np.testing.assert_allclose(means, BROJA(joints)[:4], atol=2e-6)
  for n, joint in enumerate(joints):
    product = joint.sum(-1, keepdims=True) * joint.sum((0, 1))
    possible = joint > 0
    sums = sum(atom[n] for atom in atoms)
    np.testing.assert_allclose(
      sums[possible], np.log(joint[possible] / product[possible]), atol=1e-3
    )
    assert np.all(sums[~possible] == 0)
  # Every possible outcome of an exclusive or is synergy.
  np.testing.assert_allclose(
    jax.jit(pid.pointwise)(XOR).synergistic, np.log(2) * (XOR > 0), atol=1e-4
  )


@pytest.mark.training
def test_axes_before_are_problems_of_their_own():
  joints = _randoms((3, 2, 2), per_kind=1).reshape(2, 2, 3, 2, 2)
  together = BROJA(joints)
  mapped = jax.jit(jax.vmap(jax.vmap(pid.broja)))(joints)
  for i, j in np.ndindex(2, 2):
    alone = BROJA(joints[i, j])
    for a, b, c in zip(together, mapped, alone, strict=True):
      np.testing.assert_allclose(a[i, j], c, atol=1e-6)
      np.testing.assert_allclose(b[i, j], c, atol=1e-6)


@pytest.mark.parametrize("decompose", [
  pid.broja, pid.sensory, pid.pointwise, pid.minimum_information,
  pid.specific_information,
])  # fmt: skip
def test_tables_without_their_axes_are_refused(decompose):
  with pytest.raises(ValueError, match=r"shape \(2, 2\): give \[\.\.\., "):
    decompose(np.ones((2, 2)))


def test_the_shares_are_those_of_the_smaller_information():
  potentials = broja.Pair(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
  solutions = [
    broja.Solution(
      x, 0.1, potentials, broja.Pair(jnp.full(1, x), jnp.full(1, x))
    )
    for x in (0.3, 0.5)
  ]
  for pair in (solutions, solutions[::-1]):
    combined = broja._combine(*pair)
    np.testing.assert_allclose(combined.shares.first, 0.3, rtol=1e-6)
    np.testing.assert_allclose(combined.information, 0.3, rtol=1e-6)


def test_shares_of_values_add_up_to_the_least_information():
  joint = np.random.default_rng(5).dirichlet(np.ones(60)).reshape(5, 4, 3)
  # The third value of the first source tells nothing: it has the mean of y.
  joint[2] = joint.sum() / 30 * joint.sum((0, 1)) / joint.sum() / 4
  joint /= joint.sum()
  margins = broja.Margins.from_joint(jnp.moveaxis(jnp.asarray(joint), 2, 0))
  solution = jax.jit(broja.solve, static_argnums=(1, 2))(margins, 400, 1e-6)
  for shares, size in zip(solution.shares, (5, 4), strict=True):
    assert shares.shape == (size,)
    assert np.all(np.asarray(shares) >= -1e-7)
    np.testing.assert_allclose(np.sum(shares), solution.information, rtol=1e-5)
