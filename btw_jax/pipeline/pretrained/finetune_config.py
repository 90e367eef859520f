"""The configuration of the fine-tuning of a pretrained multimodal model.

It imports nothing heavy, since the program reads it before it answers.
"""

import dataclasses

from btw_jax.pipeline import config_sections as sections


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
  """The settings; a run may be resumed with other values of `free` ones.

  Files may move, but not change.
  """

  pretrained: str = sections.field(
    "", "folder of LLaVA, SmolVLM or Idefics3", title="Run", needed=True,
    free=True,
  )  # fmt: skip
  questions: str = sections.field("", "JSON file of the questions", needed=True)
  workdir: str = sections.field(
    "runs/finetuned_questions", "folder of the run's files", free=True
  )
  save_model: bool = sections.field(
    False, "leave the changed model too, as a folder like --pretrained",
    free=True,
  )  # fmt: skip
  resume: bool = sections.field(
    True, "resume a run that was stopped, if the workdir holds one", free=True
  )
  snapshot_seconds: int = sections.field(
    300, "least number of seconds between snapshots", low=0, free=True
  )
  seed: int = sections.field(
    0, "seed of adapters, batches and perturbations", low=0, high=10**9
  )
  valid_share: float = sections.field(
    0.2, "share of the questions that measure and do not train", low=0.01,
    high=0.9,
  )  # fmt: skip
  weights: str = sections.field(
    "", "training_weights.csv of an audit, factors of questions in the loss",
    free=True,
  )  # fmt: skip
  lora_rank: int = sections.field(
    8, "rank of the change of a kernel", low=1, high=4096, title="Training"
  )
  lora_share: float = sections.field(
    0.2, "share of the decoder's layers that change, the last ones", low=0.001,
    high=1.0,
  )  # fmt: skip
  lora_alpha: float = sections.field(
    16.0, "the change is multiplied by alpha / rank", low=0.0
  )
  num_epochs: int = sections.field(1, "number of epochs", low=1)
  batch_size: int = sections.field(8, "questions of a batch", low=1, high=4096)
  accumulate: int = sections.field(
    1, "batches whose gradients make one step", low=1, high=4096
  )
  learning_rate: float = sections.field(
    2e-4, "largest learning rate of AdamW", low=0.0
  )
  max_norm: float = sections.field(
    1.0, "largest norm of a gradient; 0 does not clip", low=0.0
  )
  dtype: str = sections.field(
    "bfloat16", "number type of the model", choices=("bfloat16", "float32")
  )
  split_images: bool = sections.field(
    True, "cut large images into tiles, if the model does"
  )
  mitigation: tuple[str, ...] = sections.field(
    (),
    "training against interference: heuristic, adversarial, consistency",
    each=sections.MITIGATIONS,
    optional=True,
    title="Against interference",
  )
  consistency_weight: float = sections.field(
    0.01, "factor of KL(perturbed || clean)", low=0.0
  )
  adversarial_radius: float = sections.field(
    1e-3, "largest move of an entry of an embedding", low=0.0
  )
  adversarial_rate: float = sections.field(
    0.1, "factor of the gradient in a step of the ascent", low=0.0
  )
  adversarial_steps: int = sections.field(
    2, "number of steps of the ascent", low=0, high=1000
  )
