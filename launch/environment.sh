#!/usr/bin/env bash
# Installs requirements.txt into .venv when .venv is missing or out of date, and
# puts .venv first on PATH. The other scripts source this file from the root of
# the project.
#   PYTHON        interpreter of a new .venv; Python 3.11 or 3.12 if unset
#   ACCELERATOR   accelerator that JAX uses besides CPUs: cuda12, cuda13 or tpu

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.12 python3.11 python3}; do
    if "$candidate" -c 'import sys
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "launch: there is no Python 3.11 or 3.12: install one or set PYTHON" >&2
  return 1
}

make_environment() {
  # The file wanted.txt is written last, so that an interrupted installation is
  # repeated.
  local wanted python
  wanted=$(cat requirements.txt && echo "# ${ACCELERATOR:-cpu}")
  if [ "$wanted" = "$(cat .venv/wanted.txt 2>/dev/null)" ]; then return; fi
  python=$(find_python)
  echo "launch: installing requirements.txt into .venv with $python" >&2
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -r requirements.txt ${ACCELERATOR:+"jax[$ACCELERATOR]"}
  echo "$wanted" >.venv/wanted.txt
}

make_environment
PATH="$PWD/.venv/bin:$PATH"
export PATH
