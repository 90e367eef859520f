"""Weights modalities by what each one tells about the multimodal prediction.

Import modules, not names:

  from btw_jax import predictions, weighting
  weights = weighting.weigh(unimodal, multimodal, variant="kl+mi")
"""

__version__ = "0.1.0"
