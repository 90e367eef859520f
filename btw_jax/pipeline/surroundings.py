"""The surroundings of a program: environment, streams, devices and memory."""

import codecs
import errno
import os
import sys
import traceback
import unicodedata

try:
  import resource
except ImportError:  # Windows has no such limits.
  resource = None

# Settings of JAX under which the programs do not run -> values that are fine.
_SETTINGS = {
  "JAX_DISABLE_JIT": ("0", "false", "off"),
  "JAX_NUMPY_RANK_PROMOTION": ("allow", "warn"),
  "JAX_NUMPY_DTYPE_PROMOTION": ("standard",),
}
# Files that may be open at a time: wanted, and needed by the checkpoints.
_OPEN_FILES, _LEAST_FILES = 1024, 64
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")
_REASON_LENGTH = 160
# Symbols of our tables in ASCII; of letters, those without accents are shown.
_ASCII = {
  "Δ": "d", "±": "+-", "−": "-", "–": "-", "—": "-", "×": "x", "·": ".",
  "≤": "<=", "≥": ">=", "→": "->", "‖": "||", "ρ": "rho", "μ": "mu",
  "σ": "sigma", "λ": "lambda", "α": "alpha", "⟨": "<", "⟩": ">", "…": "...",
}  # fmt: skip


def check_environment() -> str:
  """Returns what is wrong with a variable or a limit, or nothing.

  The limit of open files is raised as far as the system allows.
  """
  if resource is not None:
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit < _OPEN_FILES:
      limit = min(_OPEN_FILES, most) if most >= 0 else _OPEN_FILES
      resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    if limit < _LEAST_FILES:
      return (
        f"only {limit} files may be open: raise this limit to {_OPEN_FILES}"
        f" with ulimit -n {_OPEN_FILES}."
      )
  for variable, fine in _SETTINGS.items():
    value = os.environ.get(variable, "")
    if value and value.lower() not in fine:
      return f"{variable}={value}: the programs do not run under it: unset it."
  return ""


def prepare_streams() -> None:
  """Lets output be closed, and in an encoding that lacks our symbols."""
  codecs.register_error("ascii_symbols", _to_ascii)
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    if stream is None:
      # It stays open as long as the program runs.
      sink = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
      setattr(sys, name, sink)
    elif hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="ascii_symbols")


def reason(error: Exception) -> str:
  """Returns a line about an error that stems from the surroundings, or nothing.

  These are files that cannot be read or written, a full disk, too little memory
  and missing devices.
  """
  text = " ".join(str(error).split())[:_REASON_LENGTH]
  if isinstance(error, OSError) and error.errno in _NO_SPACE:
    return (
      f"{error.filename}: cannot be written ({error.strerror}): make room and"
      " start again with the same flags: training resumes."
    )
  if isinstance(error, OSError) and error.filename is not None:
    return (
      f"{error.filename}: cannot be used ({error.strerror}): check that it is"
      " what the flags say, and that you may read and write it."
    )
  if isinstance(error, MemoryError) or any(m in str(error) for m in _NO_MEMORY):
    return (
      f"there is too little memory ({text}): lower the sizes of the model or"
      " the batch, or the number of seeds."
    )
  frames = traceback.extract_tb(error.__traceback__)
  if frames and frames[-1].filename.endswith("xla_bridge.py"):
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return (
      f"JAX_PLATFORMS={platforms}: there is no such device here, or no such"
      " name: unset it, or use cpu, cuda or tpu."
    )
  return ""


def _to_ascii(error):
  """Replaces what an encoding lacks by ASCII, for `codecs.register_error`."""
  if not isinstance(error, UnicodeEncodeError):
    raise error
  replaced = "".join(map(_symbol, error.object[error.start : error.end]))
  return replaced, error.end


def _symbol(character):
  if character in _ASCII:
    return _ASCII[character]
  plain = unicodedata.normalize("NFKD", character)
  return plain.encode("ascii", "ignore").decode() or "?"
