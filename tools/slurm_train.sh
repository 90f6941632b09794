#!/usr/bin/env bash
# Train on a Slurm cluster, one task per GPU. With --resume auto, a run that Slurm stops is queued again.
# Usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [OPTIONS]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (5), SRUN_ARGS; PYTHON (the interpreter).
set -euo pipefail
if [ $# -lt 3 ]; then sed -n '2,4s/^# //p' "$0" >&2; exit 2; fi
PARTITION=$1 JOB_NAME=$2
shift 2
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
while true; do
    code=0
    # shellcheck disable=SC2086  # SRUN_ARGS is a list of words
    srun -p "$PARTITION" --job-name="$JOB_NAME" \
        --gres="gpu:$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$@" --launcher slurm || code=$?
    # 75: the run was told to stop, and has written a checkpoint
    if [ "$code" != 75 ] || [[ " $* " != *" --resume auto "* ]]; then exit "$code"; fi
    # within a batch job, Slurm starts the job again; otherwise srun asks for a new one
    if [ -n "${SLURM_JOB_ID:-}" ]; then exec scontrol requeue "$SLURM_JOB_ID"; fi
done
