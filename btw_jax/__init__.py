"""Weights modalities by how their models relate to the multimodal model.

Train on arrays in memory, and predict new examples:

  import btw_jax
  result = btw_jax.fit({"text": text, "audio": audio}, labels, weighting="auto")
  result.predict({"text": new_text, "audio": new_audio})

Or import modules, not names, to weight the modalities of other models:

  from btw_jax import predictions, weighting
  weights = weighting.weigh(unimodal, multimodal, variant="kl+mi")
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Public name -> its module, which is imported on first use: importing JAX and
# the libraries that training needs takes seconds.
_MODULES = {
  "fit": "api",
  "load": "result",
  "Result": "result",
  "Modalities": "modalities",
  "Classifier": "estimators",
  "Regressor": "estimators",
  "audit": "audit.api",
  "Audit": "audit.api",
}

__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
  """Imports a public name on first use."""
  if name not in _MODULES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(f"btw_jax.pipeline.{_MODULES[name]}")
  value = globals()[name] = getattr(module, name)
  return value


def __dir__() -> list[str]:
  """Lists the public names."""
  return sorted(__all__)
