#!/usr/bin/env bash
# Starts one run on N processes of this machine, which communicate as the
# processes of a cluster do:
#   bash launch/local_cluster.sh 2 --flagfile=experiments/recipes/digits.flags
#   DRY_RUN=1 bash launch/local_cluster.sh 2     only prints the commands
#   PROGRAM=train                                program of experiments/
#   DEVICES=2                                    CPU devices of each process
#   PORT=12321                                   port of the first process
set -euo pipefail
cd "$(dirname "$0")/.."

if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
  echo "launch: give a number of processes: launch/local_cluster.sh 2" >&2
  exit 2
fi
count=$1
shift
program=${PROGRAM:-train}
export BTW_JAX_COORDINATOR=localhost:${PORT:-12321}
export BTW_JAX_NUM_PROCESSES=$count
if [ -n "${DEVICES:-}" ]; then
  XLA_FLAGS="${XLA_FLAGS:-} --xla_force_host_platform_device_count=$DEVICES"
  export XLA_FLAGS
fi

if [ -n "${DRY_RUN:-}" ]; then
  for ((i = 0; i < count; i++)); do
    echo "BTW_JAX_COORDINATOR=$BTW_JAX_COORDINATOR" \
      "BTW_JAX_NUM_PROCESSES=$count BTW_JAX_PROCESS_ID=$i" \
      "python -m experiments.$program --cluster=env $*"
  done
  exit
fi

# shellcheck source=launch/environment.sh
source launch/environment.sh
# The script ends with the status of the first process that failed, in the order
# of their numbers. Ctrl-C and SIGTERM are passed on to all processes.
trap 'kill -TERM $(jobs -p) 2>/dev/null || true' TERM INT
pids=()
for ((i = 0; i < count; i++)); do
  BTW_JAX_PROCESS_ID=$i python -m "experiments.$program" --cluster=env "$@" &
  pids+=($!)
done
status=0
for pid in "${pids[@]}"; do
  # A signal interrupts `wait`, so that it is repeated while the process runs.
  while kill -0 "$pid" 2>/dev/null; do wait "$pid" || true; done
  wait "$pid" || { code=$?; [ $status -ne 0 ] || status=$code; }
done
exit $status
