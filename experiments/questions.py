"""Asks a pretrained multimodal language model, and audits what it decides by.

  python -m experiments.questions --pretrained=FOLDER --questions=FILE

FOLDER holds LLaVA, SmolVLM or Idefics3 as Hugging Face stores them; FILE is a
JSON list of multiple-choice questions with paths of images. Every question is
answered as it is, without its image or its text, and beside texts and images
that do not matter. Prints the accuracy, the changed decisions and the
interactions (PID), and leaves an audit of each kind of questions.
"""

import pathlib

from absl import flags
from absl import logging

from . import app

_PRETRAINED = flags.DEFINE_string(
  "pretrained", None, "folder of the model", required=True
)
_QUESTIONS = flags.DEFINE_string(
  "questions", None, "JSON file of the questions", required=True
)
_OUTPUT = flags.DEFINE_string(
  "output", "runs/pretrained_questions", "folder to leave the audits in"
)
_NUM_QUESTIONS = flags.DEFINE_integer(
  "num_questions", 0, "number of questions, the first ones; 0 for all", 0
)
_BATCH_SIZE = flags.DEFINE_integer(
  "batch_size", 8, "questions that are answered together", 1, 4096
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "bfloat16", ["bfloat16", "float32"], "number type of the parameters"
)
_SPLIT_IMAGES = flags.DEFINE_bool(
  "split_images", True, "cut large images into tiles, if the model does"
)
_LEAST_MASS = flags.DEFINE_float(
  "least_mass",
  0.3,
  "probability that the letters of the options must hold together; a question"
  " below it counts as no decision",
  0.0,
  1.0,
)
_LAYERS = flags.DEFINE_bool(
  "layers", False, "show the interactions after every layer of the decoder too"
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "seed of noise and of misleading texts and images", 0, 10**9
)


def main() -> None:
  """Answers, measures, and prints the tables."""
  from btw_jax.data.sources import questions as questions_lib
  from btw_jax.pipeline.audit import options as options_lib
  from btw_jax.pipeline.audit import run
  from btw_jax.pipeline.pretrained import logit_lens
  from btw_jax.pipeline.pretrained import questions
  from btw_jax.reports import tables as tables_lib
  from btw_jax.reports.audit import tables as audit_tables

  run.check_output(_OUTPUT.value)
  entries = questions_lib.entries(_QUESTIONS.value, questions.MAX_OPTIONS)
  entries = entries[: _NUM_QUESTIONS.value or None]
  answerer = questions.load(
    _PRETRAINED.value,
    dtype=_DTYPE.value,
    split_images=_SPLIT_IMAGES.value,
    batch_size=_BATCH_SIZE.value,
    seed=_SEED.value,
    least_mass=_LEAST_MASS.value,
  )
  for kind, answers in questions.answer(answerer, entries).items():
    measured = run.run(answers, options_lib.Options(seed=_SEED.value))
    folder = pathlib.Path(_OUTPUT.value) / kind
    path = run.write(measured, str(folder))
    questions.write(folder, answers)
    print(audit_tables.write(measured.content))
    print(path)
  with_image = [entry for entry in entries if entry.has_image]
  if _LAYERS.value and not with_image:
    logging.warning("--layers: no question has an image, nothing is shown")
  elif _LAYERS.value:
    bits = logit_lens.measure(answerer, with_image)
    folder = pathlib.Path(_OUTPUT.value) / questions.WITH_IMAGE
    paths = logit_lens.write(folder, bits)
    print(tables_lib.markdown(logit_lens.rows(bits)))
    print("\n".join(map(str, paths)))


def start() -> None:
  """Defines flags, and runs the program."""
  names = [
    "pretrained", "questions", "output", "num_questions", "batch_size",
    "dtype", "split_images", "least_mass", "layers", "seed",
  ]  # fmt: skip
  app.run(main, {"Questions": names})


if __name__ == "__main__":
  start()
