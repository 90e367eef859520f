"""Cache of compiled programs on disk, so that only the first run compiles.

JAX keeps it: entries are keyed by the program, the compiler and its options.
Processes lock the folder while they read and write, and the entries that were
not used for longest go when it is full.
"""

from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import platform
import sys

from btw_jax import errors

AUTO = "auto"
# The folder holds at most this many bytes.
_MAX_BYTES = 2**31
_DIR = "jax_compilation_cache_dir"
# Short compilations are kept too: a run has dozens of them.
_OPTIONS = {
  "jax_persistent_cache_min_compile_time_secs": 0,
  "jax_compilation_cache_max_size": _MAX_BYTES,
}


def enable(folder: str = AUTO) -> None:
  """Lets all programs of this process and its children use a cache.

  Args:
    folder: of the cache; `AUTO` for the one that `JAX_COMPILATION_CACHE_DIR`
      names, or else one in the user's cache folder; none if empty.

  Raises:
    InputError: if a folder is named and cannot be made.
  """
  if folder == AUTO and os.environ.get(_DIR.upper()):
    return
  path = _make(folder)
  values = _OPTIONS if path else {}
  for name, value in {_DIR: path, **values}.items():
    # JAX reads them when it is imported.
    os.environ[name.upper()] = str(value)
  if "jax" in sys.modules:
    _configure({_DIR: path or None, **values})


@contextlib.contextmanager
def enabled(folder: str = AUTO) -> Iterator[None]:
  """Uses a cache within a block, in a process that belongs to someone else.

  A cache that the process uses already stays.

  Raises:
    InputError: if a folder is named and cannot be made.
  """
  import jax

  if getattr(jax.config, _DIR):
    yield
    return
  path = _make(folder)
  if not path:
    yield
    return
  values = {_DIR: path, **_OPTIONS}
  before = {name: getattr(jax.config, name) for name in values}
  _configure(values)
  try:
    yield
  finally:
    _configure(before)


def default_folder() -> pathlib.Path:
  """Returns the user's folder of compiled programs, for this kind of machine.

  Programs for one processor may not run on another, and homes are shared.
  """
  base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  return pathlib.Path(base) / "btw_jax" / f"compiled-{_processor()}"


def _processor():
  """Returns a name of the processor's instructions."""
  text = platform.machine() + platform.processor()
  with contextlib.suppress(OSError):
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    kinds = ("flags", "Features", "model name")
    text += "".join(
      sorted({x for x in lines.splitlines() if x.startswith(kinds)})
    )
  return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _make(folder):
  """Returns the path of the folder; empty without a cache."""
  if not folder:
    return ""
  try:
    path = default_folder() if folder == AUTO else pathlib.Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK):
      raise PermissionError(13, "Permission denied")
  except (OSError, RuntimeError) as error:
    # A home that nobody can write to is no reason to fail.
    if folder == AUTO:
      return ""
    reason = getattr(error, "strerror", None) or error
    raise errors.InputError(
      f"--compilation_cache={folder}: cannot be written ({reason}): choose"
      " another folder, or --compilation_cache= for none."
    ) from error
  return str(path.absolute())


def _configure(values):
  """Sets options of JAX, which then looks for its cache anew."""
  import jax
  from jax.experimental.compilation_cache import compilation_cache

  for name, value in values.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()
