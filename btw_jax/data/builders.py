"""The TFDS builders: one per dataset loader, registered under its name.

  import btw_jax.data.builders
  builder = tfds.builder("npz", data_dir="prepared", source_path="mine")
  builder.download_and_prepare()
  tfds.data_source("npz", data_dir="prepared", split="train")

None of this needs TensorFlow.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import dataclasses
import functools
import itertools
import pathlib
import shutil
from typing import Any

from array_record.python import array_record_module
import tensorflow_datasets as tfds

from btw_jax import errors
from btw_jax.data import assembly
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import describe
from btw_jax.data import labels
from btw_jax.data import prepared
from btw_jax.data import records
from btw_jax.data import schema

# The size of a file of records, about.
_SHARD_BYTES = 256 * 2**20
# The folder of a data set that will replace a prepared one.
_REPLACEMENT = ".replacement"


def write(
  template: tfds.core.ShardedFileTemplate,
  features: tfds.features.FeaturesDict,
  examples: Iterable[Any],
  count: int,
  *,
  examples_per_shard: int,
) -> tfds.core.SplitInfo:
  """Writes `count` examples as the records of a split, in their order.

  The examples have the form that `schema.rows` yields.
  """
  num_shards = -(-count // examples_per_shard)
  examples, lengths, num_bytes = iter(examples), [], 0
  for shard in range(num_shards):
    path = template.sharded_filepath(shard_index=shard, num_shards=num_shards)
    # Compression would save a tenth of the disk space of network features and
    # double the time to read them.
    writer = array_record_module.ArrayRecordWriter(
      str(path), "group_size:1,uncompressed"
    )
    lengths.append(0)
    for example in itertools.islice(examples, examples_per_shard):
      record = features.serialize_example(example)
      writer.write(record)
      lengths[-1] += 1
      num_bytes += len(record)
    writer.close()
  return tfds.core.SplitInfo(
    name=template.split,
    shard_lengths=lengths,
    num_bytes=num_bytes,
    filename_template=template,
  )


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A builder that converts the splits of a dataset loader, in their order.

  Attributes:
    observe: takes a split's name and number of examples; returns a function
      that wraps the iterable of its examples, for a progress bar.
  """

  VERSION = tfds.core.Version("1.0.0")

  observe: Callable[[str, int], Callable[[Iterable], Iterable]] | None = None

  def __init__(
    self,
    *,
    source_path: str = "",
    options: catalog.Options | None = None,
    **kwargs: Any,
  ):
    """Opens a prepared data set, or loads `source_path` to prepare it.

    Raises:
      InputError: if the files cannot be read or their content is invalid.
    """
    options = options or catalog.Options(average_steps=False)
    self._options = dataclasses.replace(options, data_dir=source_path)
    super().__init__(file_format="array_record", **kwargs)

  @functools.cached_property
  def loaded(self) -> dataset_lib.LoadedSplits:
    """The checked splits of the dataset loader."""
    loaded = catalog.read(self.name, self._options)
    return assembly.arrange(loaded, self._options)

  @functools.cached_property
  def _schemas(self) -> dict[str, records.RecordSchema]:
    return schema.from_splits(self.loaded.splits)

  def _info(self) -> tfds.core.DatasetInfo:
    folder = pathlib.Path(self._data_dir)
    if (folder / "features.json").exists():
      prepared.check_features(folder)
      features = tfds.features.FeaturesDict.from_config(folder)
      return tfds.core.DatasetInfo(
        builder=self, features=features, metadata=tfds.core.MetadataDict()
      )
    splits = self.loaded.splits
    schemas = self._schemas
    examples = next(iter(splits.values()))
    if not labels.is_number(examples.target):
      raise errors.InputError(
        f"{examples.files['target']}: the target of row 0 is"
        f" {str(examples.target[0])!r}: records hold numbers: number the"
        " classes first."
      )
    shape = examples.target.shape[1:]
    subjects = examples.subjects is not None
    task = self.loaded.task or checks.infer_task(examples.target)
    metadata = {
      "task": self.loaded.task,
      "layout": {m: dataclasses.asdict(s) for m, s in schemas.items()},
      "target_shape": list(shape),
      "subjects": subjects,
      "notes": list(self.loaded.notes),
      "summary": describe.describe(splits, task),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{self.name}, converted by btw_jax.",
      features=schema.features(schemas, shape, subjects=subjects),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict({prepared.KEY: metadata}),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      split: self._generate_examples(split) for split in self.loaded.splits
    }

  def _generate_examples(self, split: str) -> Iterator[tuple[int, Any]]:
    examples = self.loaded.splits[split]
    rows = schema.rows(examples, self._schemas)
    if self.observe is not None:
      rows = self.observe(split, len(examples))(rows)
    # The key is the row number, because ids may repeat between files.
    yield from enumerate(rows)

  def _generate_splits(self, dl_manager, download_config) -> Sequence[Any]:
    """Writes the splits in the order of the dataset loader.

    The base class sorts by hashed key first, for which it needs TensorFlow as
    soon as a split exceeds a gigabyte.
    """
    del download_config
    # Runs that were killed left their incomplete folders behind.
    for stale in pathlib.Path(self.data_dir).parent.glob("incomplete.*"):
      if stale != pathlib.Path(self.data_dir):
        shutil.rmtree(stale)
    return [
      write(
        self._get_filename_template(split),
        self.info.features,
        (example for _, example in generator),
        len(self.loaded.splits[split]),
        examples_per_shard=self._examples_per_shard(),
      )
      for split, generator in self._split_generators(dl_manager).items()
    ]

  def _examples_per_shard(self):
    example_bytes = sum(
      4 * max(s.num_steps, 1) * s.width for s in self._schemas.values()
    )
    return max(1, _SHARD_BYTES // example_bytes)


BUILDERS = {
  source: type(
    "".join(part.title() for part in source.split("_")),
    (Builder,),
    {"name": source, "__module__": __name__, "__doc__": Builder.__doc__},
  )
  for source in catalog.SOURCES
}


def make(
  source: str,
  source_path: str,
  data_dir: str,
  options: catalog.Options,
  *,
  overwrite: bool = False,
) -> Builder:
  """Returns the builder of a dataset loader, for `prepare`.

  `overwrite` converts a prepared data set again, beside the old one.

  Raises:
    InputError: if the loader is unknown or `data_dir` cannot be created.
  """
  if source not in BUILDERS:
    raise errors.InputError(
      f"--source={source}: unknown: use one of {', '.join(BUILDERS)}."
    )
  folder = pathlib.Path(data_dir)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.InputError(
      f"--data_dir={data_dir}: cannot be made ({error.strerror}): choose"
      " another."
    ) from error
  if overwrite and (folder / source).exists():
    folder /= _REPLACEMENT
    shutil.rmtree(folder, ignore_errors=True)
  return BUILDERS[source](
    source_path=source_path, data_dir=str(folder), options=options
  )


def prepare(builder: Builder, scratch: str) -> None:
  """Converts a data set, and then puts it in the place of an older one.

  Args:
    builder: of `make`.
    scratch: a folder for files that are not kept.
  """
  builder.download_and_prepare(download_dir=scratch)
  new = pathlib.Path(builder.data_dir).parent
  if new.parent.name == _REPLACEMENT:
    place, old = new.parents[1] / builder.name, new.parent / "old"
    place.rename(old)
    new.rename(place)
    shutil.rmtree(new.parent)
