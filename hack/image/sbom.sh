#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Writes a bill of materials (CycloneDX) for the manager of each platform: the modules that
# the linker put into the binary, with their versions and checksums.
#
#   sbom.sh BIN PLATFORMS VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=$1 platforms=$2 version=$3

for platform in ${platforms//,/ }; do
	output=dist/manager-${platform//\//-}.cdx.json
	"$bin/cyclonedx-gomod" bin -json -std -noserial -version "$version" -output "$output" "dist/image/$platform/manager"
	echo "$output"
done
