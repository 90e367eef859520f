"""Plain competitors of a multimodal model, which need no further training."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from btw_jax import predictions
from btw_jax import types
from btw_jax.pipeline import restore


def predict(
  models: restore.Models,
  split: types.Split,
  modalities: Sequence[str],
  predict_models: Callable[[Any], tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
  """Predicts a split with all baselines.

  `split` has the outputs of the unimodal models; `predict_models` returns the
  outputs and weights of multimodal models for it.

  Returns name -> outputs `[S, N, K]`, or predictions `[S, N]`: the ensemble of
  the unimodal models; the model of the best modality that each example has, by
  validation score; and the uniform model with idle modalities left out. A run
  of an earlier version has the first only, and one with a single modality none.
  """
  if len(modalities) == 1:
    return {}
  task, choices = models.trainers.task, models.choices
  present = jnp.asarray(split.batch.present)
  if present.ndim == 2:
    present = jnp.broadcast_to(present, (len(split.unimodal), *present.shape))
  pool = jax.jit(jax.vmap(lambda x, p: predictions.pool(task.predict(x), p)))
  outputs = {"ensemble": pool(split.unimodal, present)}
  if choices is None:
    return outputs
  order = np.array([modalities.index(m) for m in choices.modalities])
  best = order[np.argmax(np.asarray(present)[..., order], axis=-1)]
  outputs[f"best modality ({choices.modalities[0]})"] = np.take_along_axis(
    np.asarray(split.unimodal), best[:, None, :, None], axis=1
  )[:, 0]
  some_idle = 0 < len(choices.idle) < len(modalities)
  if some_idle and "uniform" in models.multimodal:
    model = models.multimodal["uniform"]
    is_open = jnp.asarray(choices.is_open(modalities))
    run_params = model.run_params._replace(is_open=is_open)
    name = "uniform without idle modalities"
    outputs[name], _ = predict_models(model._replace(run_params=run_params))
  return outputs
