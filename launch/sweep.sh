#!/usr/bin/env bash
# Trains one run for every combination of the values of some flags, one after
# another, each with its own workdir:
#   bash launch/sweep.sh runs/sweep learning_rate=1e-3,3e-4 dropout=0,0.1 -- \
#     --flagfile=experiments/recipes/digits.flags
#   DRY_RUN=1 bash launch/sweep.sh ...           only prints the commands
# Runs that are finished are not trained again, and a stopped run continues. In
# a SLURM job array, each task trains one of the runs.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "launch: $1" >&2
  exit 2
}

usage="give a folder, NAME=VALUE,VALUE ... and -- FLAGS"
if [ $# -lt 2 ] || [ -z "$1" ]; then fail "$usage"; fi
folder=$1
shift
# Settings of a combination are joined by a character that no value has.
separator=$'\x1f'
combinations=("")
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [[ "$1" =~ ^[a-z][a-z0-9_]*=. ]] || fail "$usage, not $(printf %q "$1")"
  if [[ "$1" =~ [[:cntrl:]] ]]; then
    fail "${1%%=*}: a value has a control character: leave it out"
  fi
  IFS=, read -ra values <<<"${1#*=}"
  repeated=$(printf '%s\n' "${values[@]}" | sort | uniq -d)
  [ -z "$repeated" ] || fail "${1%%=*}: has ${repeated%%$'\n'*} twice"
  extended=()
  for prefix in "${combinations[@]}"; do
    for value in "${values[@]}"; do
      extended+=("${prefix:+$prefix$separator}${1%%=*}=$value")
    done
  done
  combinations=("${extended[@]}")
  shift
done
if [ $# -eq 0 ] || [ -z "${combinations[0]}" ]; then fail "$usage"; fi
shift

task=${SLURM_ARRAY_TASK_ID:-}
if [ -n "$task" ]; then
  last=$((${#combinations[@]} - 1))
  if ! [[ "$task" =~ ^[0-9]+$ ]] || [ "$task" -gt "$last" ]; then
    fail "SLURM_ARRAY_TASK_ID=$task: give the tasks 0 to $last: --array=0-$last"
  fi
fi
if [ -z "${DRY_RUN:-}" ]; then
  # shellcheck source=launch/environment.sh
  source launch/environment.sh
fi
for i in "${!combinations[@]}"; do
  if [ "${task:-$i}" != "$i" ]; then continue; fi
  IFS=$separator read -ra settings <<<"${combinations[$i]}"
  # A value may be a path; the workdir stays in the folder.
  name=$(IFS=,; echo "${settings[*]}")
  name=${name//%/%25}
  workdir=$folder/${name//\//%2F}
  command=(python -m experiments.train "$@" "${settings[@]/#/--}"
    "--workdir=$workdir")
  if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' "${command[@]}"
    echo
  else
    "${command[@]}"
  fi
done
