#!/usr/bin/env bash
# Lint and the whole test suite. Further arguments go to pytest:
#   bash launch/test.sh tests/weighting_test.py
# Tests of the report's page need Chromium, those of its LaTeX pdflatex; both are
# skipped where they are not there:
#   apt-get install chromium texlive-latex-base texlive-latex-recommended
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh
ruff check .
ruff format --check .
# One process per core, each with one thread: compiling is what takes the time.
exec python -m pytest -n "${TEST_PROCESSES:-auto}" "$@"
