"""Explains how a finished run decided one example.

  python -m experiments.explain --workdir=runs/digits --id=17

For each modality it shows the prediction of the modality's own model, its
divergence from the multimodal prediction, the weight of the modality, and the
multimodal prediction without the modality and from it alone.
"""

from absl import flags

from btw_jax import errors
from experiments import app
from experiments import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_ID = flags.DEFINE_string("id", None, "id of the example", required=True)
_SPLIT, _DATA_DIR = flags_lib.define_split("split that holds the example")
_WEIGHTINGS = flags.DEFINE_list(
  "weighting", [], "weightings of the run to explain; all if empty"
)
_SEED = flags.DEFINE_integer(
  "seed", None, "seed whose models to use; the first with the example if unset"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")


def main() -> None:
  """Explains, prints and writes."""
  from btw_jax.pipeline import explain
  from btw_jax.pipeline import files
  from btw_jax.pipeline import finished_run

  run = finished_run.load(_WORKDIR.value, _SPLIT.value, _DATA_DIR.value)
  weightings = errors.check_names(
    "weighting", _WEIGHTINGS.value, run.weightings, "weighting"
  )
  explanation = explain.explain(
    run, _ID.value, _SPLIT.value, _SEED.value, weightings
  )
  print(explain.table(explanation, run.task.name))
  if _OUTPUT.value:
    files.write_json(_OUTPUT.value, explanation)


if __name__ == "__main__":
  names = ["workdir", "id", "split", "data_dir", "weighting", "seed", "output"]
  app.run(main, {"Example": names})
