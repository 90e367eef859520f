"""Labels tell the setting of a method where its name does not."""

from btw_jax.reports import labels
from btw_jax.reports import results
from support import studies

_NOTHING = (0.0, 0.0)


def _labels(problem):
  return [results.label(method) for method in problem.methods.values()]


def test_labels_tell_the_setting():
  names = ("kl+mi", "gate", "auto", "ogm", "kl+mi-ogm", "unimodal_losses")
  problem = studies.problem(dict.fromkeys(names, _NOTHING), tune=4)
  assert _labels(problem) == [
    "uniform", "kl+mi (λ = 0.25)", "gate (without b)", "auto (mi, λ = 1)",
    "ogm (α = 1.2)", "kl+mi-ogm (α = 1.2)", "unimodal_losses (weight = 4)",
  ]  # fmt: skip
  # One candidate of a weighting is told if it is not the usual one.
  problem = studies.problem(dict.fromkeys(("kl+mi", "ogm"), _NOTHING))
  assert _labels(problem) == ["uniform", "kl+mi", "ogm (α = 0.3)"]
  row = problem.methods["kl+mi"].row
  row["choice"]["strength"] = 0.5
  assert labels.label("kl+mi", "kl+mi", row) == "kl+mi (λ = 0.5)"
  assert labels.label("kl+mi@0.5", "kl+mi@0.5", row) == "kl+mi@0.5"
  name = "kl+mi (min-max)"
  assert labels.label(name, "kl+mi", row) == "kl+mi (min-max, λ = 0.5)"
  row = problem.methods["ogm"].row
  assert labels.label("ogm@0.3", "ogm@0.3", row) == "ogm@0.3"
