#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Writes what "make try" applies: dist/try.yaml, with the operator and the simulator, and
# dist/try-objects.yaml, with the samples.
#
#   render-try.sh BIN OPERATOR SIMULATOR
#
# OPERATOR and SIMULATOR are the names of the images.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$1 operator=$2 simulator=$3 overlay=dist/overlay

rm -rf "$overlay"
mkdir -p "$overlay"
(
	cd "$overlay"
	"$bin/kustomize" create --resources ../../config/try
	"$bin/kustomize" edit set image "controller=$operator" "twiliosim=$simulator"
)
"$bin/kustomize" build "$overlay" >dist/try.yaml
"$bin/kustomize" build config/try/objects >dist/try-objects.yaml
