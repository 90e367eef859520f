#!/usr/bin/env bash
# Makes the runs and measurements behind the section of experiments/RESULTS.md on
# the multimodal language model, and writes their tables. 90 minutes on two cores.
#   bash launch/language_tables.sh [FOLDER OF THE SPOKEN DIGITS]
# Without this folder the runs on spoken digits are left out.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

train() {
  python -m experiments.train_language --flagfile=questions --num_seeds=3 \
    --workdir="runs/tables/$1" "${@:2}"
}

train questions --num_epochs=12
train questions_robust --start=runs/tables/questions --num_epochs=1 \
  --learning_rate=0.0005 --mitigation=heuristic,adversarial,consistency
# The recipe as it stands, and models that were stopped early.
train questions_recipe --num_seeds=1
train questions_short --num_epochs=2
if [ $# -gt 0 ]; then
  SPOKEN=(--audio=spoken --data_dir="$1" --optimizer=adamw --weight_decay=0.01)
  train spoken "${SPOKEN[@]}" --tasks=spoken,seen,same,both_sum \
    --num_train=18000
  train spoken_alone "${SPOKEN[@]}" --tasks=spoken --num_train=4000
fi

python -m experiments.language_interactions --workdir=runs/tables/questions \
  --output=runs/tables/language_interactions.json
python -m experiments.language_interference --names=plain,trained \
  --workdir=runs/tables/questions,runs/tables/questions_robust \
  --output=runs/tables/language_interference.json
python -m experiments.benchmarks.language_law --workdir=runs/tables/law \
  --output=runs/tables/language_law.json
python -m experiments.finetune_language --workdir=runs/tables/questions_short \
  --output=runs/tables/finetune.json
python -m experiments.benchmarks --suite=language --rounds=5 \
  --output=runs/tables/benchmark_language.json

for picture in language_tasks language_layers language_interference; do
  cp "runs/tables/$picture.png" experiments/figures
done
TABLES=questions/results,questions_recipe/results
TABLES+=,language_interactions.grid,language_interactions.masked
TABLES+=,language_law,language_interference.effects,language_interference.clean
TABLES+=,finetune,benchmark_language
if [ $# -gt 0 ]; then
  TABLES+=,spoken/results,spoken_alone/results
fi
python -m experiments.benchmarks.result_tables --tables="$TABLES" \
  --document=experiments/RESULTS.md
