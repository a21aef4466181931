#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Prints the directory that holds the control plane (etcd and kube-apiserver; with
# --with-controller-manager also kube-controller-manager) for KUBEBUILDER_ASSETS.
# Only that directory goes to stdout; progress goes to stderr.
#
# The first of these that has the binaries wins:
#   1. $KUBEBUILDER_ASSETS
#   2. a cache folder in the user's home, shared by all clones
#   3. setup-envtest, where its downloads can be reached
#   4. a compilation from the Go modules pinned in go.mod
# setup-envtest has no kube-controller-manager: that one is always compiled.
#
# Runs on Linux and macOS (bash 3.2) and needs Go and git.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(cd "$here/../tools" && pwd)
reachability_timeout=5 # seconds

say() { echo "control plane: $*" >&2; }

die() {
	say "$*"
	exit 1
}

# pinned MODULE prints the version of MODULE in the go.mod beside this script.
pinned() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2; exit }' "$here/go.mod"; }

# has_all DIR NAME... succeeds if DIR holds every named binary.
has_all() {
	local dir=$1 name
	shift
	for name in "$@"; do
		[ -x "$dir/$name" ] || return 1
	done
}

# --- leaving nothing behind -------------------------------------------------

scratch=""
child=""

cleanup() {
	local status=$?
	trap - EXIT
	if [ -n "$child" ]; then
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	if [ -n "$scratch" ]; then rm -rf "$scratch"; fi
	if [ -n "${lock_dir:-}" ]; then rm -rf "$lock_dir"; fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# interruptibly COMMAND... runs COMMAND so that a signal ends both it and this script.
# Descriptor 9 is the lock, which a child must not keep beyond this script's life.
interruptibly() {
	local status=0
	"$@" >&2 9>&- &
	child=$!
	wait "$child" || status=$?
	child=""
	return "$status"
}

# go_build WHAT MODULE PACKAGE [FLAG...] builds with progress lines.
go_build() {
	local what=$1
	shift
	interruptibly "$here/../gobuild.sh" "control plane: $what" "$@"
}

# --- setup-envtest ----------------------------------------------------------

# downloads_reachable fails within reachability_timeout seconds where GitHub, which
# serves setup-envtest's archives, is not reached: building setup-envtest only to see
# it fail would cost a minute. git is used because it is there and knows the proxies.
downloads_reachable() {
	local probe tenths=0
	GIT_TERMINAL_PROMPT=0 git ls-remote --quiet --exit-code \
		https://github.com/kubernetes-sigs/controller-tools HEAD >/dev/null 2>&1 9>&- &
	probe=$!
	while kill -0 "$probe" 2>/dev/null; do
		if [ "$tenths" -ge $((reachability_timeout * 10)) ]; then
			kill "$probe" 2>/dev/null || true
			wait "$probe" 2>/dev/null || true
			return 1
		fi
		sleep 0.1
		tenths=$((tenths + 1))
	done
	wait "$probe"
}

# fetch DIR puts what setup-envtest has for this minor version in DIR.
fetch() {
	local dir=$1 found setup=$scratch/setup-envtest
	downloads_reachable || return 1
	say "downloading Kubernetes $minor.x with setup-envtest"
	go_build setup-envtest "$tools" sigs.k8s.io/controller-runtime/tools/setup-envtest -o "$setup" || return 1
	found=$("$setup" use "$minor.x" --bin-dir "$scratch" --print path 9>&-) || return 1
	has_all "$found" etcd kube-apiserver || return 1
	chmod -R u+w "$found"
	publish "$found" "$dir"
}

# --- compilation ------------------------------------------------------------

package_of() {
	case $1 in
	etcd) echo go.etcd.io/etcd/server/v3 ;;
	*) echo "k8s.io/kubernetes/cmd/$1" ;;
	esac
}

# ldflags strips the binaries and stamps the version, without which kube-apiserver
# presents itself as v0.0.0-master.
ldflags() {
	local flags="-s -w" package
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags="$flags -X $package.gitVersion=$kubernetes"
		flags="$flags -X $package.gitMajor=${minor%%.*} -X $package.gitMinor=${minor#*.}"
		flags="$flags -X $package.gitCommit= -X $package.gitTreeState=clean"
	done
	echo "$flags"
}

# compile DIR NAME... builds the named binaries and adds them to DIR.
compile() {
	local dir=$1 name
	shift
	say "compiling $* ($kubernetes, etcd $etcd) for $os/$arch"
	say "this takes 5 to 10 minutes on two cores, once; the result is kept in $dir"
	mkdir -p "$scratch/bin"
	for name in "$@"; do
		go_build "$name" "$here" "$(package_of "$name")" \
			-ldflags "$(ldflags)" -o "$scratch/bin/$name" || die "could not build $name"
	done
	publish "$scratch/bin" "$dir"
	say "ready in $dir"
}

# publish FROM TO moves the binaries of FROM into TO, each in one step, so that
# a reader sees a whole binary or none. Both are on one file system.
publish() {
	local from=$1 to=$2 file
	mkdir -p "$to"
	for file in "$from"/*; do
		mv -f "$file" "$to/"
	done
}

# --- one build at a time ----------------------------------------------------

# lock FILE waits until no other clone is building. Without flock (macOS) a directory
# stands in for it, taken over if the process that made it is gone.
lock() {
	if command -v flock >/dev/null 2>&1; then
		exec 9>"$1"
		flock -n 9 && return
		say "waiting for another build of the same version"
		flock 9
		return
	fi
	local owner announced=""
	until mkdir "$1.d" 2>/dev/null; do
		owner=$(cat "$1.d/pid" 2>/dev/null || true)
		if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
			rm -rf "$1.d"
			continue
		fi
		[ -n "$announced" ] || say "waiting for another build of the same version"
		announced=yes
		sleep 1
	done
	lock_dir=$1.d
	echo $$ >"$lock_dir/pid"
}

# --- choosing ---------------------------------------------------------------

# cached NAME... prints the cache folder that holds every named binary.
cached() {
	local dir
	for dir in "$compiled" "$fetched"; do
		if has_all "$dir" "$@"; then
			echo "$dir"
			return
		fi
	done
	return 1
}

# obtain NAME... fills the cache and prints the folder.
obtain() {
	local dir=$compiled name missing=""
	mkdir -p "$cache"
	lock "$cache/lock"
	if cached "$@"; then return; fi
	rm -rf "$cache"/build.* # left by a build that was killed
	scratch=$(mktemp -d "$cache/build.XXXXXX")
	if ! has_all "$compiled" etcd kube-apiserver; then
		if has_all "$fetched" etcd kube-apiserver || fetch "$fetched"; then dir=$fetched; fi
	fi
	for name in "$@"; do
		[ -x "$dir/$name" ] || missing="$missing $name"
	done
	# shellcheck disable=SC2086 # a list of words
	[ -z "$missing" ] || compile "$dir" $missing
	echo "$dir"
}

main() {
	local wanted="etcd kube-apiserver"
	case ${1-} in
	"") ;;
	--with-controller-manager) wanted="$wanted kube-controller-manager" ;;
	*) die "usage: ensure.sh [--with-controller-manager]" ;;
	esac
	# shellcheck disable=SC2086 # a list of words, here and below
	if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
		if has_all "$KUBEBUILDER_ASSETS" $wanted; then
			echo "$KUBEBUILDER_ASSETS"
			return
		fi
		say "KUBEBUILDER_ASSETS ($KUBEBUILDER_ASSETS) lacks one of: $wanted; looking elsewhere"
	fi
	# shellcheck disable=SC2086
	cached $wanted || obtain $wanted
}

export GOWORK=off
# What is built is for this machine, whatever is cross-built beside it.
unset GOOS GOARCH
os=$(go env GOHOSTOS)
arch=$(go env GOHOSTARCH)
kubernetes=$(pinned k8s.io/kubernetes)
etcd=$(pinned go.etcd.io/etcd/server/v3)
minor=${kubernetes#v}
minor=${minor%.*}
cache=${XDG_CACHE_HOME:-${HOME:?is not set, and neither is XDG_CACHE_HOME}/.cache}/twilio-addon-operator/controlplane
compiled=$cache/$kubernetes-etcd-$etcd-$os-$arch
fetched=$cache/setup-envtest-$minor.x-$os-$arch

main "$@"
