#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Runs "go build" and says how far it is, for builds that take minutes on a cold cache.
#
#   gobuild.sh WHAT MODULE PACKAGES [FLAG...]
#
# WHAT names the result in the progress lines, MODULE is the folder of the go.mod and
# PACKAGES are what to build, relative to MODULE; an -o among the flags must be absolute.
# All builds but those under the race detector share their flags, and the modules share
# the versions of their dependencies, so that what the control plane and the manager have
# in common (nine packages in ten of the manager) is compiled once.
# Everything it prints goes to stderr; a build that is up to date prints nothing.
set -euo pipefail

first=3     # seconds until the first progress line
interval=15 # seconds between two

what=$1 module=$2 packages=$3
shift 3
flags=-trimpath
case " $* " in
*" -race "*) flags="" ;;
*) export CGO_ENABLED=0 ;;
esac

scratch=$(mktemp -d)
child=""

cleanup() {
	local status=$?
	trap - EXIT
	if [ -n "$child" ]; then
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	rm -rf "$scratch"
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '%s: %d:%02d  %s\n' "$what" $((SECONDS / 60)) $((SECONDS % 60)) "$1" >&2; }

# watched REPORT COMMAND... runs COMMAND with its stderr in a log, and REPORT every interval.
watched() {
	local report=$1 ticks=0
	shift
	"$@" 2>"$scratch/log" &
	child=$!
	while kill -0 "$child" 2>/dev/null; do
		sleep 0.2
		ticks=$((ticks + 1))
		if [ $ticks -eq $((first * 5)) ] || [ $((ticks % (interval * 5))) -eq 0 ]; then "$report"; fi
	done
	if ! wait "$child"; then
		child=""
		grep -v '^go: downloading' "$scratch/log" >&2 || true
		say "failed"
		exit 1
	fi
	child=""
}

report_download() {
	say "$(grep -c '^go: downloading' "$scratch/log" || true) modules downloaded"
}

# "go build -v" names a package when it has compiled it; what the build cache holds is
# not named, so the total is an upper bound.
report_compile() {
	say "$(grep -c -v -e '^go: ' -e '^#' "$scratch/log" || true) of at most $total packages compiled"
}

# shellcheck disable=SC2086 # PACKAGES is a list of words, here and below
list() { exec go list -C "$module" -mod=readonly -deps $packages >"$scratch/packages"; }

# shellcheck disable=SC2086
build() { exec go build -C "$module" -mod=readonly -v -buildvcs=false $flags "$@" $packages; }

main() {
	watched report_download list
	total=$(wc -l <"$scratch/packages" | tr -d ' ')
	watched report_compile build "$@"
	if [ "$SECONDS" -ge "$first" ]; then say "built"; fi
}

main "$@"
