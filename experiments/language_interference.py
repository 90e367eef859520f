"""Measures the decisions of language models that irrelevant modalities change.

  python -m experiments.language_interference --workdir=runs/questions
  python -m experiments.language_interference --workdir=runs/plain,runs/robust

Puts misleading statements and unrelated facts into the text of questions about
an image or a sound, and replaces the image or the sound of questions that do
not need it. Prints a table, and leaves language_interference.json and a picture
in the last workdir.
"""

import pathlib

from absl import flags

from . import app

_WORKDIR = flags.DEFINE_list(
  "workdir",
  ["runs/questions"],
  "folders of runs of the language model, the plain one first",
)
_NAMES = flags.DEFINE_list(
  "names", [], "names of the runs in the table; the folders' names if empty"
)
_NUM_QUESTIONS = flags.DEFINE_integer(
  "num_questions", 2400, "number of test questions", 100
)
_QUESTIONS = flags.DEFINE_string(
  "questions",
  "",
  "JSON file of multiple-choice questions to use instead of the test questions",
)
_SEED = flags.DEFINE_integer("seed", 0, "seed of all random numbers", 0)
_OUTPUT = flags.DEFINE_string(
  "output",
  "",
  "JSON file to write; language_interference.json in the last workdir if empty",
)


def main() -> None:
  """Perturbs, prints, writes and draws."""
  from btw_jax import errors
  from btw_jax.data.sources import questions as questions_lib
  from btw_jax.pipeline import files
  from btw_jax.pipeline import progress
  from btw_jax.pipeline.language import interference
  from btw_jax.pipeline.language import run
  from btw_jax.reports import language_plots
  from btw_jax.reports import tables as tables_lib

  names = _NAMES.value or [pathlib.Path(w).name for w in _WORKDIR.value]
  if len(names) != len(_WORKDIR.value) or len(set(names)) < len(names):
    raise errors.InputError(
      f"--names={','.join(names)}: give one name for each of the"
      f" {len(_WORKDIR.value)} folders in --workdir, all different."
    )
  runs = {
    name: run.load(workdir)
    for name, workdir in zip(names, _WORKDIR.value, strict=True)
  }
  first = next(iter(runs.values()))
  with_facts = None
  if _QUESTIONS.value:
    world = first.setup.world
    questions = questions_lib.read(_QUESTIONS.value, world)
    with_facts = questions_lib.read(_QUESTIONS.value, world, facts=True)
  else:
    questions = first.setup.questions("test", _NUM_QUESTIONS.value)
  with progress.doing("perturbing questions"):
    effects = {
      name: interference.measure(
        one, questions, with_facts=with_facts, seed=_SEED.value
      )
      for name, one in runs.items()
    }
    clean = {
      name: interference.clean(one, questions) for name, one in runs.items()
    }
  if not all(effects.values()):
    raise errors.InputError(
      f"--questions={_QUESTIONS.value}: has nothing to perturb: give questions"
      " with an image."
    )
  number = tables_lib.quantity(len(questions.tasks), "question")
  seeds = tables_lib.quantity(len(first.setup.config.seeds), "seed")
  note = f"{number}; mean ± standard deviation over {seeds}"
  tables = {
    "effects": interference.table(effects),
    "clean": interference.clean_table(clean),
  }
  output = pathlib.Path(
    _OUTPUT.value
    or pathlib.Path(_WORKDIR.value[-1], "language_interference.json")
  )
  files.write_json(output, {"note": note, "tables": tables})
  picture = output.with_suffix(".png")
  language_plots.interference(interference.shares(effects), picture)
  for rows in tables.values():
    print(tables_lib.with_note({"note": note, "rows": rows}), end="\n\n")
  print(output, picture, sep="\n")


def start() -> None:
  """Defines flags, and runs the program."""
  names = ["workdir", "names", "num_questions", "questions", "seed", "output"]
  app.run(main, {"Interference": names})


if __name__ == "__main__":
  start()
