"""Fine-tunes a pretrained multimodal language model on a question file.

  python -m experiments.finetune_questions --pretrained=FOLDER --questions=FILE

Low-rank adapters (LoRA) of the decoder's last layers learn the letter of the
right option; --mitigation trains against interference, and --weights counts
questions as an audit says. Questions held out are answered before and after, as
they are and beside texts and images that do not matter. With --save_model the
changed model is left as a folder that the program questions reads.
"""

import dataclasses

from btw_jax.pipeline import config_sections
from btw_jax.pipeline.pretrained import finetune_config

from . import app
from . import flags as flags_lib


def main() -> None:
  """Fine-tunes, and prints the measures before and after."""
  from btw_jax.pipeline.pretrained import finetune
  from btw_jax.reports import tables as tables_lib

  config = flags_lib.read_fields(finetune_config.FinetuneConfig)
  results = finetune.run(config)
  rows = [
    {
      "held-out questions": when,
      "accuracy %": f"{100 * of['accuracy']:.1f}",
      "perturbed %": f"{100 * of['accuracy_perturbed']:.1f}",
      "changed %": f"{100 * of['changed']:.1f}",
      "NLL": f"{of['nll']:.3f}",
    }
    for when, of in ((w, results[w]) for w in ("before", "after"))
  ]
  print(tables_lib.markdown(rows))
  print(f"\n{config.workdir}: {results['seconds']:.0f} s")


def start() -> None:
  """Defines flags, and runs the program."""
  kind = finetune_config.FinetuneConfig
  flags_lib.define_fields(dataclasses.fields(kind))
  app.run(main, config_sections.titled(kind))


if __name__ == "__main__":
  start()
