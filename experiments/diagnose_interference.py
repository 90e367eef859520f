"""Shows how far every modality sways the models of finished runs.

  python -m experiments.diagnose_interference --workdir=runs/digits
  python -m experiments.diagnose_interference --workdir=runs/plain,runs/robust

Puts something else in place of one modality, leaves the rest, and compares the
answers before and after; then in place of all but one. Prints tables, and
leaves interference.json, interference.md and a heat map in the first workdir.
"""

import dataclasses
import pathlib

from absl import flags

from btw_jax import interventions
from btw_jax import predictions
from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import files
from btw_jax.pipeline import finished_run
from btw_jax.pipeline import interference
from btw_jax.reports import interference as picture_lib
from btw_jax.reports import tables as tables_lib
from experiments import app

_WORKDIR = flags.DEFINE_list(
  "workdir", ["runs/run"], "folders of runs; the first is compared with"
)
_SPLIT = flags.DEFINE_enum(
  "split", "test", dataset_lib.SPLITS, "split whose examples to use"
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", "", "folder of other files of the same format (npz, csv)"
)
_INSTEAD = flags.DEFINE_list(
  "instead", list(interventions.KINDS),
  "what takes a modality's place: "
  + "; ".join(f"{name}: {text}" for name, text in interventions.KINDS.items()),
)  # fmt: skip
config_lib.check_each("instead", list(interventions.KINDS), optional=False)
_MODALITIES = flags.DEFINE_list(
  "modalities", [], "those to intervene on, one at a time; all if empty"
)
_DIVERGENCE = flags.DEFINE_enum(
  "divergence", "kl", list(predictions.DIVERGENCES),
  "of the prediction before, p, from that after, q; kl is KL(p || q)",
)  # fmt: skip
_NUM_RESAMPLES = flags.DEFINE_integer(
  "num_resamples", 1000, "resamples of the bootstrap", 10
)
_SEED = flags.DEFINE_integer("seed", 0, "of all that is drawn", 0)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file to write; interference.json in the first workdir if empty",
)

# table -> what is said above it
_TITLES = {
  "summary": "Clean, and after each intervention (mean over modalities)",
  "competence": "On one modality alone, the others intervened on",
  "effects": "Each modality, [95% bootstrap interval over examples]",
}


def main() -> None:
  """Intervenes, prints, writes and draws."""
  subjects = [
    finished_run.load(workdir, _SPLIT.value, _DATA_DIR.value)
    for workdir in _WORKDIR.value
  ]
  models = interference.models(subjects)
  names = subjects[0].written.shape.modalities
  options = interference.Options(
    config_lib.some_of("modalities", _MODALITIES.value, names),
    tuple(dict.fromkeys(_INSTEAD.value)),
    _DIVERGENCE.value,
    _NUM_RESAMPLES.value,
    _SEED.value,
  )
  found = interference.measure(models, options)
  config = subjects[0].written.config
  note = (
    f"{config.dataset}, {_SPLIT.value} examples: mean ± standard deviation over"
    f" {config.num_seeds} seeds (paired difference to the first row ± its"
    " standard error)"
  )
  tables = interference.tables(found, subjects[0].trainers.task.unit)
  output = pathlib.Path(
    _OUTPUT.value or pathlib.Path(_WORKDIR.value[0], "interference.json")
  )
  files.write_json(
    output,
    {
      "note": note,
      "tables": tables,
      "options": dataclasses.asdict(options),
      **found,
    },
  )
  text = {
    name: f"{title}\n\n{tables_lib.markdown(tables[name])}"
    for name, title in _TITLES.items()
    if tables[name]
  }
  written = output.with_suffix(".md")
  files.write_text(written, "\n\n".join([note, *text.values()]) + "\n")
  picture = output.with_suffix(".png")
  picture_lib.picture(found["effects"], picture)
  print(note, text["summary"], sep="\n\n")
  print("", output, written, picture, sep="\n")


if __name__ == "__main__":
  what = ["workdir", "split", "data_dir", "output"]
  how = ["modalities", "instead", "divergence", "num_resamples", "seed"]
  app.run(main, {"Run": what, "Interference": how})
