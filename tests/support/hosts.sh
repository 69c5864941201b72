#!/usr/bin/env bash
# Hosts h1..hN for tests, made of namespaces. hosts.py runs it as the first process of its own namespaces: hosts.sh N
#
#   login            this process     10.77.0.254 on the bridge `control`
#   h1 .. hN         eth0             10.77.0.i on the bridge `control`: mpirun and its daemons
#                    eth1             10.78.0.i on the bridge `data`: messages of ranks
#
# A host has a name, processes, shared memory and a /run of its own; other files are shared, as on a cluster. When stdin ends this
# process ends, and with it, by the kernel's hand, every process on every host, the networks and the mounts.
set -euo pipefail

mount -t tmpfs tmpfs /run
mkdir /run/hosts
printf '127.0.0.1 localhost\n10.77.0.254 login\n' >/run/hosts/names
for i in $(seq "$1"); do printf '10.77.0.%d h%d\n' "$i" "$i" >>/run/hosts/names; done
mount --bind /run/hosts/names /etc/hosts
hostname login
ip link set lo up
for bridge in control data; do
  ip link add "$bridge" type bridge
  ip link set "$bridge" up
done
ip addr add 10.77.0.254/24 dev control

for i in $(seq "$1"); do
  unshare --net --uts --ipc --mount --pid --fork --mount-proc sleep infinity </dev/null >/dev/null 2>&1 &
  until pid=$(cat "/proc/$!/task/$!/children") && [ -n "$pid" ]; do sleep 0.01; done
  pid=${pid% }
  printf '%s\n' "$pid" >"/run/hosts/h$i"
  for port in "eth0 control c$i" "eth1 data d$i"; do
    read -r inside bridge outside <<<"$port"
    ip link add "$outside" type veth peer name "$inside" netns "$pid"
    ip link set "$outside" master "$bridge" up
  done
  nsenter --target "$pid" --all -- bash -ec "
    hostname h$i
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /run
    ip link set lo up
    ip addr add 10.77.0.$i/24 dev eth0
    ip addr add 10.78.0.$i/24 dev eth1
    ip link set eth0 up
    ip link set eth1 up"
done
echo ready
read -r _ || true
