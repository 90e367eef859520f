"""The command `btw-jax`: all programs under one name.

  btw-jax train --dataset=npz --data_dir=mine --workdir=runs/mine
  btw-jax predict --workdir=runs/mine --data_dir=new

In a clone without installation, `python -m experiments` takes its place.
"""

import ast
import difflib
import importlib
import pathlib
import sys

from . import app


def main() -> None:
  """Starts the program that the first argument names."""
  arguments = sys.argv[1:]
  if not arguments or arguments[0].lstrip("-") in ("help", "h"):
    print(_help())
    return
  name, *flags = arguments
  if name not in app.COMMANDS:
    close = difflib.get_close_matches(name, app.COMMANDS, 1)
    hint = f"did you mean {close[0]}?" if close else ""
    known = f"use one of {', '.join(app.COMMANDS)}."
    print(f"btw-jax: {name!r} is unknown: {hint or known}", file=sys.stderr)
    sys.exit(app.WRONG_INPUT)
  sys.argv = [f"{app.COMMAND} {name}", *flags]
  importlib.import_module(f".{app.COMMANDS[name]}", __package__).start()


def _help():
  """Returns the list of programs, each with the first line of its text."""
  lines = [__doc__.partition("\n\nIn a clone")[0], "", "Programs:"]
  for name, module in app.COMMANDS.items():
    # Without importing it, because it would define its flags.
    source = pathlib.Path(__file__).with_name(f"{module}.py")
    tree = ast.parse(source.read_text(encoding="utf-8"))
    summary = ast.get_docstring(tree).partition("\n")[0]
    lines.append(f"  {name:<23}{summary}")
  lines += ["", "btw-jax PROGRAM --help shows the flags of a program."]
  return "\n".join(lines)


if __name__ == "__main__":
  main()
