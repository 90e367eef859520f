#!/usr/bin/env bash
# The README's tables: every recipe at embedding scale 1 and auto, the
# estimators, and speed (with PyTorch and pandas, if they are installed).
#   bash launch/tables.sh [FOLDER OF CMU-MOSI]
# Without that folder the two recipes on CMU-MOSI are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

train() {
  local recipe=$1
  shift
  for scale in 1 auto; do
    python -m experiments.train --embedding_scale=$scale \
      --flagfile="experiments/recipes/$recipe.flags" \
      --workdir="runs/tables/$recipe-$scale" "$@"
  done
}

train digits
train digits_clean
train diabetes
if [ $# -gt 0 ]; then
  train mosi_npz --data_dir="$1/npz"
  train mosi_csv --data_dir="$1"
fi
python -m experiments.beyond_normal --output=runs/tables/beyond_normal.json
for suite in train estimators; do
  python -m experiments.benchmark --suite=$suite \
    --output=runs/tables/benchmark_$suite.json
done
python -m experiments.readme_tables
