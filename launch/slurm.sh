#!/usr/bin/env bash
#SBATCH --job-name=btw_jax
#SBATCH --ntasks-per-node=1
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# One run on the nodes of a SLURM job, a process on each; from the project's
# root, the workdir on a disk that all of them share:
#   sbatch --nodes=4 --gpus-per-node=8 launch/slurm.sh \
#     --flagfile=experiments/recipes/mosei_moe.flags --workdir=/shared/mosei
#   DRY_RUN=1 bash launch/slurm.sh FLAGS         prints what would run
#   ACCELERATOR=cuda13                           of the nodes
# Two minutes before its time is up, or when it is preempted, the run saves and
# ends with status 143; the job is then put back into the queue and goes on.
set -euo pipefail

command=(python -m "experiments.${PROGRAM:-train}" --cluster=slurm "$@")
if [ -n "${DRY_RUN:-}" ]; then
  echo "srun --kill-on-bad-exit=1 ${command[*]}"
  exit
fi
# SLURM runs a copy of this file from elsewhere.
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch from the root of the project}"
# shellcheck source=launch/environment.sh
source launch/environment.sh

status=0
srun --kill-on-bad-exit=1 "${command[@]}" &
trap 'kill -TERM $!' TERM
# A wait that a signal cut short is taken up again.
wait $! || status=$?
while kill -0 $! 2>/dev/null; do wait $! || status=$?; done
if [ $status -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
