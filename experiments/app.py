"""What every program shares: help, errors in one line, a clean Ctrl-C."""

from collections.abc import Callable, Mapping, Sequence
import errno
import logging as std_logging
import os
import pathlib
import re
import signal
import sys
import textwrap
import threading
import time

from absl import app
from absl import flags
from absl import logging
import jax

from btw_jax import errors

_DEBUG = flags.DEFINE_bool("debug", False, "show tracebacks of wrong input")

_WRONG_INPUT, _LOST = 2, 3
# A program that was told to stop exits with this plus the signal's number: 130
# for Ctrl-C, 143 for SIGTERM.
_INTERRUPTED = 128
# How JAX's runtime begins what it says of other processes.
_OF_RUNTIME = re.compile(
  "(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|DEADLINE_EXCEEDED|CANCELLED)[: ]"
)
# Seconds to wait for longer than heartbeats are missed.
_PATIENCE = 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Interrupted(Exception):
  """A request to stop, met at a place where everything on disk is whole."""

  def __init__(self, message: str, number: int = signal.SIGINT):
    """Says what is kept.

    Args:
      message: what.
      number: of the signal.
    """
    super().__init__(message)
    self.number = number


class Interrupt:
  """Turns the first Ctrl-C or SIGTERM into a request; a second one stops.

  Attributes:
    requested: whether there was one in this process.
    number: of the signal.
  """

  def __init__(self):
    """Listens from here on."""
    self.requested, self.number = False, signal.SIGINT
    # Python calls handlers between two of its own steps, of which an epoch on
    # the devices may be one. A thread is told at once.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, lambda number, frame: None)
    threading.Thread(target=self._listen, args=(told,), daemon=True).start()

  def _listen(self, told):
    while True:
      (number,) = os.read(told, 1)
      if self.requested:
        # At once: whatever is being written stays what it is without it.
        os._exit(_INTERRUPTED + number)
      self.requested, self.number = True, number
      message = "\nstopping where it can go on from; again to stop at once"
      print(message, file=sys.stderr)


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
    sys.stdout.flush()
  except errors.InputError as error:
    if _DEBUG.value:
      raise
    _fail(str(error))
  except Interrupted as error:
    print(f"interrupted: {error}", file=sys.stderr)
    sys.exit(_INTERRUPTED + error.number)
  except KeyboardInterrupt:
    print("interrupted: nothing to keep", file=sys.stderr)
    sys.exit(_INTERRUPTED + signal.SIGINT)
  except BrokenPipeError:
    # Whoever reads what is printed has read enough, as `head` does.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(_INTERRUPTED + signal.SIGPIPE)
  except OSError as error:
    if error.errno not in _NO_SPACE or _DEBUG.value:
      raise
    _fail(
      f"{error.filename}: cannot be written ({error.strerror}):"
      " make room and start again with the same flags: it goes on from the"
      " last snapshot."
    )
  except (ValueError, RuntimeError) as error:
    if jax.process_count() == 1 or not _OF_RUNTIME.match(str(error)):
      raise
    _lose(error)


def _lose(error):
  """Another process is gone: waits for the runtime to say which, and ends."""
  reason = " ".join(str(error).split())[:200]
  print(
    f"process {jax.process_index()} of {jax.process_count()}: lost another"
    f" process ({reason}); waiting to hear which. Start all of them again with"
    " the same flags: they go on from the last snapshot.",
    file=sys.stderr,
    flush=True,
  )
  # The runtime ends this process when it has missed the other's heartbeats.
  time.sleep(flags.FLAGS["heartbeat"].value + _PATIENCE)
  os._exit(_LOST)


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
    by_orbax = "orbax" in record.pathname or record.name == "asyncio"
    if record.exc_info and by_orbax and not _DEBUG.value:
      # What is then raised, and told in one line.
      return False
    return record.levelno > std_logging.INFO or record.pathname.startswith(own)

  handler.addFilter(ours)
  shown = sys.unraisablehook

  def unraisable(args):
    # What Orbax was still writing when it found that it could not.
    if str(args.exc_value) != "Event loop is closed":
      shown(args)

  sys.unraisablehook = unraisable


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
