#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Runs every fuzz target of the main module for the given time, one after the other, as
# "go test -fuzz" takes one target at a time. Stops at the first finding.
#
#   fuzz.sh TIME
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

found=0
while IFS=: read -r file declaration; do
	target=$(echo "$declaration" | sed -E 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/')
	found=$((found + 1))
	echo "=== $target in $(dirname "$file") for $1 ==="
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./$(dirname "$file")" </dev/null
done < <(git ls-files -co --exclude-standard '*_test.go' | xargs grep -HE '^func Fuzz' /dev/null)
echo "fuzz: $found targets, no finding"
