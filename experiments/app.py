"""The frame of every program: help, errors in one line, a clean Ctrl-C."""

from collections.abc import Callable, Mapping, Sequence
import os
import pathlib
import re
import signal
import sys
import textwrap
import time

from absl import app
from absl import flags
from absl import logging

import btw_jax
from btw_jax import errors
from btw_jax.pipeline import compilation_cache
from btw_jax.pipeline import interrupt
from btw_jax.pipeline import logs
from btw_jax.pipeline import surroundings

from . import flags as flags_lib

_DEBUG = flags.DEFINE_bool(
  "debug", False, "show the traceback of an error in the input"
)
_COMPILATION_CACHE = flags.DEFINE_string(
  "compilation_cache",
  compilation_cache.AUTO,
  "folder of compiled programs that runs share; none if empty",
)
_OTHER = ("compilation_cache", "debug")

# The name of the command, and its programs: name -> module of `experiments`.
COMMAND = "btw-jax"
COMMANDS = {
  "train": "train",
  "predict": "predict",
  "evaluate": "evaluate",
  "explain": "explain",
  "study": "study",
  "audit": "audit",
  "profile": "profile",
  "inspect": "inspect_data",
  "prepare": "prepare_data",
  "interactions": "analyze_interactions",
  "interference": "diagnose_interference",
  "routing": "plot_routing",
  "train-language": "train_language",
  "finetune-language": "finetune_language",
  "language-interactions": "language_interactions",
  "language-interference": "language_interference",
  "questions": "questions",
  "finetune-questions": "finetune_questions",
}
WRONG_INPUT, _LOST_PROCESS = 2, 3
# The start of errors of JAX's runtime that are about other processes.
_RUNTIME_ERROR = re.compile(
  "(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|CANCELLED)[: ]"
)
# Seconds to wait longer than it takes to notice missing heartbeats.
_SECONDS_AFTER_HEARTBEAT = 20


def run(main: Callable[[], None], groups: Mapping[str, Sequence[str]]) -> None:
  """Parses flags, runs the program and turns user errors into one line.

  A wrong flag or wrong input exits with status 2, Ctrl-C with 130. A defect of
  the program keeps its traceback.

  Args:
    main: the program; its module's docstring opens the help.
    groups: title -> names of flags, in the order of the help.
  """
  surroundings.prepare_streams()

  def parse(argv):
    if any(a.lstrip("-") in ("help", "h", "helpshort") for a in argv[1:]):
      _print_help(main, groups)
      sys.exit(0)
    try:
      arguments = flags.FLAGS(flags_lib.find_flagfiles(argv))
      flags_lib.check_values(flags.FLAGS)
    except flags.Error as error:
      _fail(f"{flags_lib.one_line(error)} (--help lists the flags)")
    if wrong := surroundings.check_environment():
      _fail(wrong)
    if len(arguments) > 1:
      _fail(f"{arguments[1]!r} is not a flag: write --name=value (see --help)")
    return arguments

  app.run(lambda _: _guarded(main), flags_parser=parse)


def _guarded(main):
  """Runs the program, and ends with a line and a status for known errors."""
  _quiet_logging()
  try:
    compilation_cache.enable(_COMPILATION_CACHE.value)
    main()
    sys.stdout.flush()
  except errors.InputError as error:
    if _DEBUG.value:
      raise
    _fail(str(error))
  except interrupt.Interrupted as error:
    print(f"interrupted: {error}", file=sys.stderr)
    sys.exit(interrupt.EXIT_STATUS + error.number)
  except KeyboardInterrupt:
    print("interrupted: nothing was saved", file=sys.stderr)
    sys.exit(interrupt.EXIT_STATUS + signal.SIGINT)
  except BrokenPipeError:
    _end_without_reader()
  except Exception as error:
    if _is_about_other_process(error):
      _wait_for_runtime(error)
    reason = surroundings.reason(error)
    if not reason or _DEBUG.value:
      raise
    _fail(reason)


def _print_help(main, groups):
  try:
    print(_help(main, groups), flush=True)
  except BrokenPipeError:
    _end_without_reader()


def _end_without_reader():
  """Ends because the reader of the output has closed it, as `head` does."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  sys.exit(interrupt.EXIT_STATUS + signal.SIGPIPE)


def _is_about_other_process(error):
  """Returns whether an error says that another process is gone."""
  is_known = isinstance(error, ValueError | RuntimeError)
  if not is_known or not _RUNTIME_ERROR.match(str(error)):
    return False
  import jax

  return jax.process_count() > 1


def _wait_for_runtime(error):
  """Waits for JAX's runtime to name the lost process, and ends."""
  import jax

  reason = " ".join(str(error).split())[:200]
  print(
    f"process {jax.process_index()} of {jax.process_count()}: lost another"
    f" process ({reason}); waiting for its name. Start all of them again with"
    " the same flags: training resumes.",
    file=sys.stderr,
    flush=True,
  )
  # The runtime ends this process once it has missed the other's heartbeats.
  time.sleep(flags.FLAGS["heartbeat"].value + _SECONDS_AFTER_HEARTBEAT)
  os._exit(_LOST_PROCESS)


def _quiet_logging():
  """Logs our own lines without decoration, and warnings of libraries."""
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(logs.formatter())
  folders = tuple(
    str(pathlib.Path(file).parent) for file in (btw_jax.__file__, __file__)
  )

  def keep(record):
    by_orbax = "orbax" in record.pathname or record.name == "asyncio"
    by_cluster = record.name == "jax._src.clusters.cluster"
    if (by_cluster or (record.exc_info and by_orbax)) and not _DEBUG.value:
      # The same error is raised afterwards, and then printed in one line.
      return False
    return logs.is_shown(record, folders)

  handler.addFilter(keep)
  default_hook = sys.unraisablehook

  def unraisable(args):
    # Orbax's thread still writes when it learns that it cannot.
    if str(args.exc_value) != "Event loop is closed":
      default_hook(args)

  sys.unraisablehook = unraisable


def _fail(message):
  name = sys.argv[0]
  if not name.startswith(COMMAND):
    spec = sys.modules["__main__"].__spec__
    name = spec.name.removesuffix(".__main__") if spec else name
  print(f"{name}: {message}", file=sys.stderr)
  sys.exit(WRONG_INPUT)


def _help(main, groups):
  # `python -OO` drops docstrings.
  doc = (sys.modules[main.__module__].__doc__ or "").strip()
  if sys.argv[0].startswith(COMMAND):
    for name, module in COMMANDS.items():
      doc = doc.replace(
        f"python -m experiments.{module} ", f"{COMMAND} {name} "
      )
    doc = doc.replace("experiments/recipes/", "").replace(".flags", "")
  lines = [doc, ""]
  for title, names in {**groups, "Other": _OTHER}.items():
    lines.append(f"{title}:")
    lines += [_help_line(flags.FLAGS[name]) for name in names]
    if title == "Other":
      lines.append(f"{'  --flagfile':<24}file of flags, or name of a recipe")
      lines.append(f"{'  --help':<24}show this text")
    lines.append("")
  return "\n".join(lines).rstrip()


def _help_line(flag):
  values = getattr(flag.parser, "enum_values", None)
  text = flag.help
  if values:
    # absl puts "<a|b>: " before the text of an enum.
    text = f"{text.partition('>: ')[2]}: {' | '.join(v for v in values if v)}"
  default = flag.default
  if isinstance(default, list | tuple):
    default = ",".join(default)
  if default not in (None, ""):
    text += f" [{str(default).lower() if flag.boolean else default}]"
  name = f"  --{'[no]' if flag.boolean else ''}{flag.name}"
  return "\n".join(
    textwrap.wrap(
      text,
      width=79,
      initial_indent=f"{name:<24}",
      subsequent_indent=" " * 24,
    )
  )
