# What the scripts beside this one share: which cell of a sweep a task is, and how its stage is run and put back.
#
# Where things are, from the environment (`vsr sweep submit` sets them):
#   VSR_RUNS    the folder of run folders                    (default: runs)
#   VSR_PYTHON  the Python that has vsr                      (default: python)
#   VSR_CELL    without Slurm: the number of the list's line, from 0; under Slurm it is the array task's

set -euo pipefail
runs=${VSR_RUNS:-runs}
progress=        # a stage of this script has ended in this life of the task
trap : TERM USR1 # meant for the stage: it saves and ends with 75, and this shell waits for it
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it over from sbatch
devices=(--trainer.devices "${SLURM_NTASKS_PER_NODE:-1}" --trainer.num_nodes "${SLURM_JOB_NUM_NODES:-1}")

refuse() {
    echo "vsr: error: $*" >&2
    exit 2
}

# take_line LIST: the cell. Sets $line, a dataset or the path of a config, $dataset, its name, and $config, of pre-training.
take_line() {
    local number=${SLURM_ARRAY_TASK_ID:-${VSR_CELL:-}}
    [[ $number =~ ^[0-9]+$ ]] || refuse "which line of the list? Submit an array: sbatch --array=0-27 SCRIPT LIST"
    [ -f "${1:-}" ] || refuse "no list ${1:-}: give a file with a dataset on each line, such as slurm/sweep28.txt"
    line=$(sed -n "$((number + 1))p" -- "$1")
    case $line in
        *.yaml) config=$line dataset=$(basename -- "$line" .yaml) ;;
        *) config=configs/pretrain/$line.yaml dataset=$line ;;
    esac
    [[ $dataset =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] || refuse "line $number of $1 (from 0) names no dataset: '$line'"
    echo "== $(date '+%F %T') $dataset, life ${SLURM_RESTART_COUNT:-0} on $(hostname)"
}

# start WORDS...: vsr, one process for each GPU; sets $status.
# --wait: when one process has ended, the others get a minute, so that none waits for a dead one for ever.
start() {
    local vsr=("${VSR_PYTHON:-python}" -m vsr)
    status=0
    if [ -n "${SLURM_JOB_ID:-}" ]; then
        srun --wait=60 "${vsr[@]}" "$@" || status=$?
    else
        "${vsr[@]}" "$@" || status=$?
    fi
}

# train DONE WORDS...: a fit, which goes on from its last checkpoint. DONE is the file that says that it is at its end.
train() {
    local done_file=$1
    shift
    if [ -e "$done_file" ]; then
        echo "trained already: $done_file"
        return
    fi
    start fit "$@" --ckpt_path last "${devices[@]}"
    case $status in
        # 75: stopped by a signal, and saved. 138: USR1 came before anything could catch it, so nothing is lost.
        75 | 138) put_back ;;
        0) [ -e "$done_file" ] || refuse "the fit ended without $done_file: its dataset must be called $dataset" ;;
        *) exit "$status" ;;
    esac
    progress=1
}

# measure RESULT WORDS...: a test or an analysis, which can't be cut in two: it begins again if it is stopped.
measure() {
    local result=$1
    shift
    if [ -e "$result" ]; then
        echo "measured already: $result"
        return
    fi
    start "$@"
    # Where it had a whole life of its own and was stopped, another would not be enough, either.
    case $status in 75 | 138) if [ -n "$progress" ]; then put_back; fi ;; esac
    [ "$status" = 0 ] || exit "$status"
    [ -e "$result" ] || refuse "$1 ended without $result"
    progress=1
}

# Have Slurm run this task again, and end. Not after scancel: a task that is put back would live again.
put_back() {
    local task=${SLURM_JOB_ID:-}
    # Not the plain job id: that of the array's last task is the array's own, and all of it would run again.
    if [ -n "${SLURM_ARRAY_JOB_ID:-}" ]; then task=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
    if [ -z "$task" ]; then
        echo "stopped and saved: the same command goes on"
    elif ! command -v scontrol >/dev/null; then
        echo "stopped and saved; there is no scontrol on $(hostname): vsr sweep resubmit takes this cell up" >&2
    elif [[ $(scontrol show job -o "$task") == *" JobState=RUNNING "* ]]; then
        echo "stopped and saved: $task goes back into the queue"
        scontrol requeue "$task"
    else
        echo "stopped and saved: $task was cancelled, or Slurm itself puts it back"
    fi
    exit 75
}
