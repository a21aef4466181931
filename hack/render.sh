#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Prints config/default with the given image, and with the version as a label. An overlay
# under dist/ sets both, so that no committed file changes.
#
#   render.sh KUSTOMIZE IMAGE
#
# VERSION is the version; the default is what git describes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kustomize=$1 image=$2 overlay=dist/overlay
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}

rm -rf "$overlay"
mkdir -p "$overlay"
(
	cd "$overlay"
	"$kustomize" create --resources ../../config/default
	"$kustomize" edit set image "controller=$image"
	# Not on selectors, which cannot change.
	cat >>kustomization.yaml <<LABELS
labels:
- includeTemplates: true
  pairs:
    app.kubernetes.io/version: "$version"
LABELS
)
"$kustomize" build "$overlay"
