#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Copies into the chart what it shares with config/: CRDs, RBAC, admission policies,
# network policies, alerts and dashboards. A chart cannot refer to files outside its folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=charts/twilio-addon-operator/files

# copy FOLDER FILE... replaces a folder of the chart.
copy() {
	local folder=$files/$1 file
	shift
	rm -rf "$folder"
	for file in "$@"; do
		[ -f "$file" ] && [ "${file##*/}" != kustomization.yaml ] || continue
		mkdir -p "$folder"
		cp "$file" "$folder/"
	done
}

copy crds config/crd/bases/*.yaml
copy rbac config/rbac/*.yaml
copy admission config/admission/*.yaml
copy network-policy config/network-policy/*.yaml
copy prometheus config/prometheus/*.yaml
copy grafana config/grafana/*.json
