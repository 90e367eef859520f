#!/usr/bin/env bash
# Trains one run for every combination of the values of some flags, one after
# another, each with its own workdir:
#   bash launch/sweep.sh runs/sweep learning_rate=1e-3,3e-4 dropout=0,0.1 -- \
#     --flagfile=experiments/recipes/digits.flags
#   DRY_RUN=1 bash launch/sweep.sh ...           only prints the commands
# Finished runs are skipped, and a stopped run continues. In a SLURM job array,
# each task trains one of the runs.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  echo "launch: give a folder, NAME=VALUE,VALUE ... and -- FLAGS" >&2
  exit 2
}

[ $# -ge 2 ] || usage
folder=$1
shift
combinations=("")
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ "$1" == *=* ]] || usage
  IFS=, read -ra values <<<"${1#*=}"
  extended=()
  for prefix in "${combinations[@]}"; do
    for value in "${values[@]}"; do
      extended+=("${prefix:+$prefix }${1%%=*}=$value")
    done
  done
  combinations=("${extended[@]}")
  shift
done
[ $# -gt 0 ] || usage
shift

if [ -z "${DRY_RUN:-}" ]; then
  # shellcheck source=launch/environment.sh
  source launch/environment.sh
fi
for i in "${!combinations[@]}"; do
  if [ "${SLURM_ARRAY_TASK_ID:-$i}" != "$i" ]; then continue; fi
  read -ra settings <<<"${combinations[$i]}"
  workdir=$folder/$(IFS=,; echo "${settings[*]}")
  command=(python -m experiments.train "$@" "${settings[@]/#/--}"
    "--workdir=$workdir")
  if [ -n "${DRY_RUN:-}" ]; then
    echo "${command[*]}"
  elif [ -e "$workdir/results.json" ]; then
    echo "launch: skipping $workdir, which is finished" >&2
  else
    "${command[@]}"
  fi
done
