"""The fields of the records that hold examples, and their values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import moments
from btw_jax.data import records

# The largest error of rounding to float32, in standard deviations.
_MAX_ROUNDING = 1e-3


def from_splits(
  splits: Mapping[str, dataset_lib.Examples],
) -> dict[str, records.RecordSchema]:
  """Returns the schema of each modality, large enough for all splits."""
  schemas = {}
  examples = list(splits.values())
  for modality, x in examples[0].features.items():
    steps = [e.steps[modality] for e in examples if modality in e.steps]
    schemas[modality] = records.RecordSchema(
      x.shape[-1],
      max(
        (e.features[modality].shape[1] for e in examples if steps), default=0
      ),
      any(s.times is not None for s in steps),
      any(s.observed is not None for s in steps),
    )
  return schemas


def features(
  schemas: Mapping[str, records.RecordSchema],
  target_shape: Sequence[int],
  *,
  subjects: bool,
) -> tfds.features.FeaturesDict:
  """Returns the TFDS features of a record.

  Args:
    schemas: modality -> schema.
    target_shape: the shape of one example's target.
    subjects: True if the records name the subject of each example.
  """

  def tensor(shape, dtype=np.float32):
    # Encoding numbers one by one takes five times as long to write.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding="bytes")

  fields = {"id": tfds.features.Text(), "target": tensor(tuple(target_shape))}
  if subjects:
    fields["subject"] = tfds.features.Text()
  for modality, schema in schemas.items():
    steps = (None,) if schema.num_steps else ()
    fields[modality] = {
      # An absent sequence has no steps, so it needs no field.
      **({} if schema.num_steps else {"present": np.bool_}),
      "values": tensor((*steps, schema.width)),
      **({"times": tensor(steps)} if schema.times else {}),
      **(
        {"observed": tensor((*steps, schema.width), np.bool_)}
        if schema.observed
        else {}
      ),
    }
  return tfds.features.FeaturesDict(fields)


def _check_float32(examples):
  """Checks that rounding to float32 is small beside the spread of values."""
  values = {
    modality: moments.valid_rows(examples, modality)[0]
    for modality, x in examples.features.items()
    if x.dtype == np.float64
  }
  if examples.target.dtype == np.float64:
    values["target"] = examples.target.reshape(len(examples), -1)
  for field, x in values.items():
    if not len(x):
      continue
    rounding = np.abs(x - x.astype(np.float32)).max(axis=0)
    varies = x.min(axis=0) < x.max(axis=0)
    coarse = varies & (rounding > _MAX_ROUNDING * x.std(axis=0))
    coarse = np.flatnonzero(coarse)
    if len(coarse):
      raise errors.InputError(
        f"{examples.files[field]}: {field!r}, column {coarse[0]} has values"
        f" such as {x[0, coarse[0]]:.17g}, which differ by less than float32"
        " holds: subtract one offset in all splits."
      )


def rows(
  examples: dataset_lib.Examples, schemas: Mapping[str, records.RecordSchema]
) -> Iterator[dict[str, Any]]:
  """Yields the examples of a split as dictionaries that `features` encodes.

  Raises:
    InputError: if float32, which the records hold, is too coarse for a value.
  """
  _check_float32(examples)
  target = examples.target.astype(np.float32)
  for i in range(len(examples)):
    row = {"id": examples.ids[i], "target": target[i]}
    if examples.subjects is not None:
      row["subject"] = examples.subjects[i]
    for modality, schema in schemas.items():
      present = bool(examples.present[modality][i])
      x = examples.features[modality][i].astype(np.float32, copy=False)
      if not schema.num_steps:
        row[modality] = {"present": present, "values": x}
      else:
        steps = examples.steps[modality]
        end = int(steps.length[i]) if present else 0
        row[modality] = {"values": x[:end]}
        if schema.times:
          times = np.linspace(0, 1, len(x)) if steps.times is None else (
            steps.times[i]
          )  # fmt: skip
          row[modality]["times"] = times[:end].astype(np.float32)
        if schema.observed:
          observed = steps.observed
          row[modality]["observed"] = (
            np.ones((end, schema.width), bool)
            if observed is None
            else observed[i, :end]
          )
    yield row
