#!/usr/bin/env bash
# Lint and the whole test suite. Further arguments go to pytest:
#   bash launch/test.sh tests/weighting_test.py
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh
ruff check .
ruff format --check .
# One process per core, each with one thread: compiling is what takes the time.
exec python -m pytest -n "${TEST_PROCESSES:-auto}" "$@"
