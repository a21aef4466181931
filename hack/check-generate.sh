#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Fails with the difference if generating would change, add or no longer write a file, or
# if the manifests do not render. Generates in a copy, so the tree stays as it is, and
# compares with the tree as it stands, committed or not.
#
#   check-generate.sh BIN, the folder of the tools
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$1
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -Rp Makefile go.mod go.sum api charts config controllers hack internal "$copy/"

# A generator overwrites: only a file that it writes anew shows that it still writes it.
find "$copy/api" -name 'zz_generated.*' -delete
rm -rf "$copy/config/crd/bases" "$copy/config/rbac/role.yaml"

make --silent -C "$copy" BIN="$bin" generate manifests chart-files
status=0
for folder in api config charts; do
	diff -ruN "$folder" "$copy/$folder" || status=1
done
if [ "$status" -ne 0 ]; then
	echo "check-generate: not current; run: make generate manifests chart-files" >&2
	exit 1
fi
make --silent -C "$copy" BIN="$bin" build-installer >/dev/null
echo "check-generate: generated files are current, the manifests render"
