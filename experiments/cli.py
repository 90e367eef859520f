"""What every program shares: help, errors in one line, a clean Ctrl-C."""

from collections.abc import Callable, Mapping, Sequence
import logging as std_logging
import pathlib
import signal
import sys
import textwrap

from absl import app
from absl import flags
from absl import logging

from btw_jax import types

_DEBUG = flags.DEFINE_bool("debug", False, "show tracebacks of wrong input")

_WRONG_INPUT, _INTERRUPTED = 2, 130


class Interrupted(Exception):
  """Ctrl-C, met at a place where everything on disk is whole."""


class Interrupt:
  """Turns the first Ctrl-C into a request; a second one stops at once."""

  def __init__(self):
    """Listens from here on."""
    self.requested = False
    signal.signal(signal.SIGINT, self._on_signal)

  def _on_signal(self, number, frame):
    del number, frame
    self.requested = True
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("\nstopping after this epoch; again to stop at once", file=sys.stderr)


def run(main: Callable[[], None], groups: Mapping[str, Sequence[str]]) -> None:
  """Parses flags, runs, and turns what users can mend into one line.

  Wrong flags and wrong input exit with status 2, Ctrl-C with 130; a defect
  keeps its traceback.

  Args:
    main: the program; its module's docstring opens the help.
    groups: title -> names of flags, in the order that help shows them.
  """

  def parse(argv):
    if any(a.lstrip("-") in ("help", "h", "helpshort") for a in argv[1:]):
      print(_help(main, groups))
      sys.exit(0)
    try:
      rest = flags.FLAGS(argv)
    except flags.Error as error:
      _fail(f"{_one_line(error)} (--help lists the flags)")
    if len(rest) > 1:
      _fail(f"{rest[1]!r} is no flag: write --name=value (--help lists them)")
    return rest

  app.run(lambda _: _guarded(main), flags_parser=parse)


def _guarded(main):
  _quiet_logging()
  try:
    main()
  except types.InputError as error:
    if _DEBUG.value:
      raise
    _fail(str(error))
  except (Interrupted, KeyboardInterrupt) as error:
    print(f"interrupted: {error or 'nothing to keep'}", file=sys.stderr)
    sys.exit(_INTERRUPTED)


def _quiet_logging():
  """Plain lines of our own; of libraries, warnings only."""
  logging.set_verbosity(logging.INFO)
  handler = logging.get_absl_handler()
  handler.setFormatter(
    std_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
  )
  root = pathlib.Path(__file__).parent.parent
  own = tuple(str(root / name) for name in ("btw_jax", "experiments"))

  def ours(record):
    return record.levelno > std_logging.INFO or record.pathname.startswith(own)

  handler.addFilter(ours)


def _fail(message):
  program = sys.modules["__main__"].__spec__
  name = program.name if program else sys.argv[0]
  print(f"{name}: {message}", file=sys.stderr)
  sys.exit(_WRONG_INPUT)


def _one_line(error):
  """Absl's message without its own preamble and line breaks."""
  message = " ".join(str(error).removeprefix("ERROR:: ").split())
  if message.endswith("must have a value other than None."):
    name = message.removeprefix("flag --").partition("=")[0]
    return f"--{name} is needed"
  return message[:1].lower() + message[1:]


def _help(main, groups):
  doc = sys.modules[main.__module__].__doc__.strip()
  lines = [doc, ""]
  for title, names in {**groups, "Other": ("debug",)}.items():
    lines.append(f"{title}:")
    lines += [_help_line(flags.FLAGS[name]) for name in names]
    if title == "Other":
      lines.append(f"{'  --flagfile':<24}file of flags, one per line")
      lines.append(f"{'  --help':<24}this text")
    lines.append("")
  return "\n".join(lines).rstrip()


def _help_line(flag):
  values = getattr(flag.parser, "enum_values", None)
  text = flag.help
  if values:
    # absl puts "<a|b>: " first.
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
