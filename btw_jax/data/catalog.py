"""The names of data sets: how each is loaded, and from which files.

Every program imports this module to define its flags. The modules that load
data, and the libraries that they need, are therefore imported on first use.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import pathlib
from typing import NamedTuple

from btw_jax import errors
from btw_jax.data import dataset as dataset_lib
from btw_jax.data import texts
from btw_jax.data.sources import mimic_tasks

SPLIT_BY = ("given", "subject")
# The options that say how tables are read; "auto" leaves a choice to the file.
TABLE_OPTIONS = (
  "label", "id", "subject", "index", "header", "separator", "decimal",
  "encoding",
)  # fmt: skip
INDEX = ("auto", "first", "none")
HEADER = ("auto", "yes", "no")
DECIMAL = ("auto", ".", ",")
# The data set of a run that was trained on arrays in memory.
ARRAYS = "arrays"
_PREFIX, _NPZ_FILES = "tfds:", "{split}.npz"
# The option of loaders whose files hold words.
_TEXT_READER = "text_reader"


@dataclasses.dataclass(frozen=True)
class Options:
  """The options of dataset loaders; each loader uses those it needs.

  Attributes:
    data_dir: file or folder, for loaders that read files.
    modalities: modalities to use, in order; all by default.
    task: overrides the task that the loader gives or the labels suggest.
    num_train: training examples, for digits.
    noise_modalities: modalities of pure noise to add, for digits.
    valid_share: share of the training split held out for validation if the
      files have no validation split.
    average_steps: replace each sequence by its mean over the steps.
    split_by: a name of `SPLIT_BY`: use the splits as given, or draw splits
      that share no subject.
    stream: leave the features of a prepared data set on disk.
    labelled: require targets; otherwise files without them are read too, and
      targets are left out.
    label: name of the label column of tables, or empty for the last column.
    id: name of the column of ids.
    subject: name of the column of subjects.
    index: a name of `INDEX`, whether the first column of tables is an index.
    header: a name of `HEADER`, whether text tables have a header.
    separator: the character between the cells of text tables, or "auto".
    decimal: a name of `DECIMAL`, the decimal mark of text tables.
    encoding: of text tables, or "auto".
    widths: modality -> its number of features, which tells a table of features
      from one that has a label too; needed for tables without labels.
    columns: modality -> names of its features, by which those of the files are
      ordered.
    text_reader: reads the words of texts, where the files hold words; by
      default their features are read.
    seed: draws the splits and the noise.
  """

  data_dir: str = ""
  modalities: Sequence[str] = ()
  task: str | None = None
  num_train: int = 400
  noise_modalities: int = 0
  valid_share: float = 0.2
  average_steps: bool = True
  split_by: str = "given"
  stream: bool = False
  labelled: bool = True
  label: str = ""
  id: str = "id"
  subject: str = "subject"
  index: str = "auto"
  header: str = "auto"
  separator: str = "auto"
  decimal: str = "auto"
  encoding: str = "auto"
  widths: Mapping[str, int] | None = None
  columns: Mapping[str, Sequence[str]] | None = None
  text_reader: texts.Reader | None = None
  seed: int = 0


class DatasetLoader(NamedTuple):
  """A function that loads a data set.

  Attributes:
    load: maps options to the splits of the data set.
    reads: the files that it reads, for messages; empty if it reads none.
    has_words: whether the files hold words that a text encoder can read.
  """

  load: Callable[[Options], dataset_lib.LoadedSplits]
  reads: str = ""
  has_words: bool = False


def _load_digits(options):
  from btw_jax.data.sources import digits

  return digits.load(
    num_train=options.num_train,
    noise_modalities=options.noise_modalities,
    seed=options.seed,
  )


def _load_diabetes(options):
  from btw_jax.data.sources import diabetes

  return diabetes.load(seed=options.seed)


def _load_breast_cancer(options):
  from btw_jax.data.sources import breast_cancer

  return breast_cancer.load(seed=options.seed)


def _load_npz(options):
  from btw_jax.data.sources import npz

  return npz.load(path=options.data_dir, labelled=options.labelled)


def _load_csv(options):
  from btw_jax.data.sources import tables

  return _load_tables(options, tables.CSV)


def _load_parquet(options):
  from btw_jax.data.sources import tables

  return _load_tables(options, tables.PARQUET)


def _load_tables(options, suffixes):
  from btw_jax.data.sources import table_files
  from btw_jax.data.sources import tables

  given = {name: getattr(options, name) for name in TABLE_OPTIONS}
  return tables.load(
    path=options.data_dir,
    suffixes=suffixes,
    rules=table_files.Rules(**given),
    widths=None if options.labelled else options.widths,
  )


def _file_loader(module: str, files: str, *names: str) -> DatasetLoader:
  """Returns the loader that a module of `sources` has for its `files`.

  Beside the path, it takes the options of the given names.
  """

  def load(options):
    source = importlib.import_module(f"btw_jax.data.sources.{module}")
    given = {name: getattr(options, name) for name in names}
    return source.load(path=options.data_dir, **given)

  return DatasetLoader(load, files, _TEXT_READER in names)


def _mimic_loader(task: str, *, missing: bool) -> DatasetLoader:
  """Returns the loader of a MIMIC-IV task; `missing` as in `mimic.load`."""

  def load(options):
    from btw_jax.data.sources import mimic

    return mimic.load(path=options.data_dir, task=task, missing=missing)

  files = mimic_tasks.TASKS[task].file_name("{train,val,test}", missing=missing)
  return DatasetLoader(load, files)


SOURCES = {
  "digits": DatasetLoader(_load_digits),
  "diabetes": DatasetLoader(_load_diabetes),
  "breast_cancer": DatasetLoader(_load_breast_cancer),
  "npz": DatasetLoader(_load_npz, _NPZ_FILES),
  "csv": DatasetLoader(_load_csv, "{modality}_{split}.{csv,tsv}[.gz]"),
  "parquet": DatasetLoader(_load_parquet, "{modality}_{split}.parquet"),
  "mat": _file_loader("mat", "{split}.mat", "labelled", "widths", "seed"),
  "mmsa_mosi": _file_loader(
    "mmsa", "[un]aligned_50.pkl", "modalities", _TEXT_READER
  ),
  "mmsa_mosei": _file_loader(
    "mmsa", "[un]aligned_50.pkl", "modalities", _TEXT_READER
  ),
  "multibench_mosi": _file_loader("multibench", "mosi_raw.pkl", "modalities"),
  "multibench_mosei": _file_loader(
    "multibench", "mosei_senti_data.pkl", "modalities"
  ),
  "mmim_mosi": _file_loader("mmim", "{train,dev,test}.pkl", _TEXT_READER),
  "mmim_mosei": _file_loader("mmim", "{train,dev,test}.pkl", _TEXT_READER),
  "mogonet": _file_loader(
    "mogonet", "{number}_{tr,te}.csv, labels_{tr,te}.csv", "labelled"
  ),
  **{
    f"mimic_{task}": _mimic_loader(task, missing=False)
    for task in mimic_tasks.TASKS
  },
  **{
    f"mimic_{task}_missing": _mimic_loader(task, missing=True)
    for task in mimic_tasks.TASKS
  },
}


def prepared_name(name: str) -> str | None:
  """Returns NAME of "tfds:NAME", a prepared data set, and None otherwise."""
  rest = name.removeprefix(_PREFIX)
  return None if rest in ("", name) else rest


def find(name: str) -> DatasetLoader:
  """Returns the loader of a name of `SOURCES`, or of "tfds:NAME".

  Raises:
    InputError: if the name is unknown.
  """
  if name in SOURCES:
    return SOURCES[name]
  if name == ARRAYS:
    # Other examples for the models of such a run come from npz files.
    return SOURCES["npz"]
  prepared_as = prepared_name(name)
  if prepared_as is None:
    raise errors.InputError(
      f"--dataset={name}: unknown: use one of {', '.join(SOURCES)}, or"
      " tfds:NAME for a data set that the program prepare has converted."
    )

  def load(options):
    from btw_jax.data import prepared

    load_splits = prepared.stream if options.stream else prepared.load
    return load_splits(path=options.data_dir, name=prepared_as)

  return DatasetLoader(load, "the folder that the program prepare wrote")


def read(name: str, options: Options) -> dataset_lib.LoadedSplits:
  """Returns the unchecked splits of a data set, as its loader yields them.

  Raises:
    InputError: if the name is unknown, or the files cannot be read.
  """
  loader = find(name)
  if options.text_reader and not loader.has_words:
    with_words = [n for n, source in SOURCES.items() if source.has_words]
    raise errors.InputError(
      f"--text_encoder: --dataset={name} holds no words: leave it out, or use"
      f" one of {', '.join(with_words)}."
    )
  if options.stream and prepared_name(name) is None:
    raise errors.InputError(
      f"--reading=stream: {name} can only be read as a whole: convert it with"
      f" the program prepare and set --dataset=tfds:{name}."
    )
  if name == ARRAYS and not options.data_dir:
    raise errors.InputError(
      "the run was trained on arrays in memory, which are not kept: set"
      f" --data_dir to a folder of examples ({loader.reads})."
    )
  if options.data_dir and not loader.reads:
    raise errors.InputError(
      f"--data_dir={options.data_dir}: --dataset={name} reads no files: leave"
      " it out, or set --dataset to the format of the files."
    )
  if loader.reads and not options.data_dir:
    raise errors.InputError(
      f"--dataset={name} reads files ({loader.reads}): set --data_dir."
    )
  if loader.reads and not pathlib.Path(options.data_dir).exists():
    raise errors.InputError(
      f"--data_dir={options.data_dir}: there is no such file or folder."
    )
  return loader.load(options)
