"""Weights modalities by how their models relate to the multimodal model.

Import modules, not names:

  from btw_jax import predictions, weighting
  weights = weighting.weigh(unimodal, multimodal, variant="kl+mi")
"""

__version__ = "0.1.0"
