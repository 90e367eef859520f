"""Slow, readable twins of the estimators, in NumPy loops."""

import numpy as np
from scipy import special


def categorical_kl(p, q):
  """`Σ p log(p/q)` of two probability vectors, 0 log 0 = 0."""
  return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def ksg(x, y, k=3):
  """KSG estimator 1, one example at a time, by sorting all distances."""
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
  """Ross's estimator, one example at a time, by sorting all distances."""
  x = np.reshape(x, (len(x), -1)).astype(np.float64)
  sizes = np.array([np.sum(labels == label) for label in labels])
  x, labels, sizes = x[sizes > 1], labels[sizes > 1], sizes[sizes > 1]
  total = 0.0
  for i in range(len(x)):
    distance = np.abs(x - x[i]).max(axis=1)
    own = (labels == labels[i]) & (np.arange(len(x)) != i)
    nearest = min(k, sizes[i] - 1)
    radius = np.sort(distance[own])[nearest - 1]
    inside = distance < radius if radius > 0 else distance == 0
    total += special.digamma(nearest) - special.digamma(sizes[i])
    total -= special.digamma(np.sum(inside))
  return special.digamma(len(x)) + total / len(x)


def table_information(joint):
  """`Σ P log(P / (P_a P_b))`, cell by cell."""
  total = 0.0
  for a in range(joint.shape[0]):
    for b in range(joint.shape[1]):
      if joint[a, b] > 0:
        product = joint[a].sum() * joint[:, b].sum()
        total += joint[a, b] * np.log(joint[a, b] / product)
  return total


def soft_information(p, q):
  """Information of the averaged outer products of `[N, C]` and `[N, K]`."""
  joint = np.zeros((p.shape[1], q.shape[1]))
  for i in range(len(p)):
    joint += np.outer(p[i], q[i]) / len(p)
  return table_information(joint)


def btw_weights(p, q, present, variant):
  """The BTW rule on class probabilities: `p` `[M, N, C]`, `q` `[N, C]`."""
  floor = 1e-5
  num_modalities, num_examples, _ = p.shape
  weights = np.zeros((num_examples, num_modalities))
  information = [
    max(floor, soft_information(p[m][present[:, m]], q[present[:, m]]))
    for m in range(num_modalities)
  ]
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
