# shellcheck shell=bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# The cgroups of the node, of either version. run.sh sources this. ROOT is the folder where
# the machine has its cgroups, and NAME the node's own in it.

# cgroup_version ROOT prints the version that has the controllers, if there is any. With both,
# which systemd calls hybrid, it is 1.
cgroup_version() {
	if [ -e "$1/cgroup.controllers" ]; then
		echo 2
	elif [ -d "$1/memory" ]; then
		echo 1
	fi
}

# missing_controllers ROOT prints those that a kubelet needs and a version 2 lacks.
missing_controllers() {
	local have controller missing=()
	have=" $(<"$1/cgroup.controllers") "
	for controller in cpuset cpu memory pids; do
		case $have in *" $controller "*) ;; *) missing+=("$controller") ;; esac
	done
	echo "${missing[*]-}"
}

# delegate FOLDER gives the children of a cgroup of version 2 its controllers. The kernel
# refuses it for one that holds processes, unless it is the machine's root.
delegate() {
	local controller wanted=()
	for controller in $(<"$1/cgroup.controllers"); do
		case $controller in cpuset | cpu | io | memory | hugetlb | pids) wanted+=("+$controller") ;; esac
	done
	echo "${wanted[*]-}" >"$1/cgroup.subtree_control"
}

# vacate FOLDER moves the processes of a cgroup of version 2 to a leaf in it.
vacate() {
	local process
	mkdir -p "$1/init"
	for process in $(<"$1/cgroup.procs"); do
		echo "$process" >"$1/init/cgroup.procs" || true # it may have ended
	done
}

# make_cgroups VERSION ROOT NAME makes the node's cgroup, one in each hierarchy of version 1.
make_cgroups() {
	local hierarchy
	if [ "$1" = 2 ]; then
		# The root of a container looks like the machine's, but its processes are in the way.
		delegate "$2" 2>/dev/null || { vacate "$2" && delegate "$2"; }
		mkdir "$2/$3"
		return
	fi
	for hierarchy in "$2"/*/; do
		[ -e "$hierarchy/cgroup.procs" ] || continue
		mkdir "$hierarchy$3" 2>/dev/null || continue
		if [ -e "$hierarchy/cpuset.cpus" ]; then
			cat "$hierarchy/cpuset.cpus" >"$hierarchy$3/cpuset.cpus"
			cat "$hierarchy/cpuset.mems" >"$hierarchy$3/cpuset.mems"
		fi
	done
}

# own_cgroups ROOT NAME prints the folders of the node's cgroup.
own_cgroups() {
	local folder
	for folder in "$1/$2" "$1"/*/"$2"; do
		[ ! -d "$folder" ] || echo "$folder"
	done
}

# enter_cgroups ROOT NAME moves this shell into the node's cgroup.
enter_cgroups() {
	local folder
	own_cgroups "$@" | while read -r folder; do echo $$ >"$folder/cgroup.procs"; done
}

# remove_cgroups ROOT NAME removes it, with all that the kubelet has made in it. Of version 2,
# the root keeps giving its controllers to its children.
remove_cgroups() {
	local folder
	own_cgroups "$@" | while read -r folder; do find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
}

# mount_cgroups VERSION ROOT mounts, in the node's cgroup namespace, what a kubelet expects.
mount_cgroups() {
	local controller
	if [ "$1" = 2 ]; then
		mount -t cgroup2 cgroup2 "$2"
		vacate "$2"
		delegate "$2"
		return
	fi
	mount -t tmpfs tmpfs "$2"
	for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
		mkdir "$2/$controller"
		mount -t cgroup -o "$controller" cgroup "$2/$controller"
	done
	mkdir "$2/systemd"
	mount -t cgroup -o none,name=systemd cgroup "$2/systemd"
}
