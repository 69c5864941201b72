#!/usr/bin/env bash
# mpirun's remote shell (plm_rsh_agent) for the hosts of hosts.sh: hosts_agent.sh HOST COMMAND...
# Like ssh it hands no environment on.
while [[ $1 == -* ]]; do shift; done
host=$1
shift
exec nsenter --target "$(cat "/run/hosts/$host")" --all -- env -i HOME="$HOME" PATH="$PATH" bash -c "$*"
