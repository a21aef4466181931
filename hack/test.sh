#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Runs "go test" with the control plane at hand, under the race detector where it works.
#
#   test.sh PACKAGES [FLAG...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=$1
shift

KUBEBUILDER_ASSETS=$(hack/controlplane/ensure.sh --with-controller-manager)
export KUBEBUILDER_ASSETS

# The race detector needs cgo, hence a C compiler with its headers; whether they are
# there is best found by using them.
race=""
if CGO_ENABLED=1 go build -race runtime/race runtime/cgo >/dev/null 2>&1; then
	export CGO_ENABLED=1
	race=-race
else
	echo "test: no C compiler that works, so WITHOUT the race detector" >&2
fi

# "go test" says nothing while it compiles, which takes minutes the first time. A package
# that has nothing but tests cannot be built by name.
# shellcheck disable=SC2086 # a list of words
buildable=$(go list -f '{{ if .GoFiles }}{{ .ImportPath }}{{ end }}' $packages)
if [ -n "$buildable" ]; then
	# shellcheck disable=SC2086 # no word or one
	hack/gobuild.sh "compiling for the tests" . "$buildable" $race
fi
# shellcheck disable=SC2086 # the same, and a list of words
exec go test $race "$@" $packages
