#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Pushes dist/image.tar to a registry, with the credentials of "docker login" or of a
# credential helper, and writes dist/install.yaml with the image pinned by digest.
#
#   push.sh BIN IMAGE
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=$1 image=$2

pinned=$("$bin/image" push --archive=dist/image.tar "$image")
echo "$pinned" >dist/image.ref
hack/render.sh "$bin/kustomize" "$pinned" >dist/install.yaml
echo "pushed $pinned"
echo "dist/install.yaml installs it"
