#!/usr/bin/env bash
# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Deletes the manifests on stdin from the current kube context. It refuses while there are
# objects of the operator's kinds, because the operator must still be running to clean up.
# With FORCE=1 it deletes all the same and does not wait, because deletion then hangs. It
# then releases the Secrets that the operator held, or their namespace would hang as well.
#
#   undeploy.sh TARGET KUBECTL <MANIFESTS
#
# TARGET is the make target, for the message.
set -euo pipefail

target=$1 kubectl=$2
group=addons.twilio-operator.dev namespace=twilio-addon-operator-system
manifests=$(cat)

# remaining KIND FORMAT prints the objects of a kind, one a line; nothing if the kind is
# not installed. It fails if the API server does not answer.
remaining() {
	local kind
	kind=$($kubectl get customresourcedefinition "$1.$group" --ignore-not-found --output=name) || exit 1
	[ -n "$kind" ] || return 0
	$kubectl get "$1.$group" --all-namespaces --output=jsonpath="{range .items[*]}$2{.metadata.name}{\"\n\"}{end}"
}

# count KIND LIST prints how many objects there are, and the first of them.
count() {
	[ -z "$2" ] || echo "  $(grep -c . <<<"$2") $1, the first of them $(head -n 1 <<<"$2")"
}

delete() { $kubectl delete --ignore-not-found "$@" -f - <<<"$manifests"; }

# release_secrets removes the operator's finalizer from the Secrets in its namespace.
release_secrets() {
	local held
	held=$($kubectl get secrets --namespace=$namespace \
		--output=jsonpath='{range .items[*]}{.metadata.name} {.metadata.finalizers}{"\n"}{end}')
	{ grep -F "$group/in-use" || true; } <<<"$held" | while read -r name _; do
		$kubectl patch secret "$name" --namespace=$namespace \
			--patch="{\"metadata\":{\"\$deleteFromPrimitiveList/finalizers\":[\"$group/in-use\"]}}"
	done
}

if [ "${FORCE:-}" = 1 ]; then
	delete --wait=false
	if [ "$target" = undeploy ]; then release_secrets; fi
	exit
fi

assignments=$(remaining phonenumberaddonassignments '{.metadata.namespace}/')
accounts=$(remaining twilioaccounts '')
if [ -z "$assignments$accounts" ]; then
	delete
	exit
fi

cat >&2 <<MESSAGE
make $target: nothing was deleted, because there are still

$(count PhoneNumberAddOnAssignments "$assignments"; count TwilioAccounts "$accounts")

The operator must still be running to clean up. Without it these objects, their namespaces
and the CRDs stay in deletion forever. Delete the objects first, while the operator runs.
This unassigns their add-ons in Twilio; "Uninstall" in README.md shows how to keep them.

  $kubectl delete phonenumberaddonassignments.$group --all --all-namespaces
  $kubectl delete twilioaccounts.$group --all

To delete all the same: make $target FORCE=1
MESSAGE
exit 1
