#!/usr/bin/env bash
# Lints the project and runs its tests. The times are for two quiet cores.
#   bash launch/test.sh --quick   pure functions and readers of files: 90 s
#   bash launch/test.sh           also what trains or compiles for long: 8 minutes
#   bash launch/test.sh --all     also whole programs, several processes, runs that
#                                 are killed, pages in a browser: 30 minutes
# Further arguments go to pytest:
#   bash launch/test.sh --all tests/experiments/survival_test.py
# Tests of the report's page need Chromium, tests of its LaTeX need pdflatex; both
# are skipped if these programs are not installed:
#   apt-get install chromium texlive-latex-base texlive-latex-recommended
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

select="not slow"
case "${1:-}" in
  --quick)
    select="not slow and not training"
    shift
    ;;
  --all)
    select=""
    shift
    ;;
esac

ruff check .
ruff format --check .
# One process for each core, with one thread: most of the time goes into compiling.
exec python -m pytest -n "${TEST_PROCESSES:-auto}" -m "$select" "$@"
