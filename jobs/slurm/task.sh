#!/usr/bin/env bash
# One task of a job array, submitted by jobs/submit: runs its units one after another and survives the cluster.
#   task.sh RUN TASKS [INDEX]       RUN: the run's folder; TASKS: RUN/tasks/ARRAY; INDEX: the array's unless there is no Slurm
#
# On USR1 (sent before the time limit) and TERM (preemption) the program is asked to stop, stops with exit 75 and a checkpoint, and the
# job puts itself back into the queue. Each start runs `study --resume`, which checks what is there and goes on. A unit that fails does
# not stop those after it.
set -uo pipefail
run=$1 tasks=$2 index=${3:-${SLURM_ARRAY_TASK_ID:-0}}
. "$run/site.sh" && . "$tasks/request.sh" || exit 1
case ${SLURM_JOB_ID:+$run} in # Slurm cannot name such a log
  *\\*) exec >>"$run/logs/${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}_$index.log" 2>&1 ;;
esac
say() { printf '%s %s\n' "$(date +%FT%T)" "$*"; }

restart=${SLURM_RESTART_COUNT:-0}
job=${SLURM_JOB_ID:-local$$}
name=${tasks##*/}-$index
attempt=$run/attempts/$name.$job.$restart.jsonl
failed_list=$run/attempts/$name.$job.failed
event() { printf "$@" >>"$attempt"; }

# This task as a job of this run, `4711_3`: by the number that jobs/submit noted when sbatch had given it. Empty in any other job (a shell
# of salloc, say), of which Slurm is asked nothing. Seconds: how long to wait for the note, which may be written or seen after the start.
own_job() {
  local noted i
  [ -n "${SLURM_ARRAY_JOB_ID:-}" ] && [ "${SLURM_ARRAY_TASK_ID:-}" = "$index" ] || return 0
  for ((i = 0; i <= $1; i++)); do
    [ "$i" = 0 ] || sleep 1
    noted=$(sed -n "s/^ *\"${tasks##*/}\": \"\([0-9]*\)\",\{0,1\}$/\1/p" "$run/manifest.json")
    [ -n "$noted" ] && break
  done
  [ "$noted" = "$SLURM_ARRAY_JOB_ID" ] && printf '%s_%s' "$noted" "$index"
}

# What Slurm knows of this job: `field SubmitTime`; times as seconds since 1970, 0 when unknown.
ask_slurm() { job_line=$(SLURM_TIME_FORMAT=standard scontrol show job -o "$own" 2>/dev/null | head -n 1); }
own=$(own_job 5) job_line=
[ -n "$own" ] && ask_slurm
field() { local rest=${job_line#*" $1="}; [ "$rest" != "$job_line" ] && printf '%s' "${rest%% *}"; }
seconds_of() { local time; time=$(field "$1") && date -d "${time:-never}" +%s 2>/dev/null || printf 0; }

start=$(date +%s)
event '{"event": "start", "task": "%s", "job": "%s", "restart": %d, "submit": %d, "eligible": %d, "start": %d, "nodes": %d, "node_list": "%s", "ranks": %d, "threads": %d, "cpus": %d}\n' \
  "$name" "${SLURM_ARRAY_JOB_ID:-$job}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}" "$restart" "$(seconds_of SubmitTime)" \
  "$(seconds_of EligibleTime)" "$start" "${SLURM_JOB_NUM_NODES:-1}" "${SLURM_JOB_NODELIST:-$(hostname)}" "$ranks" "$threads" \
  "$((ranks * threads))"
say "task $name, attempt $((restart + 1)) of at most $max_tries, on ${SLURM_JOB_NODELIST:-$(hostname)}: $ranks rank(s) x $threads thread(s)"

if [ ${#modules[@]} -gt 0 ]; then module purge && module load "${modules[@]}" || { say "modules do not load: ${modules[*]}"; exit 1; }; fi
[ -n "$hdf5_file_locking" ] && export HDF5_USE_FILE_LOCKING=$hdf5_file_locking
export OMP_NUM_THREADS=$threads
if [ -n "${SLURM_JOB_ID:-}" ]; then
  export SRUN_CPUS_PER_TASK=$threads # srun takes sbatch's --cpus-per-task no more since Slurm 22.05
  export SLURM_EXPORT_ENV=ALL
  # With the other way, its default, a PMIx fence without data ends on each node by itself (Slurm 22.05.8): ranks leave MPI_Init before others
  # can take their messages, which then end in a call of address 0.
  export SLURM_PMIX_FENCE=${SLURM_PMIX_FENCE:-ring}
fi
. "$repository/jobs/setup/mpi.sh"
if [ -n "${SLURM_CPUS_ON_NODE:-}" ] && [ "$SLURM_CPUS_ON_NODE" -lt "$((ranks_per_node * threads))" ]; then
  say "warning: $ranks_per_node rank(s) x $threads thread(s) share $SLURM_CPUS_ON_NODE processors of a node"
fi

child= signal=
ask_to_stop() {
  signal=$1 interrupted=true
  event '{"event": "signal", "signal": "%s", "time": %d}\n' "$1" "$(date +%s)"
  say "$1: asking the program to stop"
  # USR1 in both cases: launchers hand it on to the ranks, and end them on TERM.
  [ -n "$child" ] && kill -USR1 "$child" 2>/dev/null
}
trap 'ask_to_stop USR1' USR1
trap 'ask_to_stop TERM' TERM

never_ran=99

# Runs a unit and leaves its exit code in `code`. A signal cuts a wait short, and its code is not the unit's then.
run_unit() {
  local unit=$1 begin
  shift
  begin=$(date +%s)
  say "unit $unit: ${words[*]} $*"
  rm -f "$run/records/$unit.json"
  "${launch[@]}" "$binary" "${words[@]}" "$@" --json "$run/records/$unit.json" &
  child=$!
  interrupted=true
  while $interrupted; do
    interrupted=false
    wait "$child"
    code=$?
  done
  child=
  # A launcher that could not start the ranks may say that all is well.
  [ "$code" = 0 ] && [ ! -e "$run/records/$unit.json" ] && code=$never_ran
  event '{"event": "unit", "unit": "%s", "start": %d, "end": %d, "exit": %d}\n' "$unit" "$begin" "$(date +%s)" "$code"
  say "unit $unit: exit $code"
}

# Whether Slurm took the job back. One that is on its way out was cancelled, or is requeued already.
requeued=false
requeue() {
  [ -n "${SLURM_JOB_ID:-}" ] || return 0
  own=$(own_job 60)
  if [ -z "$own" ]; then
    say "not requeued: job $SLURM_JOB_ID is none that this run has submitted"
    return 0
  fi
  if [ $((restart + 1)) -ge "$max_tries" ]; then
    say "this was attempt $((restart + 1)) of $max_tries: not requeued; jobs/submit --continue goes on"
    return 0
  fi
  ask_slurm
  case $(field JobState) in
    RUNNING)
      scontrol requeue "$own"
      case $? in 0 | 143) requeued=true ;; esac # it may itself be ended with the job
      ;;
    *) say "not requeued: the job is $(field JobState)" ;;
  esac
}

finish() {
  event '{"event": "end", "end": %d, "exit": %d, "requeued": %s}\n' "$(date +%s)" "$1" "$requeued"
  say "task $name: exit $1, $SECONDS s"
  exit "$1"
}

cd "$folder" || { say "$folder is not there"; exit 1; }
mapfile -d '' -t words <"$run/study.args"
stopped=false crashed=false failed=false
mapfile -t units <"$tasks/$index.units"
for i in "${!units[@]}"; do
  read -r unit options <<<"${units[i]}"
  if grep -qsx "$unit" "$failed_list"; then # bad usage, in an earlier attempt of this job
    failed=true
    continue
  fi
  read -r -a options <<<"$options"
  run_unit "$unit" "${options[@]}"
  # 138 and 143: ended by USR1 or TERM, which reached the program sooner than this script, or before it listened.
  if [ "$code" = 75 ] || [ "$code" = 138 ] || [ "$code" = 143 ] || { [ -n "$signal" ] && [ "$code" != 0 ]; }; then
    stopped=true
  elif [ "$code" = 2 ]; then
    failed=true
    printf '%s\n' "$unit" >>"$failed_list"
  elif [ "$code" != 0 ]; then # an INVALID case, or killed: by the kernel for memory, with its node, ...
    crashed=true
  fi
  # The next unit would be stopped at once.
  [ -n "$signal" ] && [ $((i + 1)) -lt ${#units[@]} ] && stopped=true
  $stopped && break
done

crash_mark=$run/attempts/$name.$job.crashed
if $stopped; then
  rm -f "$crash_mark"
  requeue
  finish 75
elif $crashed; then
  # A node may have been at fault. After two in a row it takes a person; --continue asks for more memory where it was killed.
  [ -e "$crash_mark" ] || requeue
  touch "$crash_mark"
  finish 1
fi
if $failed; then finish 1; fi
finish 0
