#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Prints config/default with the given image. An overlay under dist/ sets the image, so
# that no committed file changes.
#
#   render.sh KUSTOMIZE IMAGE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kustomize=$1 image=$2 overlay=dist/overlay

rm -rf "$overlay"
mkdir -p "$overlay"
(
	cd "$overlay"
	"$kustomize" create --resources ../../config/default
	"$kustomize" edit set image "controller=$image"
)
"$kustomize" build "$overlay"
