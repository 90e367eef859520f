"""How examples are written: the fields of a record, and their values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from btw_jax.data import dataset as dataset_lib
from btw_jax.data import records


def layouts(
  splits: Mapping[str, dataset_lib.Examples],
) -> dict[str, records.RecordSchema]:
  """How examples would be written.

  Args:
    splits: of the same modalities.

  Returns:
    Modality -> layout, in order.
  """
  found = {}
  every = list(splits.values())
  for modality, x in every[0].features.items():
    steps = [e.steps[modality] for e in every if modality in e.steps]
    found[modality] = records.RecordSchema(
      x.shape[-1],
      max((e.features[modality].shape[1] for e in every if steps), default=0),
      any(s.times is not None for s in steps),
      any(s.observed is not None for s in steps),
    )
  return found


def features(
  layout: Mapping[str, records.RecordSchema],
  target_shape: Sequence[int],
  *,
  subjects: bool,
) -> tfds.features.FeaturesDict:
  """The schema of a record.

  Args:
    layout: modality -> what a record has of it.
    target_shape: of one example's target.
    subjects: whether it is known whom an example is of.

  Returns:
    TFDS features.
  """

  def tensor(shape, dtype=np.float32):
    # Numbers one by one take five times as long to write.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

  schema = {"id": tfds.features.Text(), "target": tensor(tuple(target_shape))}
  if subjects:
    schema["subject"] = tfds.features.Text()
  for modality, own in layout.items():
    steps = (None,) if own.num_steps else ()
    schema[modality] = {
      # A sequence that is absent has no steps.
      **({} if own.num_steps else {"present": np.bool_}),
      "values": tensor((*steps, own.width)),
      **({"times": tensor(steps)} if own.times else {}),
      **(
        {"observed": tensor((*steps, own.width), np.bool_)}
        if own.observed
        else {}
      ),
    }
  return tfds.features.FeaturesDict(schema)


def rows(
  examples: dataset_lib.Examples, layout: Mapping[str, records.RecordSchema]
) -> Iterator[dict[str, Any]]:
  """Examples one by one, as `features` describes them.

  Args:
    examples: a split.
    layout: modality -> what a record has of it.

  Yields:
    What TFDS encodes.
  """
  target = examples.target.astype(np.float32)
  for i in range(len(examples)):
    row = {"id": examples.ids[i], "target": target[i]}
    if examples.subjects is not None:
      row["subject"] = examples.subjects[i]
    for modality, own in layout.items():
      present = bool(examples.present[modality][i])
      x = examples.features[modality][i]
      if not own.num_steps:
        row[modality] = {"present": present, "values": x}
      else:
        steps = examples.steps[modality]
        end = int(steps.length[i]) if present else 0
        row[modality] = {"values": x[:end]}
        if own.times:
          times = np.linspace(0, 1, len(x)) if steps.times is None else (
            steps.times[i]
          )  # fmt: skip
          row[modality]["times"] = times[:end].astype(np.float32)
        if own.observed:
          observed = steps.observed
          row[modality]["observed"] = (
            np.ones((end, own.width), bool)
            if observed is None
            else observed[i, :end]
          )
    yield row
