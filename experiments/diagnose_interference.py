"""Measures how much each modality changes the decisions of finished runs.

  python -m experiments.diagnose_interference --workdir=runs/digits
  python -m experiments.diagnose_interference --workdir=runs/plain,runs/robust

Intervenes on one modality, keeps the others, and compares the predictions
before and after; then intervenes on all modalities but one. Prints tables, and
leaves interference.json, interference.md and a heat map in the first workdir.
"""

import dataclasses
import pathlib

from absl import flags

from btw_jax import errors
from btw_jax.pipeline import config_sections as sections

from . import app
from . import flags as flags_lib

_WORKDIR = flags.DEFINE_list(
  "workdir",
  ["runs/run"],
  "folders of runs; the others are compared with the first",
)
_SPLIT, _DATA_DIR = flags_lib.define_split("split whose examples to use")
_INSTEAD = flags.DEFINE_list(
  "instead",
  list(sections.INTERVENTIONS),
  "what replaces a modality. noise: normal noise with the training mean and"
  " deviation; zero: zeros in the data's own unit; mean: the training mean;"
  " shuffle: the value of another example; mismatch: the value of an example of"
  " another class; missing: nothing, it is absent",
)
_MODALITIES = flags.DEFINE_list(
  "modalities", [], "modalities to intervene on, one at a time; all if empty"
)
_DIVERGENCE = flags.DEFINE_enum(
  "divergence",
  "kl",
  sections.DIVERGENCES,
  "divergence of the prediction before, p, from the one after, q; kl is"
  " KL(p || q)",
)
_NUM_RESAMPLES = flags.DEFINE_integer(
  "num_resamples", 1000, "number of resamples of the bootstrap", 10
)
_SEED = flags.DEFINE_integer("seed", 0, "seed of all random numbers", 0)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file to write; interference.json in the first workdir if empty",
)
flags_lib.check_each("instead", sections.INTERVENTIONS, optional=False)

# table -> its title
_TITLES = {
  "summary": "Without and with each intervention (mean over modalities)",
  "competence": "On one modality alone, with the others intervened on",
  "effects": "Each modality, [95% bootstrap interval over examples]",
}


def main() -> None:
  """Intervenes, prints, writes and draws."""
  from btw_jax.pipeline import files
  from btw_jax.pipeline import finished_run
  from btw_jax.pipeline import interference
  from btw_jax.pipeline import interference_tables
  from btw_jax.pipeline import progress
  from btw_jax.reports import interference as picture_lib

  runs = [
    finished_run.load(workdir, _SPLIT.value, _DATA_DIR.value)
    for workdir in _WORKDIR.value
  ]
  first = runs[0]
  models = interference.list_models(runs)
  options = interference.Options(
    errors.check_names("modalities", _MODALITIES.value, first.modalities),
    tuple(dict.fromkeys(_INSTEAD.value)),
    _DIVERGENCE.value,
    _NUM_RESAMPLES.value,
    _SEED.value,
  )
  with progress.doing("intervening on modalities"):
    rows = interference.measure(models, options)
  note = (
    f"{first.saved.config.data.dataset}, {_SPLIT.value} examples: mean ±"
    f" standard deviation over {len(first.seeds)} seeds (paired difference to"
    " the first row ± its standard error)"
  )
  tables = interference_tables.tables(rows, first.task.unit)
  output = pathlib.Path(
    _OUTPUT.value or pathlib.Path(_WORKDIR.value[0], "interference.json")
  )
  about = {
    "note": note, "tables": tables, "options": dataclasses.asdict(options)
  }  # fmt: skip
  files.write_json(output, about | rows)
  lines = interference_tables.misleading(rows["effects"], first.task.unit)
  texts = _texts(tables, models[0].name, lines)
  markdown = output.with_suffix(".md")
  files.write_text(markdown, "\n\n".join([note, *texts.values()]) + "\n")
  picture = output.with_suffix(".png")
  regression = first.task.unit == "mae"
  picture_lib.picture(rows["effects"], picture, regression=regression)
  shown = [texts[name] for name in ("summary", "misleading") if name in texts]
  print(note, *shown, sep="\n\n")
  print("", output, markdown, picture, sep="\n")


def _texts(tables, first_model, lines):
  """Returns name -> a table or a list in Markdown, those that are not empty."""
  from btw_jax.reports import tables as tables_lib

  texts = {
    name: f"{title}\n\n{tables_lib.markdown(tables[name])}"
    for name, title in _TITLES.items()
    if tables[name]
  }
  if lines:
    bullets = "\n".join(f"- {line}" for line in lines)
    texts["misleading"] = (
      f"Modalities that mislead {first_model}, the worst first\n\n{bullets}"
    )
  return texts


def start() -> None:
  """Defines flags, and runs the program."""
  run_flags = ["workdir", "split", "data_dir", "output"]
  options = ["modalities", "instead", "divergence", "num_resamples", "seed"]
  app.run(main, {"Run": run_flags, "Interference": options})


if __name__ == "__main__":
  start()
