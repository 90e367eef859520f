#!/usr/bin/env bash
# Trains the main recipe on this machine, in one process. Flags are passed on:
#   bash launch/local.sh --num_seeds=3 --workdir=runs/mine
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh
exec python -m experiments.train \
  --flagfile=experiments/recipes/digits.flags --workdir=runs/digits "$@"
