"""The names of features, by which the columns of tables are matched."""

from collections.abc import Mapping, Sequence
import dataclasses

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib


def align(
  examples: dataset_lib.Examples, reference: Mapping[str, Sequence[str]]
) -> dataset_lib.Examples:
  """Orders the features of examples by the names that a reference gives.

  Args:
    examples: the examples; features without names keep their order.
    reference: modality -> names of its features, in the order wanted.

  Raises:
    InputError: naming the first feature that is missing or unknown.
  """
  changed = examples
  for modality in examples.modalities:
    names = tuple(examples.columns.get(modality, ()))
    wanted = tuple(reference.get(modality, ()))
    if not names or not wanted or names == wanted:
      continue
    place = f"{examples.files[modality]}: modality {modality!r}"
    for name in wanted:
      if name not in names:
        raise errors.InputError(
          f"{place} has no column {name!r}, which the training split has: name"
          " the columns alike."
        )
    for name in names:
      if name not in wanted:
        raise errors.InputError(
          f"{place} has a column {name!r}, which the training split has not:"
          " name the columns alike."
        )
    order = [names.index(name) for name in wanted]
    x = changed.features[modality][..., order]
    changed = dataclasses.replace(
      changed,
      features={**changed.features, modality: x},
      columns={**changed.columns, modality: wanted},
    )
  return changed


def unique(names: Sequence[object]) -> tuple[str, ...]:
  """Returns the names if they tell all columns apart, else none."""
  names = tuple(map(str, names))
  return names if len(set(names)) == len(names) else ()
