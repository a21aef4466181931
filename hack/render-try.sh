#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Writes config/try with the given images to dist/try.yaml, and its objects to
# dist/try-objects.yaml.
#
#   render-try.sh KUSTOMIZE OPERATOR SIMULATOR
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kustomize=$1 operator=$2 simulator=$3 overlay=dist/overlay

rm -rf "$overlay"
mkdir -p "$overlay"
(
	cd "$overlay"
	"$kustomize" create --resources ../../config/try
	"$kustomize" edit set image "controller=$operator" "twiliosim=$simulator"
)
"$kustomize" build "$overlay" >dist/try.yaml
"$kustomize" build config/try/objects >dist/try-objects.yaml
