"""The settings that methods were tuned over, and those they chose."""

from collections.abc import Mapping, Sequence
from typing import Any

from btw_jax.reports import labels
from btw_jax.reports import study as study_lib

AUTO_SCALES = "1,0.5,0.25"


def rows(problem: study_lib.Problem) -> list[dict[str, str]]:
  """Returns a row, heading -> cell, for every setting of every method."""
  return [
    {
      "weighting": method.name,
      "setting": name,
      "candidates": candidates,
      "chosen": chosen,
      "learning rate": f"{learning_rate(method):g}",
    }
    for method in problem.methods.values()
    for name, candidates, chosen in _settings(method)
  ]


def learning_rate(method: study_lib.Method) -> float:
  """Returns the learning rate that a method was trained with."""
  given = method.run.config["learning_rate"]
  return method.choice.get("learning_rate", given)


def scales(config: Mapping[str, Any]) -> list[str]:
  """Returns the embedding scales that the uniform model chose from."""
  return config["embedding_scale"].replace("auto", AUTO_SCALES).split(",")


def is_tuned(method: study_lib.Method) -> bool:
  """Returns whether a method chose its setting from several."""
  if method.weighting == study_lib.BASE:
    return len(_rates(method)) > 1
  return method.row["candidates"] > 1


def _settings(method):
  """Returns the name, the candidates and the choice of each setting."""
  if method.weighting == study_lib.BASE:
    return _uniform_settings(method)
  choice = method.choice
  tried = [method.row["first"], *method.row["differences"]] if (
    "first" in method.row
  ) else []  # fmt: skip
  if choice.get("balance"):
    values = _join([c["value"] for c in tried] or [choice["value"]])
    return [(choice["setting"], values, f"{choice['value']:g}")]
  variants = {c["variant"] for c in tried or [choice]}
  if variants == {choice["variant"]} and method.weighting != study_lib.GATE:
    strengths = _join([c["strength"] for c in tried] or [choice["strength"]])
    return [("λ", strengths, f"{choice['strength']:.3g}")]
  name = "weighting"
  if method.weighting == study_lib.GATE:
    name = "closed modalities"
  number = method.row["candidates"]
  candidates = "; ".join(_by_variant(tried)) or f"{number} settings"
  return [(name, candidates, labels.setting("", choice))]


def _uniform_settings(method):
  """Returns the settings of the uniform model, which all others then use."""
  tried = scales(method.run.config)
  scale = method.run.results["embedding_scale"]
  settings = []
  if len(tried) > 1:
    settings.append(("embedding scale", ", ".join(tried), f"{scale:g}"))
  chosen = f"{learning_rate(method):g}"
  rates = _join(_rates(method))
  return [*settings, ("learning rate", rates or chosen, chosen)]


def _rates(method) -> Sequence[float]:
  """Returns the learning rates that a uniform model chose from."""
  return method.run.results.get("learning_rates", [])


def _by_variant(tried):
  """Yields settings, those that differ in their strength together."""
  strengths = {}
  for choice in tried:
    variant = choice["variant"]
    if variant in (study_lib.BASE, study_lib.GATE):
      yield labels.setting("", choice)
    else:
      strengths.setdefault(variant, []).append(choice["strength"])
  for variant, values in strengths.items():
    yield f"{variant}, λ = {_join(values)}"


def _join(numbers):
  return ", ".join(f"{number:.3g}" for number in numbers)
