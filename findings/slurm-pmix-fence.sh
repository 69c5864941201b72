#!/usr/bin/env bash
# Slurm 22.05.8 (Debian 12), srun --mpi=pmix, libpmix2 4.2.2: on fewer nodes than TreeWidth (50 unless slurm.conf says otherwise) a PMIx_Fence
# that collects no data is no barrier. It ends on each node by itself and returns PMIX_SUCCESS: rank 1, on the second node, has left it 2 s before
# rank 0, on the first, comes to it. The PMIx standard has it block until all have come.
#
# Such a fence goes up and down a tree of the nodes. The plugin asks Slurm's reverse_tree_info for its shape, which for fewer nodes than TreeWidth
# answers "no parent, no children", meant for messages that go straight to the controller: each node is the root of a tree of its own.
# A fence that collects data goes round a ring and waits, but not with SLURM_PMIX_FENCE=tree. SLURM_PMIX_FENCE_BARRIER=1 changes nothing.
# With SLURM_PMIX_FENCE=ring, PMIxCollFence=ring in mpi.conf, or a TreeWidth of no more than the nodes, all wait.
#
# Open MPI's MPI_Init relies on that fence; ranks have been seen to die at their start because of it. What to do: set SLURM_PMIX_FENCE=ring where
# srun is called, as Asymptop's jobs do (jobs/slurm/task.sh), or PMIxCollFence=ring for a whole cluster.
#
# Starts clusters of two nodes in namespaces of their own, one after the other, prints how long rank 1 waited, and fails where that is not as
# described. Exits with 3 where it would measure something else. Needs root and python3; missing packages are unpacked, not installed.
set -euo pipefail
unset "${!SLURM_@}" "${!PMIX_@}"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH LC_ALL=C
refuse() { printf '%s: not what was measured\n' "$1" >&2 && exit 3; }
unshare --net --uts --ipc --mount --pid --fork true 2>/dev/null || refuse "no namespaces, which need root"
[ -n "$(command -v apt-cache)" ] || refuse "no Debian packages here"

folder=$(mktemp -d)
cluster=
end() {
  if [ -n "$cluster" ]; then
    kill -KILL "$cluster" && wait "$cluster"
  fi 2>/dev/null || true
  rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT TERM HUP
missing=()
slurm="=22.05.8-4+deb12u3" pmix="=4.2.2-1+deb12u1" # libpmix-dev: the plugin opens libpmix.so, which libpmix2 does not have
for package in slurm{ctld,d,-client,-wlm-basic-plugins}"$slurm" libpmix{2,-dev}"$pmix" munge iproute2; do
  name=${package%%=*} wanted=${package#"${package%%=*}"}
  seen=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$name" 2>/dev/null | sed -n 's/^installed //p') || true
  [ -n "$seen" ] || { missing+=("$package") && seen=$(apt-cache policy "$name" | sed -n 's/^ *Candidate: //p'); }
  printf '%s %s\n' "$name" "${seen:=unknown to apt}"
  [ -z "$wanted" ] || [ "=$seen" = "$wanted" ] || refuse "$name is $seen, not ${wanted#=}"
done
if [ ${#missing[@]} -gt 0 ]; then
  mkdir -p "$folder/debs/partial" "$folder"/root/usr/{bin,sbin,lib}
  ln -s usr/bin usr/sbin usr/lib "$folder/root"
  chmod 755 "$folder"
  apt-get install -qq -y --no-install-recommends --download-only -o Dir::Cache::archives="$folder/debs" "${missing[@]}" >/dev/null
  for deb in "$folder"/debs/*.deb; do dpkg -x "$deb" "$folder/root"; done
  for name in slurmctld slurmd slurmstepd; do ln -s "$name-wlm" "$folder/root/usr/sbin/$name"; done # as Debian's alternatives
fi

# The first process of all namespaces, and node h1. All that it starts ends with it, by the kernel's hand.
cat >"$folder/cluster.sh" <<'SH'
set -euo pipefail
cd "$1"
if [ -d root ]; then mount -t overlay -o "lowerdir=$1/root/usr:/usr" overlay /usr; fi
mkdir -p shared
mount -t tmpfs tmpfs shared
cp fence.py shared
cd shared
mkdir state
printf '127.0.0.1 localhost\n10.0.0.1 h1\n10.0.0.2 h2\n' >hosts
mount --bind hosts /etc/hosts
unshare --net --uts --ipc --mount --pid --fork --mount-proc sleep infinity &
until h2=$(cat "/proc/$!/task/$!/children") && [ -n "$h2" ]; do sleep 0.01; done
on_h2=(nsenter --target "${h2% }" --all --root "--wd=$PWD" --)
ip link add eth0 type veth peer name eth0 netns "${h2% }"
own='hostname h$0; for memory in /run /dev/shm; do mount -t tmpfs tmpfs $memory; done
  ip addr add 10.0.0.$0/24 dev eth0; for port in lo eth0; do ip link set $port up; done'
bash -ec "$own" 1
"${on_h2[@]}" bash -ec "$own" 2
cat >slurm.conf <<CONF
ClusterName=fence
SlurmctldHost=h1(10.0.0.1)
SlurmUser=root
AuthInfo=socket=$PWD/munge.socket
StateSaveLocation=$PWD/state
SlurmdSpoolDir=/run/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
TmpFS=/run
SlurmctldLogFile=$PWD/slurmctld.log
SlurmdLogFile=$PWD/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
$2
NodeName=h1 NodeAddr=10.0.0.1 State=UNKNOWN
NodeName=h2 NodeAddr=10.0.0.2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF
printf '%s\n' "$3" >mpi.conf
export SLURM_CONF=$PWD/slurm.conf
(umask 077 && head -c 128 /dev/urandom >key)
munged --force --key-file="$PWD/key" --socket="$PWD/munge.socket" --pid-file=/run/munged.pid \
  --log-file="$PWD/munged.log" --seed-file="$PWD/seed" 2>munged.err
slurmctld -c
slurmd
"${on_h2[@]}" slurmd
for _ in $(seq 300); do
  if [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | xargs)" = "h1 h2" ]; then exec python3 fence.py "${@:3}"; fi
  sleep 0.1
done
tail -n 20 munged.err ./*.log >&2
echo "Slurm does not come up" >&2
exit 1
SH

cat >"$folder/fence.py" <<'PY'
import ctypes
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path


class Value(ctypes.Structure):
    _fields_ = (("type", ctypes.c_uint16), ("data", ctypes.c_uint64 * 2))


class Info(ctypes.Structure):
    _fields_ = (("key", ctypes.c_char * 512), ("flags", ctypes.c_uint32), ("value", Value))


class Process(ctypes.Structure):
    _fields_ = (("namespace", ctypes.c_char * 256), ("rank", ctypes.c_uint32))


def rank(data: bool) -> None:
    """Rank 0 comes to the fence 2 s after rank 1."""
    pmix, size, me, rank_1_came = ctypes.CDLL("libpmix.so.2"), ctypes.c_size_t, Process(), Path("rank 1 came")
    yes, seven, collect, value = ctypes.c_bool(True), ctypes.c_uint32(7), Info(), Value()
    assert pmix.PMIx_Init(ctypes.byref(me), None, size(0)) == 0
    if data:
        pmix.PMIx_Value_load(ctypes.byref(value), ctypes.byref(seven), ctypes.c_uint16(14))  # PMIX_UINT32
        assert pmix.PMIx_Put(ctypes.c_uint8(3), b"seven", ctypes.byref(value)) == 0  # PMIX_GLOBAL
        assert pmix.PMIx_Commit() == 0
        pmix.PMIx_Info_load(ctypes.byref(collect), b"pmix.collect", ctypes.byref(yes), ctypes.c_uint16(1))  # PMIX_COLLECT_DATA, PMIX_BOOL
    if me.rank == 1:
        rank_1_came.touch()
    else:
        while not rank_1_came.exists():
            time.sleep(0.01)
        time.sleep(2.0)
    came = time.monotonic()
    status = pmix.PMIx_Fence(None, size(0), ctypes.byref(collect) if data else None, size(data))
    print(json.dumps([me.rank, came, time.monotonic(), status]), flush=True)
    assert pmix.PMIx_Finalize(None, size(0)) == 0


def as_described(cluster: str, setting: str, data: str, waits: bool) -> bool:
    Path("rank 1 came").unlink(missing_ok=True)
    words = ["srun", "-Q", "-N2", "-n2", "--mpi=pmix", "python3", "fence.py", data]
    variables = {} if setting == "default" else dict([setting.split("=")])
    text = subprocess.run(words, env=os.environ | variables, stdout=subprocess.PIPE, text=True, timeout=120.0, check=True).stdout
    (_, late, _, status_0), (_, came, left, status_1) = sorted(map(json.loads, text.splitlines()))
    gap = f"{abs(late - left):.2f} s {'before' if left < late else 'after'}"
    name = "SLURM_PMIX_FENCE default" if setting == "default" else setting
    print(f"{cluster}, {name}, {data}: rank 1 waited {left - came:.2f} s and left {gap} rank 0 came", flush=True)
    return status_0 == status_1 == 0 and (left >= late if waits else left < late - 1.0)


if len(sys.argv) == 2:
    rank(sys.argv[1] == "data")
else:
    told = subprocess.run(["scontrol", "show", "config"], stdout=subprocess.PIPE, text=True, check=True).stdout
    width = "TreeWidth " + re.search(r"^TreeWidth\s*= (\d+)$", told, re.MULTILINE)[1]
    cluster = ", ".join(filter(None, [width, sys.argv[1]]))
    found = []
    for setting, without, with_data in map(str.split, sys.argv[2:]):
        found.append(as_described(cluster, setting, "no data", without == "waits"))
        found.append(as_described(cluster, setting, "data", with_data == "waits"))
    sys.exit(0 if all(found) else "not as described")
PY

# With such lines in slurm.conf and mpi.conf and such a variable, what rank 1 does in a fence without data and in one with data.
on_cluster() {
  local status=0
  setpriv --pdeathsig KILL unshare --net --uts --ipc --mount --pid --fork --mount-proc --kill-child \
    bash "$folder/cluster.sh" "$folder" "$@" </dev/null &
  cluster=$!
  wait "$cluster" || status=$?
  cluster=
  [ "$status" = 0 ] || exit "$status"
}
on_cluster "" "" "default leaves waits" "SLURM_PMIX_FENCE_BARRIER=1 leaves waits" \
  "SLURM_PMIX_FENCE=tree leaves leaves" "SLURM_PMIX_FENCE=ring waits waits"
on_cluster TreeWidth=3 "" "default leaves waits" "SLURM_PMIX_FENCE=tree leaves leaves"
on_cluster TreeWidth=2 "" "default waits waits" "SLURM_PMIX_FENCE=tree waits waits"
on_cluster "" PMIxCollFence=ring "default waits waits"
