#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Fails and prints the difference if the generators would change, add or no longer write a
# file, or if the manifests do not render. The generators run in a copy, which is compared
# with the working tree, committed or not; the working tree stays as it is.
#
#   check-generate.sh BIN, the folder of the tools
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$1
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -Rp Makefile go.mod go.sum api charts config controllers docs hack internal "$copy/"

# A generator overwrites its files, so only a file that was missing shows that it is still
# written.
find "$copy/api" -name 'zz_generated.*' -delete
rm -rf "$copy/config/crd/bases" "$copy/config/rbac/role.yaml" "$copy/docs/api.md"

make --silent -C "$copy" BIN="$bin" generate manifests chart-files
status=0
for folder in api config charts docs; do
	diff -ruN "$folder" "$copy/$folder" || status=1
done
if [ "$status" -ne 0 ]; then
	echo "check-generate: generated files are out of date; run: make generate manifests chart-files" >&2
	exit 1
fi
make --silent -C "$copy" BIN="$bin" IMG=registry.example.com/twilio-addon-operator:check build-installer >/dev/null
echo "check-generate: generated files are current, the manifests render"
