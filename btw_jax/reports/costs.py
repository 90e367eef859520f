"""The cost of methods in training and prediction."""

from collections.abc import Iterator

from btw_jax.reports import study as study_lib
from btw_jax.reports import tables

LEGEND = (
  "Cost is the time of an epoch (on a CPU: of its processors), for one of the"
  " settings that are trained together, divided by that of the uniform model."
)
# Variants whose weights are equal for all examples with the same modalities.
_ALIKE = ("mi", "cc", "pid")
# Stages that train the uniform model alone.
_UNIFORM_STAGES = ("rate", "scale")


def relative(
  problem: study_lib.Problem, method: study_lib.Method
) -> float | None:
  """Returns the time of an epoch relative to that of the base.

  It is None if one of both is not known: that of the base is known if a stage
  of its run has trained nothing but the uniform model.
  """
  seconds, base = _seconds(method), _seconds(problem.base)
  return seconds / base if seconds and base else None


def _seconds(method):
  """Returns the time of an epoch of a method's setting; None if not known."""
  seconds = method.run.results.get("epoch_seconds", {})
  choice = method.choice
  if choice["variant"] != study_lib.BASE or method.balance:
    return seconds.get(study_lib.stage(choice))
  stages = [stage for stage in _UNIFORM_STAGES if stage in seconds]
  if not stages and _trains_uniform_alone(method.run):
    stages = [study_lib.stage(choice)]
  return seconds.get(stages[0]) if stages else None


def _trains_uniform_alone(run):
  """Returns True if the stage of the weightings holds the uniform model."""
  return all(
    row["name"] in (study_lib.BASE, study_lib.GATE)
    for row in run.results["rows"]
    if row["kind"] == "weighting" and not row["choice"].get("balance")
  )


def cell(problem: study_lib.Problem, method: study_lib.Method) -> str:
  """Formats the relative cost; empty if it is not known."""
  if "choice" not in method.row:
    return ""
  cost = relative(problem, method)
  return "" if cost is None else f"{cost:.1f}"


def has_own_network(method: study_lib.Method) -> bool:
  """Returns True if a method replaces the multimodal network."""
  return method.entry.get("has_network", False)


def sentences(problem: study_lib.Problem, name: str) -> Iterator[str]:
  """Yields what a method needs in addition to the uniform model."""
  method = problem.methods[name]
  if method is problem.base:
    return
  yield f"Training cost: {', '.join(_training(problem, method)) or 'none'}."
  yield f"Prediction cost: {_prediction(method)}."


def _training(problem, method):
  """Yields what training needs."""
  candidates, mitigation = (
    method.row["candidates"],
    method.run.config["mitigation"],
  )
  if candidates > 1:
    yield f"{candidates} runs to choose from"
  if mitigation:
    yield f"mitigation ({' and '.join(mitigation)})"
  if method.entry.get("needs"):
    yield method.entry["needs"]
  number = len(method.run.results["modalities"])
  models = tables.quantity(number, "unimodal model")
  is_weighted = method.choice["variant"] != study_lib.BASE
  # Among several weightings some have weights, whatever the choice was.
  if is_weighted or (candidates > 1 and not method.balance):
    yield models
  elif method.entry.get("has_teacher"):
    yield f"{models}, which prediction does not need"
  cost = relative(problem, method)
  if method.balance and cost is not None:
    yield f"{cost:.1f} times the time of an epoch"


def _prediction(method):
  """Returns what prediction needs."""
  variant = method.choice["variant"]
  if has_own_network(method):
    return (
      "that of its own network, which is smaller than the multimodal network"
    )
  if variant == study_lib.BASE:
    return "none, because the weights are uniform"
  if variant == study_lib.GATE:
    return "none, and the closed modalities need not be computed"
  if variant in _ALIKE:
    return (
      "none, because the weights of an example depend only on the modalities"
      " that it has"
    )
  sizes = method.run.results["num_parameters"]
  times = 1 + sizes["unimodal"] / sizes["multimodal"]
  passes = tables.quantity(1 + method.run.config["num_refinements"], "pass")
  return (
    f"the unimodal models ({times:.1f} times the parameters in total) and"
    f" {passes} through the multimodal model instead of 1"
  )
