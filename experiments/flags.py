"""The flags of the configuration, and checks that flags share."""

from collections.abc import Callable, Sequence
import dataclasses
import math
import pathlib
import re
from typing import TypeVar

from absl import flags

from btw_jax import errors
from btw_jax.data import catalog
from btw_jax.data import dataset as dataset_lib
from btw_jax.pipeline import config as config_lib
from btw_jax.pipeline import config_sections as sections

_T = TypeVar("_T")
_RECIPES = pathlib.Path(__file__).parent / "recipes"
# absl's wording, which quotes Python -> ours.
_WORDING = {
  r"^flag --(\w+)=None: .* other than None\.$": r"--\1 is needed",
  r"\bflag (?=--)": "",
  r"invalid literal for int\(\) with base \d+: (.*)": r"\1 is not an integer",
  r"could not convert string to float: (.*)": r"\1 is not a number",
  r"\('Non-boolean argument .* flag', (.*)\)": r"\1 is neither true nor false",
  r"is not integer >= ": "is not an integer of at least ",
  r"is not a non-negative integer": "is below 0",
}


def define(
  values: flags.FlagValues = flags.FLAGS, *, without: Sequence[str] = ()
) -> None:
  """Defines a flag for every setting, but those in `without`."""
  for setting in config_lib.settings():
    if setting.name not in without:
      _define(setting.name, setting.field, values)
  if "dataset" not in without:
    check("dataset", catalog.find, values)


def define_fields(
  fields: Sequence[dataclasses.Field],
  values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Defines a flag for every field of a dataclass of settings."""
  for field in fields:
    _define(field.name, field, values)


def read_fields(kind: type[_T], values: flags.FlagValues = flags.FLAGS) -> _T:
  """Returns the dataclass of settings that parsed flags give."""
  given = {f.name: values[f.name].value for f in dataclasses.fields(kind)}
  return kind(
    **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
  )


def define_table_options(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags that say how tables are read."""
  names = catalog.TABLE_OPTIONS
  data = dataclasses.fields(sections.DataConfig)
  define_fields([field for field in data if field.name in names], values)


def table_options(
  values: flags.FlagValues = flags.FLAGS,
) -> dict[str, str]:
  """Returns the options of `catalog.Options` that parsed flags give tables."""
  return {name: values[name].value for name in catalog.TABLE_OPTIONS}


def _define(name, field, values):
  meta, default, to = field.metadata, field.default, {"flag_values": values}
  text, bounds = meta["text"], (meta.get("low"), meta.get("high"))
  if "choices" in meta:
    flags.DEFINE_enum(name, default, meta["choices"], text, **to)
  elif isinstance(default, bool):
    flags.DEFINE_bool(name, default, text, **to)
  elif isinstance(default, tuple):
    flags.DEFINE_list(name, list(default), text, **to)
    if "each" in meta:
      optional = meta.get("optional", False)
      check_each(name, meta["each"], optional=optional, values=values)
  elif isinstance(default, int):
    flags.DEFINE_integer(name, default, text, *bounds, **to)
  elif isinstance(default, float):
    flags.DEFINE_float(name, default, text, *bounds, **to)
  elif meta.get("needed"):
    flags.DEFINE_string(name, None, text, required=True, **to)
  else:
    flags.DEFINE_string(name, default, text, **to)
    if "numbers_or" in meta:
      _check_numbers_or(name, meta, values)


def groups(without: Sequence[str] = ()) -> dict[str, list[str]]:
  """Returns title -> names of the settings' flags, in the order of the help."""
  by_title = {title: [] for title in config_lib.SECTIONS.values()}
  for setting in config_lib.settings():
    if setting.name not in without:
      by_title[config_lib.SECTIONS[setting.section]].append(setting.name)
  return by_title


def read_config(
  values: flags.FlagValues = flags.FLAGS,
) -> config_lib.RunConfig:
  """Returns the configuration of parsed flags, for the devices at hand.

  Settings that have no flag keep their defaults.
  """
  settings = {s.name: s.field.default for s in config_lib.settings()}
  settings |= {n: values[n].value for n in settings if n in values}
  if settings["device_batch_size"]:
    import jax

    # A run depends on the batch of all devices, so that is what is saved.
    settings["batch_size"] = settings["device_batch_size"] * jax.device_count()
    settings["device_batch_size"] = 0
  return config_lib.make(**settings)


def read_recipes(
  names: Sequence[str],
  given: flags.FlagValues = flags.FLAGS,
  *,
  without: Sequence[str] = (),
) -> dict[str, config_lib.RunConfig]:
  """Reads recipes by name in `recipes/`, or by the path of a flagfile.

  Flags that are set in `given` override every recipe, but those in `without`.
  Returns name of the recipe -> configuration.

  Raises:
    InputError: if a recipe, or a flag in it, is unknown, or two are named
      alike.
  """
  if not names:
    raise errors.InputError("--recipes= is empty: name recipes or flagfiles.")
  configs = {}
  for path in dict.fromkeys(map(_find_recipe, names)):
    if path.stem in configs:
      raise errors.InputError(
        f"--recipes: two flagfiles are called {path.stem}: rename one."
      )
    configs[path.stem] = _read_recipe(path, given, without)
  return configs


def find_flagfiles(arguments: Sequence[str]) -> list[str]:
  """Replaces names of recipes in `--flagfile=NAME` by their paths."""

  def find(argument):
    named = re.fullmatch(r"--?flagfile=(\w+)", argument)
    if not named or pathlib.Path(named[1]).exists():
      return argument
    path = _RECIPES / f"{named[1]}.flags"
    return f"--flagfile={path}" if path.is_file() else argument

  return [find(argument) for argument in arguments]


def _find_recipe(name):
  known = {
    path.stem: path
    for path in sorted(_RECIPES.glob("*.flags"))
    # Recipes of studies and of the language model are none of its data sets.
    if "python -m experiments.train " in path.read_text(encoding="utf-8")
  }
  path = known.get(name, pathlib.Path(name))
  if path.is_file():
    return path
  raise errors.InputError(
    f"--recipes={name}: neither a file nor one of {', '.join(known)}."
  )


def _read_recipe(path, given, without):
  values = flags.FlagValues()
  define(values)
  arguments = [__name__, f"--flagfile={path}"]
  try:
    values(arguments)
    reads_files = bool(catalog.find(values["dataset"].value).reads)
    overrides = [
      given[name].serialize()
      for name in values
      if name in given
      and given[name].present
      and name not in without
      # --data_dir is for those recipes of a study that read files.
      and (reads_files or name != "data_dir")
    ]
    values.unparse_flags()
    values([*arguments, *overrides])
    check_values(values)
  except flags.Error as error:
    raise errors.InputError(f"{path}: {one_line(error)}") from error
  return read_config(values)


def define_dataset() -> flags.FlagHolder:
  """Defines --dataset alone, for programs that train nothing."""
  (setting,) = (s for s in config_lib.settings() if s.name == "dataset")
  holder = flags.DEFINE_string(
    "dataset", setting.field.default, setting.field.metadata["text"]
  )
  check("dataset", catalog.find)
  return holder


def define_split(text: str) -> tuple[flags.FlagHolder, flags.FlagHolder]:
  """Defines --split and --data_dir, for programs that read a finished run."""
  split = flags.DEFINE_enum("split", "test", dataset_lib.SPLITS, text)
  data_dir = flags.DEFINE_string(
    "data_dir",
    "",
    "folder of other files of the same format (npz, csv) to use instead of the"
    " run's own",
  )
  return split, data_dir


def check_values(values: flags.FlagValues) -> None:
  """Raises `ValidationError` for numbers out of range and an empty workdir."""
  for name in values:
    value = values[name].value
    if isinstance(value, float) and not math.isfinite(value):
      raise flags.ValidationError(
        f"--{name}={value}: {value} is not a finite number"
      )
    if isinstance(value, int | float) and not sections.is_moderate(value):
      raise flags.ValidationError(f"--{name}={value}: {sections.MODERATE}")
    if name == "workdir" and values[name].present and value in ("", []):
      raise flags.ValidationError("--workdir= is empty: name a folder")


def one_line(error: flags.Error) -> str:
  """Returns absl's message in our words, without its line breaks."""
  message = " ".join(str(error).removeprefix("ERROR:: ").split())
  for pattern, replacement in _WORDING.items():
    message = re.sub(pattern, replacement, message)
  # A list is shown as the user has written it.
  message = re.sub(
    r"=\['?(.*?)'?\]: ", lambda m: f"={m[1]}: ".replace("', '", ","), message
  )
  return message[:1].lower() + message[1:]


def check(
  name: str,
  test: Callable[[str], object],
  values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Makes a flag, or every value of a list, refuse what `test` refuses.

  `test` raises `InputError` for a wrong value.
  """

  def validate(given):
    for value in given if isinstance(given, list) else [given]:
      try:
        test(value)
      except errors.InputError as error:
        message = str(error).removeprefix(f"--{name}={value}: ")
        raise flags.ValidationError(message) from error
    return True

  flags.register_validator(name, validate, flag_values=values)


def check_each(
  name: str,
  known: Sequence[str],
  *,
  optional: bool,
  values: flags.FlagValues = flags.FLAGS,
) -> None:
  """Makes a list flag refuse unknown names, and emptiness if not optional."""

  def validate(given):
    unknown = [v for v in given if v not in known]
    if unknown or not (given or optional):
      problem = f"{unknown[0]!r} is unknown" if unknown else "is empty"
      raise flags.ValidationError(f"{problem}: use some of {', '.join(known)}")
    return True

  flags.register_validator(name, validate, flag_values=values)


def _check_numbers_or(name, meta, values):
  low, high = meta["low"], meta.get("high")
  # A factor, which has no upper bound, must not be 0.
  span = f"above {low:g}" if high is None else f"from {low:g} to {high:g}"

  def is_valid(value):
    try:
      number = float(value)
    except ValueError:
      return value == meta["numbers_or"]
    if not sections.is_moderate(number):
      return False
    return low < number if high is None else low <= number <= high

  def validate(given):
    for value in given.split(","):
      if not is_valid(value):
        raise flags.ValidationError(
          f"{value!r} is not a number {span}, nor {meta['numbers_or']}"
        )
    return True

  flags.register_validator(name, validate, flag_values=values)
