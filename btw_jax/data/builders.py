"""A TFDS builder for every source, registered under the source's name.

  import btw_jax.data.builders
  builder = tfds.builder("npz", data_dir="prepared", source_path="mine")
  builder.download_and_prepare()
  tfds.data_source("npz", data_dir="prepared", split="train")

Nothing here needs TensorFlow.
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
from btw_jax.data import catalog
from btw_jax.data import checks
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import describe
from btw_jax.data import prepared
from btw_jax.data import records
from btw_jax.data import schema

# Of a file of records.
_SHARD_BYTES = 256 * 2**20


def write(
  template: tfds.core.ShardedFileTemplate,
  features: tfds.features.FeaturesDict,
  examples: Iterable[Any],
  count: int,
  *,
  examples_per_shard: int,
) -> tfds.core.SplitInfo:
  """Writes the records of a split in the order given, one at a time.

  They are not compressed: of features of networks that saves a tenth of the
  disk and doubles the time to read them.

  Args:
    template: names of the files.
    features: of an example.
    examples: as `schema.rows` gives them.
    count: of examples.
    examples_per_shard: most records of a file.

  Returns:
    TFDS's description of the split.
  """
  num_shards = -(-count // examples_per_shard)
  examples, lengths, num_bytes = iter(examples), [], 0
  for shard in range(num_shards):
    path = template.sharded_filepath(shard_index=shard, num_shards=num_shards)
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
  """Converts what a source yields; each split in its own order.

  Attributes:
    observe: called with a split and the number of examples to come, gives what
      they are passed through while they are written.
  """

  VERSION = tfds.core.Version("1.0.0")

  observe: Callable[[str, int], Callable[[Iterable], Iterable]] | None = None

  def __init__(
    self,
    *,
    source_path: str = "",
    options: catalog.Options | None = None,
    overwrite: bool = False,
    **kwargs: Any,
  ):
    """Finds what was prepared, or reads what is to be.

    Args:
      source_path: file or folder that the source reads, where there is nothing
        prepared yet.
      options: what else the source should know.
      overwrite: read anew, and only then remove what was prepared.
      **kwargs: of the base class, among them `data_dir`.

    Raises:
      InputError: if the files cannot be read, or hold something wrong.
    """
    options = options or catalog.Options(average_steps=False)
    self._options = dataclasses.replace(options, data_dir=source_path)
    if overwrite and self.found.splits:
      old = pathlib.Path(kwargs["data_dir"], self.name)
      shutil.rmtree(old, ignore_errors=True)
    super().__init__(file_format="array_record", **kwargs)

  @functools.cached_property
  def found(self) -> dataset_lib.LoadedSplits:
    """What the source yields, checked."""
    found = catalog.read(self.name, self._options)
    return catalog.arrange(found, self._options)

  @functools.cached_property
  def _layouts(self) -> dict[str, records.RecordSchema]:
    return schema.layouts(self.found.splits)

  def _info(self) -> tfds.core.DatasetInfo:
    folder = pathlib.Path(self._data_dir)
    if (folder / "features.json").exists():
      features = tfds.features.FeaturesDict.from_config(folder)
      return tfds.core.DatasetInfo(
        builder=self, features=features, metadata=tfds.core.MetadataDict()
      )
    splits = self.found.splits
    layout = self._layouts
    examples = next(iter(splits.values()))
    shape = examples.target.shape[1:]
    subjects = examples.subjects is not None
    task = self.found.task or checks.infer_task(examples.target)
    about = {
      "task": self.found.task,
      "layout": {m: dataclasses.asdict(own) for m, own in layout.items()},
      "target_shape": list(shape),
      "subjects": subjects,
      "notes": list(self.found.notes),
      "summary": describe.describe(splits, task),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=f"{self.name}, converted by btw_jax.",
      features=schema.features(layout, shape, subjects=subjects),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict({prepared.KEY: about}),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {
      split: self._generate_examples(split) for split in self.found.splits
    }

  def _generate_examples(self, split: str) -> Iterator[tuple[int, Any]]:
    examples = self.found.splits[split]
    rows = schema.rows(examples, self._layouts)
    if self.observe is not None:
      rows = self.observe(split, len(examples))(rows)
    # Ids may repeat between files; the row does not.
    yield from enumerate(rows)

  def _generate_splits(self, dl_manager, download_config) -> Sequence[Any]:
    """Writes in the order of the source.

    The base class sorts by hashed key first, for which it needs TensorFlow as
    soon as a split exceeds a gigabyte.
    """
    del download_config
    for stale in pathlib.Path(self.data_dir).parent.glob("incomplete.*"):
      if stale != pathlib.Path(self.data_dir):
        shutil.rmtree(stale)
    return [
      write(
        self._get_filename_template(split),
        self.info.features,
        (example for _, example in generator),
        len(self.found.splits[split]),
        examples_per_shard=self._examples_per_shard(),
      )
      for split, generator in self._split_generators(dl_manager).items()
    ]

  def _examples_per_shard(self):
    each = sum(
      4 * max(own.num_steps, 1) * own.width for own in self._layouts.values()
    )
    return max(1, _SHARD_BYTES // each)


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
  """The builder of a source.

  Args:
    source: a name of `catalog.SOURCES`.
    source_path: file or folder that it reads.
    data_dir: folder to prepare in.
    options: what else the source should know.
    overwrite: replace what was prepared before, once the source is read.

  Returns:
    The builder.

  Raises:
    InputError: if the source is unknown or the folder cannot be written.
  """
  if source not in BUILDERS:
    raise errors.InputError(
      f"--source={source}: unknown: use one of {', '.join(BUILDERS)}."
    )
  try:
    pathlib.Path(data_dir).mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise errors.InputError(
      f"--data_dir={data_dir}: cannot be made ({error.strerror}): choose"
      " another."
    ) from error
  return BUILDERS[source](
    source_path=source_path,
    data_dir=data_dir,
    options=options,
    overwrite=overwrite,
  )
