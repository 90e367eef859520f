#!/usr/bin/env bash
# Measures speed on one GPU beside PyTorch on the same GPU, and beside
# scikit-learn, pandas and dit on the CPU: the tables "On a GPU" of
# experiments/RESULTS.md. Install '.[bench]' into .venv first: rows that compare
# with a missing package are left out. It takes nearly ten minutes. Without a GPU
# it measures the CPU: give another folder then.
#   ACCELERATOR=cuda13 bash launch/gpu_tables.sh [FOLDER]
# FOLDER, runs/tables if not given, receives one JSON file for each suite.
#   ROUNDS   rounds of each comparison; 7 if unset
#   SUITES   names of suites, separated by spaces; all of the five if unset
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

for suite in ${SUITES:-train estimators pid interference moe}; do
  python -m experiments.benchmarks --suite="$suite" --rounds="${ROUNDS:-7}" \
    --output="${1:-runs/tables}/gpu_$suite.json"
done
