#!/usr/bin/env bash
# The job after all others of a run: finish.sh RUN. It starts however they ended (afterany), so what a failing case left is merged and
# reported too; its exit code says whether all is there.
set -uo pipefail
run=$1
. "$run/site.sh" || exit 1
case ${SLURM_JOB_ID:+$run} in # Slurm cannot name such a log
  *\\*) exec >>"$run/logs/finish-$SLURM_JOB_ID.log" 2>&1 ;;
esac
if [ ${#modules[@]} -gt 0 ]; then module purge && module load "${modules[@]}" || { printf 'modules do not load\n'; exit 1; }; fi
[ -n "$hdf5_file_locking" ] && export HDF5_USE_FILE_LOCKING=$hdf5_file_locking
exec "$repository/jobs/finish" "$run"
