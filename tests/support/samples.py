"""Samples whose dependence is known."""

import numpy as np


def correlated(seed, n, rho=0.8):
  """Returns two Gaussian samples `[N]` with correlation ρ."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=n)
  return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
