#!/usr/bin/env bash
#SBATCH --job-name=btw_jax
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# Starts one run on the nodes of a SLURM job, one process on each node. All nodes
# must share the disk of the workdir. Submit it from the root of the project:
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh \
#     --flagfile=experiments/recipes/mosei_moe.flags --workdir=/shared/mosei
#   DRY_RUN=1 bash launch/slurm.sh FLAGS         only prints the command
#   PROGRAM=train                                program of experiments/
#   ACCELERATOR=cuda13                           accelerator of the nodes
# Two minutes before its time limit, or when it is preempted, the run saves a
# checkpoint and ends with status 143. The job is queued again and continues.
set -euo pipefail

command=(python -m "experiments.${PROGRAM:-train}" --cluster=slurm "$@")
if [ -n "${DRY_RUN:-}" ]; then
  echo "srun --kill-on-bad-exit=1 ${command[*]}"
  exit
fi
# SLURM runs a copy of this file from another folder.
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch from the root of the project}"
# shellcheck source=launch/environment.sh
source launch/environment.sh

status=0
srun --kill-on-bad-exit=1 "${command[@]}" &
trap 'kill -TERM $!' TERM
# A signal interrupts `wait`, so that it is repeated while srun runs.
wait $! || status=$?
while kill -0 $! 2>/dev/null; do wait $! || status=$?; done
if [ $status -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
