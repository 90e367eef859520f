"""Explains how a finished run decides: what each modality contributes.

  python -m experiments.explain --workdir=runs/digits --id=17
  python -m experiments.explain --workdir=runs/digits --picture=bars.png

With an id, it explains one example. For each modality it shows the prediction
of the modality's own model, its divergence from the multimodal prediction, the
weight of the modality, the multimodal prediction without the modality and from
it alone, and its contribution to the log-likelihood of the target. Without an
id, it shows the contributions over all examples of the split. Contributions
are Shapley values: they add up to what all modalities tell together.
"""

from absl import flags

from btw_jax import errors
from btw_jax.pipeline import config_sections as sections

from . import app
from . import flags as flags_lib

_WORKDIR = flags.DEFINE_string("workdir", "runs/run", "folder of the run")
_ID = flags.DEFINE_string(
  "id", "", "id of the example to explain; the full split if empty"
)
_SPLIT, _DATA_DIR = flags_lib.define_split("split that holds the examples")
_WEIGHTINGS = flags.DEFINE_list(
  "weighting", [], "weightings of the run to explain; all if empty"
)
_SEED = flags.DEFINE_integer(
  "seed", None, "seed whose models to use; the first with the example if unset"
)
_REMOVAL = flags.DEFINE_enum(
  "removal",
  "absent",
  sections.REMOVALS,
  "how a modality of a split is taken away: marked as missing, or taken from"
  " other examples",
)
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", 1000, "largest number of examples of a split to use", 2
)
_PICTURE = flags.DEFINE_string(
  "picture", "", "PNG file to draw the contributions of a split into, if any"
)
_OUTPUT = flags.DEFINE_string("output", "", "JSON file to write, if any")


def main() -> None:
  """Explains, prints and writes."""
  # `--help` must not wait for JAX.
  from btw_jax.data import labels
  from btw_jax.pipeline import contribution
  from btw_jax.pipeline import explain
  from btw_jax.pipeline import files
  from btw_jax.pipeline import finished_run
  from btw_jax.pipeline import progress
  from btw_jax.reports import contributions

  _check_flags()
  run = finished_run.load(_WORKDIR.value, _SPLIT.value, _DATA_DIR.value)
  weightings = errors.check_names(
    "weighting", _WEIGHTINGS.value, run.weightings, "weighting"
  )
  if _ID.value:
    explanation = explain.explain(
      run, _ID.value, _SPLIT.value, _SEED.value, weightings
    )
    classes = labels.names(run.saved.shape.classes)
    print(explain.table(explanation, run.task.name, classes))
  else:
    options = contribution.Options(
      removal=_REMOVAL.value, num_examples=_NUM_EXAMPLES.value
    )
    with progress.doing("measuring contributions"):
      explanation = contribution.measure(run, weightings, options)
    print(contribution.table(explanation))
    if _PICTURE.value:
      contributions.picture(explanation["rows"], _PICTURE.value)
  if _OUTPUT.value:
    files.write_json(_OUTPUT.value, explanation)
  written = [path for path in (_PICTURE.value, _OUTPUT.value) if path]
  if written:
    print("", *written, sep="\n")


def _check_flags():
  """Refuses flags that the other kind of explanation takes."""
  for_all = ("removal", "num_examples", "picture")
  wrong = [f for f in for_all if flags.FLAGS[f].present] if _ID.value else []
  if wrong:
    raise errors.InputError(f"--{wrong[0]}: not with --id: leave one out.")
  if _SEED.value is not None and not _ID.value:
    raise errors.InputError("--seed: only with --id: give an id.")


def start() -> None:
  """Defines flags, and runs the program."""
  app.run(
    main,
    {
      "Examples": ["workdir", "split", "data_dir", "weighting"],
      "One example": ["id", "seed"],
      "All examples": ["removal", "num_examples", "picture"],
      "Output": ["output"],
    },
  )


if __name__ == "__main__":
  start()
