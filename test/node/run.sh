#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Runs the tests of this folder on a node of their own: mount, network, process and cgroup
# namespaces in which a kubelet, containerd and the control plane work, and of which nothing
# is left afterwards. "make test-node" calls it. It is skipped where the node cannot run, or
# fails there if REQUIRE_NODE is set.
#
#   run.sh ASSETS TEST PAUSE DIST [flags of the test]
#
# ASSETS is the folder of the control plane and the kubelet, TEST the compiled test, PAUSE the
# program of the sandbox image, and DIST the folder of the images of the operator and the
# simulator, and of the manifests that install them.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/cgroups.sh"
name=twilio-addon-operator-node-$$
cgroups=${NODE_CGROUPS:-/sys/fs/cgroup} # another one for tests of this script
version=$(cgroup_version "$cgroups")

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

# missing WHY says that the node cannot run here. It fails if REQUIRE_NODE is set.
missing() {
	if [ -n "${REQUIRE_NODE:-}" ]; then
		echo "test-node: $1, and REQUIRE_NODE is set" >&2
		exit 1
	fi
	echo "test-node: skipped: $1" >&2
	exit 0
}

leave() {
	remove_cgroups "$cgroups" "$name"
	rm -rf "$dir"
}

# What the first process of the node does.
node() {
	mount --make-rprivate /
	mount -t sysfs sysfs /sys
	mount_cgroups "$version" "$cgroups"
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

case ${1:-} in
# The root of a cgroup namespace is where its first process is, so it enters first.
--enter)
	enter_cgroups "$cgroups" "$2"
	shift 2
	exec unshare --cgroup "$here/run.sh" --node "$@"
	;;
--node)
	shift
	node "$@"
	exit
	;;
esac

[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || missing "a node needs Linux and root"
case $version in
1) ;;
2)
	lacking=$(missing_controllers "$cgroups")
	[ -z "$lacking" ] || missing "the cgroups of this machine, of version 2, lack $lacking"
	;;
*) missing "this machine has no cgroups in $cgroups" ;;
esac
install_packages
assets=$1 test=$2 pause=$3 dist=$4
shift 4
dir=$(mktemp -d /var/tmp/twilio-addon-operator-node.XXXXXX)
trap leave EXIT
make_cgroups "$version" "$cgroups" "$name"
modprobe --all overlay br_netfilter 2>/dev/null || true # where they are modules
export NODE_ASSETS=$assets NODE_PAUSE=$pause NODE_DIST=$dist NODE_DIR=$dir
cd "$here"
unshare --mount --net --pid --fork --kill-child --mount-proc "$here/run.sh" --enter "$name" "$test" "$@"
