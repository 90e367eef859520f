#!/usr/bin/env bash
# Makes .venv from requirements.txt when it is missing or out of date, and
# puts it first on PATH. Sourced by the other scripts from the project's root.
#   PYTHON   the interpreter to make it with (3.11 or 3.12; found if not set)

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
    if "$candidate" -c 'import sys
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "launch: no Python 3.11 or 3.12 found: install one or set PYTHON" >&2
  return 1
}

make_environment() {
  # The copy of the requirements is written last: an install that was cut short
  # is done again.
  if cmp -s requirements.txt .venv/requirements.txt; then return; fi
  local python
  python=$(find_python)
  echo "launch: installing requirements.txt into .venv with $python" >&2
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r requirements.txt
  cp requirements.txt .venv/requirements.txt
}

make_environment
PATH="$PWD/.venv/bin:$PATH"
export PATH
