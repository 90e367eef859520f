#!/usr/bin/env bash
# A run for every combination of the values of some flags, one after the other,
# each in a folder of its own:
#   bash launch/sweep.sh runs/sweep learning_rate=1e-3,3e-4 dropout=0,0.1 -- \
#     --flagfile=experiments/recipes/digits.flags
#   DRY_RUN=1 bash launch/sweep.sh ...           prints what would run
# Runs that are finished are passed over, one that was stopped goes on. In a
# SLURM job array each task does one of the runs.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  echo "launch: give a folder, NAME=VALUE,VALUE ... and -- FLAGS" >&2
  exit 2
}

[ $# -ge 2 ] || usage
folder=$1
shift
names=("")
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ "$1" == *=* ]] || usage
  IFS=, read -ra values <<<"${1#*=}"
  longer=()
  for so_far in "${names[@]}"; do
    for value in "${values[@]}"; do
      longer+=("${so_far:+$so_far }${1%%=*}=$value")
    done
  done
  names=("${longer[@]}")
  shift
done
[ $# -gt 0 ] || usage
shift

if [ -z "${DRY_RUN:-}" ]; then
  # shellcheck source=launch/environment.sh
  source launch/environment.sh
fi
for i in "${!names[@]}"; do
  if [ "${SLURM_ARRAY_TASK_ID:-$i}" != "$i" ]; then continue; fi
  read -ra settings <<<"${names[$i]}"
  workdir=$folder/$(IFS=,; echo "${settings[*]}")
  command=(python -m experiments.train "$@" "${settings[@]/#/--}"
    "--workdir=$workdir")
  if [ -n "${DRY_RUN:-}" ]; then
    echo "${command[*]}"
  elif [ -e "$workdir/results.json" ]; then
    echo "launch: $workdir is finished" >&2
  else
    "${command[@]}"
  fi
done
