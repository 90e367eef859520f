#!/usr/bin/env bash
# Copies this project to all workers of a Cloud TPU VM and starts one run there.
# All workers must mount the disk or bucket of the workdir:
#   bash launch/tpu_vm.sh NAME ZONE --flagfile=experiments/recipes/digits.flags \
#     --workdir=/mnt/shared/digits
#   DRY_RUN=1 bash launch/tpu_vm.sh NAME ZONE FLAGS     only prints the commands
set -euo pipefail
cd "$(dirname "$0")/.."

if [ $# -lt 2 ]; then
  echo "launch: give name and zone: launch/tpu_vm.sh my-tpu us-central2-b" >&2
  exit 2
fi
name=$1
zone=$2
shift 2
program=experiments.${PROGRAM:-train}
quoted=$(printf ' %q' "$@")
remote="cd btw_jax && ACCELERATOR=tpu source launch/environment.sh &&"
remote+=" python -m $program --cluster=tpu$quoted"
copy=(gcloud compute tpus tpu-vm scp --recurse --worker=all "--zone=$zone"
  btw_jax experiments launch requirements.txt setup.cfg pyproject.toml
  "$name:btw_jax/")
make=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" --worker=all
  "--command=mkdir -p btw_jax")
start=(gcloud compute tpus tpu-vm ssh "$name" "--zone=$zone" --worker=all
  "--command=$remote")

if [ -n "${DRY_RUN:-}" ]; then
  echo "${make[*]@Q}"
  echo "${copy[*]@Q}"
  echo "${start[*]@Q}"
  exit
fi
"${make[@]}"
"${copy[@]}"
exec "${start[@]}"
