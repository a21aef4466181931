#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Pushes the simulator's image as IMAGE-twiliosim, and runs it and the operator, whose image
# is in dist/image.ref, in the current kube context. Waits until the samples are Ready.
#
#   try.sh BIN IMAGE KUBECTL
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=$1 image=$2 kubectl=$3 namespace=twilio-addon-operator-system

simulator=$("$bin/image" push --archive=dist/twiliosim.tar "$image-twiliosim")
hack/render-try.sh "$bin/kustomize" "$(cat dist/image.ref)" "$simulator"

# KUBECTL may have arguments.
$kubectl apply --server-side -f dist/try.yaml
$kubectl wait --for=condition=Established --timeout=60s \
	crd/twilioaccounts.addons.twilio-operator.dev crd/phonenumberaddonassignments.addons.twilio-operator.dev
$kubectl rollout status --timeout=5m --namespace "$namespace" deployment/twiliosim
$kubectl rollout status --timeout=5m --namespace "$namespace" deployment/twilio-addon-operator-controller-manager
$kubectl apply --server-side -f dist/try-objects.yaml
$kubectl wait --for=condition=Ready --timeout=2m --namespace twilio-samples --all phonenumberaddonassignments.addons.twilio-operator.dev
$kubectl get phonenumberaddonassignments.addons.twilio-operator.dev --namespace twilio-samples
echo "To remove all of it: $kubectl delete -f dist/try-objects.yaml && $kubectl delete -f dist/try.yaml"
