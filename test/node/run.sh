#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Runs the tests of this folder on a node of their own: mount, network, process and cgroup
# namespaces in which a kubelet, containerd and the control plane work, and of which nothing
# is left afterwards. "make test-node" calls it.
#
#   run.sh ASSETS TEST PAUSE DIST [flags of the test]
#
# ASSETS is the folder of the control plane and the kubelet, TEST the compiled test, PAUSE the
# program of the sandbox image, and DIST the folder of what is delivered: the archives of the
# images, and the manifests.
set -euo pipefail

name=twilio-addon-operator-node-$$
cgroups=/sys/fs/cgroup

# The programs that Debian has and no Go module.
install_packages() {
	local missing=()
	command -v containerd >/dev/null || missing+=(containerd)
	command -v runc >/dev/null || missing+=(runc)
	command -v iptables >/dev/null || missing+=(iptables)
	command -v ip >/dev/null || missing+=(iproute2)
	[ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
	[ ${#missing[@]} -eq 0 ] && return
	if ! command -v apt-get >/dev/null; then
		echo "test-node: install ${missing[*]} first" >&2
		exit 1
	fi
	echo "test-node: installing ${missing[*]}" >&2
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# The cgroup of the node, in each hierarchy, with this shell in it.
enter_cgroups() {
	local hierarchy
	for hierarchy in "$cgroups"/*/; do
		[ -e "$hierarchy/cgroup.procs" ] || continue
		mkdir "$hierarchy$name" 2>/dev/null || continue
		if [ -e "$hierarchy/cpuset.cpus" ]; then
			cat "$hierarchy/cpuset.cpus" >"$hierarchy$name/cpuset.cpus"
			cat "$hierarchy/cpuset.mems" >"$hierarchy$name/cpuset.mems"
		fi
		echo $$ >"$hierarchy$name/cgroup.procs"
	done
}

leave() {
	local hierarchy
	for hierarchy in "$cgroups"/*/; do
		[ -d "$hierarchy$name" ] || continue
		echo $$ >"$hierarchy/cgroup.procs"
		find "$hierarchy$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
	rm -rf "$dir"
}

# What the first process of the node does.
node() {
	mount --make-rprivate /
	mount -t sysfs sysfs /sys
	mount -t tmpfs tmpfs "$cgroups"
	local controller
	for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
		mkdir "$cgroups/$controller"
		mount -t cgroup -o "$controller" cgroup "$cgroups/$controller"
	done
	mkdir "$cgroups/systemd"
	mount -t cgroup -o none,name=systemd cgroup "$cgroups/systemd"
	mount -t tmpfs tmpfs /run
	mkdir -p /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
	local private
	for private in /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers; do
		mount -t tmpfs tmpfs "$private"
		mount --make-rshared "$private"
	done
	ip link set lo up
	ip link add node0 type bridge
	ip address add 192.0.2.1/24 dev node0
	ip link set node0 up
	ip route add default dev node0
	echo 1 >/proc/sys/net/ipv4/ip_forward
	echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
	"$@" &
	wait $!
}

if [ "${1:-}" = --node ]; then
	shift
	node "$@"
	exit
fi

if [ "$(uname -s)" != Linux ] || [ "$(id -u)" != 0 ]; then
	echo "test-node: skipped: a node needs Linux and root" >&2
	exit 0
fi
if [ ! -d "$cgroups/memory" ]; then
	echo "test-node: skipped: it needs cgroups of version 1, and this machine has version 2" >&2
	exit 0
fi
install_packages
assets=$1 test=$2 pause=$3 dist=$4
shift 4
dir=$(mktemp -d /var/tmp/twilio-addon-operator-node.XXXXXX)
trap leave EXIT
enter_cgroups
export NODE_ASSETS=$assets NODE_PAUSE=$pause NODE_DIST=$dist NODE_DIR=$dir
cd "$(dirname "${BASH_SOURCE[0]}")"
unshare --mount --net --pid --cgroup --fork --kill-child --mount-proc "$PWD/$(basename "${BASH_SOURCE[0]}")" --node "$test" "$@"
