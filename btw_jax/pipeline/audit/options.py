"""Options of an audit: how files are read, and what is measured of them.

Every field is a flag of the program, and a setting of `btw_jax.audit`. This
module imports nothing heavy, since the program reads it before it answers.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from btw_jax.data.answers import read_options
from btw_jax.pipeline import config_sections as sections
from btw_jax.pipeline import settings as settings_lib

# The names in `catalog.FORMATS`; a test holds both together.
FORMATS = (
  "lm_eval", "lmms_eval", "vlmevalkit", "pid_lvlm", "top_logprobs", "table",
  "arrays",
)  # fmt: skip
_READING = dataclasses.fields(read_options.ReadOptions)


@dataclasses.dataclass(frozen=True)
class Options:
  """The options of an audit."""

  format: str = sections.field(
    "auto",
    "format of the files; auto recognises each",
    choices=("auto", *FORMATS),
  )
  scores: str = sections.field(
    "auto",
    "meaning of the numbers of the options; auto tells it from the numbers",
    choices=read_options.SCORES,
  )
  sign: str = sections.field(
    "auto",
    "whether the log holds log-likelihoods or losses; auto refuses a log whose"
    " sign looks reversed",
    choices=read_options.SIGNS,
  )
  length: str = sections.field(
    "none",
    "length of the option's text that divides its log-likelihood",
    choices=read_options.LENGTHS,
  )
  least_mass: float = sections.field(
    0.3,
    "probability that the letters of the options must hold together in a list"
    " of tokens; a question below it counts as uniform",
    low=0.0,
    high=1.0,
  )
  reference: str = sections.field(
    "", "condition that shows everything; told by its name if empty"
  )
  modalities: tuple[str, ...] = sections.field(
    (), "names of the modalities; told by the conditions if empty"
  )
  group: str = sections.field(
    "",
    "column of what several questions share, such as image; intervals then"
    " resample groups, not questions",
  )
  by: str = sections.field(
    "", "column of tasks; interactions are then measured for each task too"
  )
  control: str = sections.field(
    "",
    "column that tells the controls of Sensory PID apart, such as question; all"
    " questions have the same control if empty",
  )
  shortcut: str = sections.field(
    "",
    "source that GapScore counts as the shortcut; if empty, the text, or the"
    " second source if there is no text",
  )
  top_share: float = sections.field(
    0.1,
    "share of the questions that get weight 3, and of those that get 0.5",
    low=0.0,
    high=0.5,
  )
  batch_size: int = sections.field(
    256, "largest number of questions in one decomposition", low=8, high=4096
  )
  num_iterations: int = sections.field(
    200, "largest number of steps of the solver", low=1
  )
  num_permutations: int = sections.field(
    99,
    "permutations of a test against chance, at least 40 for each modality, and"
    " shuffles of hard answers",
    low=19,
  )
  num_resamples: int = sections.field(
    1000, "resamples of a bootstrap interval", low=100
  )
  seed: int = sections.field(
    0, "seed of batches, permutations and resamples", low=0, high=10**9
  )

  @property
  def reading(self) -> read_options.ReadOptions:
    """The options of the readers of files."""
    names = [field.name for field in _READING]
    return read_options.ReadOptions(**{n: getattr(self, n) for n in names})


def make(values: Mapping[str, Any]) -> Options:
  """Makes options of settings that are given in Python.

  Raises:
    InputError: if a setting is unknown or its value is wrong.
  """
  fields = {field.name: field for field in dataclasses.fields(Options)}
  return Options(
    **settings_lib.check(values, fields, see="btw-jax audit --help")
  )
