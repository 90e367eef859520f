"""Slow, readable versions of the estimators in NumPy loops."""

import itertools

import clarabel
import numpy as np
from scipy import integrate
from scipy import sparse
from scipy import special
from scipy import stats


def categorical_kl(p, q):
  """Computes `Σ p log(p/q)` of two probability vectors, 0 log 0 = 0."""
  return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def ksg(x, y, k=3):
  """Computes KSG estimator 1 by sorting all distances of each example."""
  x, y = (np.reshape(v, (len(v), -1)).astype(np.float64) for v in (x, y))
  total = 0.0
  for i in range(len(x)):
    others = np.arange(len(x)) != i
    dx = np.abs(x - x[i]).max(axis=1)[others]
    dy = np.abs(y - y[i]).max(axis=1)[others]
    radius = np.sort(np.maximum(dx, dy))[k - 1]
    nx, ny = np.sum(dx < radius), np.sum(dy < radius)
    total += special.digamma(nx + 1) + special.digamma(ny + 1)
  return special.digamma(k) + special.digamma(len(x)) - total / len(x)


def mixed(x, labels, k=3):
  """Computes Ross's estimator by sorting all distances of each example."""
  x = np.reshape(x, (len(x), -1)).astype(np.float64)
  sizes = np.array([np.sum(labels == label) for label in labels])
  x, labels, sizes = x[sizes > 1], labels[sizes > 1], sizes[sizes > 1]
  total = 0.0
  for i in range(len(x)):
    distance = np.abs(x - x[i]).max(axis=1)
    same_label = (labels == labels[i]) & (np.arange(len(x)) != i)
    nearest = min(k, sizes[i] - 1)
    radius = np.sort(distance[same_label])[nearest - 1]
    inside = distance < radius if radius > 0 else distance == 0
    total += special.digamma(nearest) - special.digamma(sizes[i])
    total -= special.digamma(np.sum(inside))
  return special.digamma(len(x)) + total / len(x)


def tied_mixture(x, y, k=3):
  """Computes the estimator of Gao et al. by sorting distances, with ψ(n)."""
  x, y = (np.reshape(v, (len(v), -1)).astype(np.float64) for v in (x, y))
  total = 0.0
  for i in range(len(x)):
    dx = np.abs(x - x[i]).max(axis=1)
    dy = np.abs(y - y[i]).max(axis=1)
    both = np.maximum(dx, dy)
    # The first of the sorted distances is that of the sample to itself.
    radius = np.sort(both)[k]
    if radius == 0:
      counts = [np.sum(distance == 0) for distance in (both, dx, dy)]
    else:
      counts = [k, np.sum(dx < radius), np.sum(dy < radius)]
    numbers = special.digamma(counts)
    total += numbers[0] + np.log(len(x)) - numbers[1] - numbers[2]
  return total / len(x)


def table_information(joint):
  """Computes `Σ P log(P / (P_a P_b))` cell by cell."""
  total = 0.0
  for a in range(joint.shape[0]):
    for b in range(joint.shape[1]):
      if joint[a, b] > 0:
        product = joint[a].sum() * joint[:, b].sum()
        total += joint[a, b] * np.log(joint[a, b] / product)
  return total


def soft_information(p, q):
  """Computes information of mean outer products, `[N, C]` and `[N, K]`."""
  joint = np.zeros((p.shape[1], q.shape[1]))
  for i in range(len(p)):
    joint += np.outer(p[i], q[i]) / len(p)
  return table_information(joint)


def btw_weights(p, q, present, variant):
  """Applies the BTW rule to probabilities `p` `[M, N, C]`, `q` `[N, C]`."""
  floor = 1e-5
  num_modalities, num_examples, _ = p.shape
  weights = np.zeros((num_examples, num_modalities))
  information = _floored_information(p, q, present)
  for i in range(num_examples):
    for m in range(num_modalities):
      if present[i, m]:
        weights[i, m] = 1.0
        if "kl" in variant:
          weights[i, m] *= max(floor, categorical_kl(p[m, i], q[i]))
        if "mi" in variant:
          weights[i, m] *= information[m]
    if weights[i].sum() > 0:
      weights[i] /= weights[i].sum()
  return weights


def _floored_information(p, q, present):
  """Computes I_m from the examples that have modality m, at least 1e-5."""
  return [
    max(1e-5, soft_information(p[m][present[:, m]], q[present[:, m]]))
    for m in range(len(p))
  ]


def minmax_factors(p, q, present, variant):
  """Computes k_im·g_m from probabilities, k_im by the range of modality m."""
  num_modalities, num_examples, _ = p.shape
  information = _floored_information(p, q, present)
  factors = np.zeros((num_examples, num_modalities))
  for m in range(num_modalities):
    g = 1 / num_modalities
    if "mi" in variant:
      g = information[m] / sum(information)
    rows = [i for i in range(num_examples) if present[i, m]]
    divergences = [max(1e-5, categorical_kl(p[m, i], q[i])) for i in rows]
    low, high = min(divergences), max(divergences)
    for i, divergence in zip(rows, divergences, strict=True):
      if high > low:
        factors[i, m] = (divergence - low) / (high - low) * g
  return factors


def score(kind, x, vector):
  """Computes the score of an expert for one token."""
  if kind == "softmax":
    return sum(a * b for a, b in zip(x, vector, strict=True))
  square = sum((a - b) ** 2 for a, b in zip(x, vector, strict=True))
  return -square if kind == "gaussian" else -np.sqrt(square)


def gates(scores, k):
  """Returns the best experts in order and the softmax of their scores."""
  order = sorted(range(len(scores)), key=lambda e: -scores[e])[:k]
  powers = [np.exp(scores[e] - scores[order[0]]) for e in order]
  return order, [p / sum(powers) for p in powers]


def smooth_load(scores, noisy, std, k):
  """Computes for each expert the probability of being chosen again."""
  chances = []
  for e in range(len(scores)):
    others = sorted(noisy[i] for i in range(len(scores)) if i != e)[::-1]
    threshold = others[k - 1] if k <= len(others) else -np.inf
    chances.append(special.ndtr((scores[e] - threshold) / std[e]))
  return chances


def perceptron(x, hidden_kernel, hidden_bias, output_kernel, output_bias):
  """Applies one expert to one token."""
  hidden = np.maximum(x @ hidden_kernel + hidden_bias, 0)
  return hidden @ output_kernel + output_bias


def mixture(weights, x, experts, gates):
  """Mixes experts token by token; the expert number E means none."""
  out = np.zeros((len(x), weights[3].shape[-1]))
  for n in range(len(x)):
    for e, gate in zip(experts[n], gates[n], strict=True):
      if e < len(weights[0]):
        out[n] += gate * perceptron(x[n], *(w[e] for w in weights))
  return out


def route(kind, gating, tokens, where, modalities, centres, k):
  """Routes tokens `[B, N, D]`; returns `None` for an absent token."""
  num_modalities, num_experts = max(modalities) + 1, centres.shape[1]
  choices = {}
  for b in range(len(tokens)):
    means = []
    for m in range(num_modalities):
      present_tokens = [
        tokens[b, n]
        for n in range(len(modalities))
        if modalities[n] == m and where[b, n]
      ]
      means.append(
        np.mean(present_tokens, axis=0)
        if present_tokens
        else np.zeros(tokens.shape[2])
      )
    for n, m in enumerate(modalities):
      if not where[b, n]:
        choices[b, n] = None
        continue
      x = np.concatenate(means) if kind == "joint" else tokens[b, n]
      vectors = centres[0] if kind == "joint" else centres[m]
      scores = [score(gating, x, vector) for vector in vectors]
      if kind == "disjoint":
        for e in range(num_experts):
          if e % num_modalities != m:
            scores[e] = -np.inf
      choices[b, n] = gates(scores, k)
  return choices


def variation(values):
  """Computes the squared coefficient of variation."""
  return np.var(values) / np.mean(values) ** 2


def multi_time_attention(scores, values, where):
  """Attends with scores `[h, L, T]` to the valid values `[T, D]`."""
  num_heads, num_points, num_steps = scores.shape
  out = np.zeros((num_points, num_heads, values.shape[1]))
  for h in range(num_heads):
    for point in range(num_points):
      for d in range(values.shape[1]):
        valid_steps = [t for t in range(num_steps) if where[t, d]]
        total = sum(np.exp(scores[h, point, t]) for t in valid_steps)
        for t in valid_steps:
          share = np.exp(scores[h, point, t]) / total
          out[point, h, d] += share * values[t, d]
  return out


def specific_redundancy(joint):
  """Computes I_min of Williams & Beer outcome by outcome."""
  total = 0.0
  for y in range(joint.shape[2]):
    p_y = joint[..., y].sum()
    tells = []
    for axis in (1, 0):
      pair = joint.sum(axis=axis)
      tells.append(
        sum(p[y] / p_y * np.log(p[y] / p.sum() / p_y) for p in pair if p[y] > 0)
      )
    total += p_y * min(tells)
  return total


def broja_information(joint):
  """Solves `min I_Q(Y; X1 X2)` as an exponential cone programme.

  Minimise Σ t over Q with both pairs of P, where `t >= q log(q / r)` for each
  cell q and the sum r of Q over y, that is (-t, q, r) in the cone.
  """
  pairs = joint.sum(1), joint.sum(0)
  cells = [
    (i, j, k)
    for i, j, k in np.ndindex(*joint.shape)
    if pairs[0][i, k] > 0 and pairs[1][j, k] > 0
  ]
  n = len(cells)
  entries, constants = [], []
  for axis, pair in enumerate(pairs):
    for x, k in np.argwhere(pair > 0):
      entries += [
        (len(constants), m, 1.0)
        for m, cell in enumerate(cells)
        if cell[axis] == x and cell[2] == k
      ]
      constants.append(pair[x, k])
  num_equal = len(constants)
  for m, (i, j, _) in enumerate(cells):
    row = len(constants)
    entries += [(row, n + m, 1.0), (row + 1, m, -1.0)]
    entries += [
      (row + 2, other, -1.0)
      for other, cell in enumerate(cells)
      if cell[:2] == (i, j)
    ]
    constants += [0.0] * 3
  rows, columns, values = zip(*entries, strict=True)
  settings = clarabel.DefaultSettings()
  settings.verbose = False
  solution = clarabel.DefaultSolver(
    sparse.csc_matrix((2 * n, 2 * n)),
    np.repeat([0.0, 1.0], n),
    sparse.csc_matrix((values, (rows, columns))),
    np.array(constants),
    [clarabel.ZeroConeT(num_equal)] + [clarabel.ExponentialConeT()] * n,
    settings,
  ).solve()
  assert str(solution.status) == "Solved", solution.status
  return solution.obj_val + stats.entropy(joint.sum((0, 1)))


# Edges of the pieces, in scales from the centre of a density.
_EDGES = (-36, -12, -6, -3, -1, -0.3, 0, 0.3, 1, 3, 6, 12, 36)


def integrate_density(integrand, parameters):
  """Integrates over the real line, split at the peaks of both densities."""
  centres = parameters[::2], parameters[1::2]
  edges = sorted(
    {m + s * z for m, s in zip(*centres, strict=True) for z in _EDGES}
  )
  return sum(
    integrate.quad(integrand, a, b, epsabs=1e-10, limit=100)[0]
    for a, b in itertools.pairwise(edges)
  )


def pass_atoms(both, first, second, p_y, num_steps=2000):
  """Computes the atoms of a batch of passes, as the public PID code defines.

  The passes are `[n, C]` probabilities. Information is measured against the
  given P(Y) `[C]`, and I* is summed over the examples of the first source. That
  code learns the coupling Q(x1, x2, y); here it is found by mirror descent
  without momentum, with margins scaled in plain loops.
  """
  n = len(both)
  log_p_y = np.log(p_y)

  def information(probs):
    return np.mean(np.sum(special.xlogy(probs, probs) - probs * log_p_y, 1))

  # R(x1, x2), and Q(x1, x2, y) with margins p1(y | x1) / n and p2(y | x2) / n.
  r = np.full((n, n), 1 / n**2)
  for _ in range(num_steps):
    coupling = np.repeat(r[:, :, None], len(p_y), axis=2)
    for _ in range(20):
      # A missing option has no mass, and 0 / 0 counts as 0.
      coupling *= (first / n / _or_one(coupling.sum(axis=1)))[:, None, :]
      coupling *= (second / n / _or_one(coupling.sum(axis=0)))[None]
    r = coupling.sum(axis=2)
  least = np.sum(
    special.xlogy(coupling, coupling / _or_one(r)[:, :, None])
    - coupling * log_p_y
  )
  both, first, second = (information(x) for x in (both, first, second))
  return first + second - least, least - second, least - first, both - least


def _or_one(x):
  """Replaces zeros by ones."""
  return np.where(x > 0, x, 1.0)


def project(probs, p_y, num_steps=20000):
  """Scales columns `[n, C]` to the mean P(Y) and rows to 1, in turns."""
  for _ in range(num_steps):
    probs = probs * (p_y / probs.mean(axis=0))
    probs = probs / probs.sum(axis=1, keepdims=True)
  return probs
