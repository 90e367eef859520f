#!/usr/bin/env bash
# Makes all runs and measurements behind experiments/RESULTS.md and writes their
# tables into the documents: a study, the recipes at embedding scales 1 and auto,
# the analyses, the estimators, speed and faults. Install '.[bench]' first:
# without PyTorch, pandas and dit, rows that compare with them are left out.
#   bash launch/tables.sh [FOLDER OF CMU-MOSI]
# Without this folder the runs on CMU-MOSI are left out. Spoken digits are read
# from the folder spoken_digits beside it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=launch/environment.sh
source launch/environment.sh

# The quick study, its time against one process per run, and a picture of its
# report.
python -m experiments.benchmarks --suite=study --workdir=runs/tables/study \
  ${1:+--data_dir="$1/npz"} --output=runs/tables/benchmark_study.json
if command -v chromium >/dev/null; then
  chromium --headless --no-sandbox --hide-scrollbars --window-size=1180,1560 \
    --screenshot=experiments/figures/report.png \
    "file://$PWD/runs/tables/study/report.html"
fi

# Whether the gate and auto are ever worse than uniform; the level of the tests.
python -m experiments.benchmarks.gate --workdir=runs/tables/gate \
  ${1:+--data_dir="$1/.."} --output=runs/tables/gate.json
for split in train valid; do
  python -m experiments.benchmarks.gate --workdir=runs/tables/gate_$split \
    --seed=200 --weighting=uniform,mi,kl+mi --information_from=$split \
    ${1:+--data_dir="$1/.."} --output=runs/tables/gate_information_$split.json
done
python -m experiments.benchmarks.joint_test --output=runs/tables/joint_test.json

# The methods that balance modalities, tuned alike.
python -m experiments.study --flagfile=balance --workdir=runs/tables/balance \
  ${1:+--data_dirs=mosi_npz="$1/npz",spoken_digits="$1/../spoken_digits"}

SUFFIX=""
train() {
  local recipe=$1
  shift
  for scale in 1 auto; do
    python -m experiments.train --embedding_scale=$scale \
      --flagfile="experiments/recipes/$recipe.flags" \
      --workdir="runs/tables/$recipe$SUFFIX-$scale" "$@"
  done
}

# Trains a recipe with a sparse mixture of experts; its workdir ends in _moe.
train_moe() {
  SUFFIX=_moe train "$@" --model=moe --num_seeds=5
}

train digits
train digits_clean
train diabetes
train_moe digits
train_moe digits_clean
if [ $# -gt 0 ]; then
  train mosi_npz --data_dir="$1/npz"
  train mosi_csv --data_dir="$1"
  train_moe mosi_npz --data_dir="$1/npz"
fi

# What each modality knows about the decisions, before and after weighting.
interactions() {
  local data=$1 recipe=$2
  shift 2
  python -m experiments.train --flagfile="experiments/recipes/$recipe.flags" \
    --weighting=uniform,kl+mi,pid --num_seeds=5 \
    --workdir="runs/tables/pid_$data" "$@"
  python -m experiments.analyze_interactions --workdir="runs/tables/pid_$data" \
    --output="runs/tables/interactions_$data.json"
}

interactions digits digits --modalities=pixels,fourier,noise0
cp runs/tables/interactions_digits_pixels_rest.png \
  experiments/figures/interactions.png
if [ $# -gt 0 ]; then
  interactions mosi mosi_npz --data_dir="$1/npz"
  python -m experiments.analyze_interactions --workdir=runs/tables/pid_mosi \
    --control=text --output=runs/tables/interactions_sensory.json
fi

# Interference of each modality, with no mitigation, with each one and with all.
MITIGATIONS=(none heuristic adversarial consistency all)
robust() {
  local data=$1 name mitigation
  shift
  for name in "${MITIGATIONS[@]}"; do
    case $name in
      none) mitigation="" ;;
      all) mitigation=heuristic,adversarial,consistency ;;
      *) mitigation=$name ;;
    esac
    python -m experiments.train \
      --flagfile="experiments/recipes/robust_$data.flags" \
      --mitigation="$mitigation" --workdir="runs/tables/robust_$data/$name" "$@"
  done
}
# Prints the workdirs of some mitigations, separated by commas.
workdirs_of() {
  local data=$1 workdirs
  shift
  workdirs=$(printf ",runs/tables/robust_$data/%s" "$@")
  echo "${workdirs#,}"
}
diagnose() {
  local output=$1 workdirs=$2
  shift 2
  python -m experiments.diagnose_interference --workdir="$workdirs" \
    --output="runs/tables/interference_$output.json" "$@"
}
robust digits
diagnose digits "$(workdirs_of digits "${MITIGATIONS[@]}")"
diagnose heat "$(workdirs_of digits none all)"
cp runs/tables/interference_heat.png experiments/figures/interference.png
if [ $# -gt 0 ]; then
  robust mosi --data_dir="$1/npz"
  diagnose mosi "$(workdirs_of mosi none)" --instead=noise,mismatch,missing
  diagnose weak "$(workdirs_of mosi "${MITIGATIONS[@]}")" \
    --modalities=audio,video
fi

# The experts that the modalities use.
python -m experiments.plot_routing --workdir=runs/tables/digits_moe-1 \
  --apart=noise0,noise1,noise2 --picture=experiments/figures/routing.png \
  --output=runs/tables/routing.json

# Accuracy of the estimators, speed and faults.
python -m experiments.benchmarks.estimator_accuracy \
  --output=runs/tables/beyond_normal.json
python -m experiments.benchmarks --suite=gate --rounds=3 \
  --output=runs/tables/benchmark_gate.json
for suite in train step_parts estimators moe moe_limit data scaling memory turns pid \
  interference balance interface audit pretrained parity compiling; do
  python -m experiments.benchmarks --suite=$suite \
    --output=runs/tables/benchmark_$suite.json
done
python -m experiments.benchmarks.fault_recovery --kills=20 \
  --output=runs/tables/survive.json

python -m experiments.benchmarks.result_tables
