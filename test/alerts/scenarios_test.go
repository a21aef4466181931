// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package alerts

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/rules"
)

// sample returns a series of a pod of the operator, with the labels that Prometheus adds.
func sample(pod, name, labels, values string) string {
	added := fmt.Sprintf(`job="twilio-addon-operator-controller-manager-metrics-service",namespace="ops",pod=%q,instance="%s:8443"`, pod, pod)
	return fmt.Sprintf("  %s{%s} %s\n", name, strings.Trim(added+","+labels, ","), values)
}

const lease = `name="twilio-addon-operator.twilio-operator.dev"`

// leader is the pod a, which is up and is the leader, for 30 hours.
func leader() string {
	return sample("a", "up", "", "1x1800") + sample("a", "leader_election_master_status", lease, "1x1800")
}

// standby is the pod b, which is up and is not the leader.
func standby() string {
	return sample("b", "up", "", "1x1800") + sample("b", "leader_election_master_status", lease, "0x1800")
}

// moment is a time, and exactly the alerts that fire then.
type moment struct {
	after time.Duration
	fires []firing
}

// scenario holds what the pods export, one value per minute.
type scenario struct {
	series  []string
	moments []moment
}

// plain returns an alert whose description is the rule's, without variables.
func plain(alert, labels, summary string) []firing {
	return []firing{{Alert: alert, Labels: labels, Summary: summary}}
}

func minutes(n int) time.Duration { return time.Duration(n) * time.Minute }

// scenarios has at least one scenario for each alert, in which it fires and resolves.
func scenarios() map[string]scenario {
	all := map[string]scenario{}
	for _, some := range []map[string]scenario{managerScenarios(), accountScenarios(), objectScenarios(), removalScenarios(), processScenarios()} {
		maps.Copy(all, some)
	}
	return all
}

func managerScenarios() map[string]scenario {
	down := plain("TwilioAddOnOperatorDown", `{severity="critical"}`, "No manager of twilio-addon-operator is up.")
	noLeader := plain("TwilioAddOnOperatorHasNoLeader", `{name="twilio-addon-operator.twilio-operator.dev", namespace="ops", severity="critical"}`,
		"No manager of twilio-addon-operator holds the Lease twilio-addon-operator.twilio-operator.dev.")
	return map[string]scenario{
		"all is well, with a standby": {
			series:  []string{leader(), standby()},
			moments: []moment{{minutes(0), nil}, {minutes(120), nil}},
		},
		"the only pod is gone, and another comes": {
			series: []string{
				sample("a", "up", "", "1x9 stale"), sample("a", "leader_election_master_status", lease, "1x9 stale"),
				sample("b", "up", "", "_x21 1x20"), sample("b", "leader_election_master_status", lease, "_x21 1x20"),
			},
			moments: []moment{{minutes(9), nil}, {minutes(14), nil}, {minutes(15), down}, {minutes(20), down}, {minutes(21), nil}},
		},
		"the pod does not answer": {
			series:  []string{sample("a", "up", "", "0x15 1x10")},
			moments: []moment{{minutes(4), nil}, {minutes(5), down}, {minutes(16), nil}},
		},
		"it was never installed": {
			series:  []string{`  up{job="another"} 1x30` + "\n"},
			moments: []moment{{minutes(4), nil}, {minutes(5), down}},
		},
		"one of two pods does not answer": {
			series:  []string{leader(), sample("b", "up", "", "0x60")},
			moments: []moment{{minutes(60), nil}},
		},
		"nobody leads": {
			series: []string{
				sample("a", "up", "", "1x60"), sample("a", "leader_election_master_status", lease, "1x9 0x9 1x40"), standby(),
			},
			moments: []moment{{minutes(14), nil}, {minutes(15), noLeader}, {minutes(19), noLeader}, {minutes(20), nil}},
		},
		"another operator without a leader": {
			series:  []string{leader(), `  leader_election_master_status{job="another", name="another"} 0x60` + "\n"},
			moments: []moment{{minutes(60), nil}},
		},
		"the lead changes hands": {
			series: []string{
				sample("a", "up", "", "1x60"), sample("a", "leader_election_master_status", lease, "1x9 0x50"),
				sample("b", "up", "", "1x60"), sample("b", "leader_election_master_status", lease, "0x11 1x50"),
			},
			moments: []moment{{minutes(12), nil}, {minutes(60), nil}},
		},
	}
}

func accountScenarios() map[string]scenario {
	notReady := plain("TwilioAccountNotReady", `{account="default", namespace="ops", reason="CredentialsInvalid", severity="warning"}`,
		"TwilioAccount default is not ready: CredentialsInvalid.")
	paused := plain("TwilioAccountPaused", `{account="AC1", namespace="ops", severity="warning"}`,
		"Calls to the Twilio account AC1 have been failing for 10 minutes.")
	throttled := func(rate string) []firing {
		return []firing{{"TwilioAccountThrottled", `{account="AC1", namespace="ops", severity="warning"}`,
			"Twilio has been throttling the account AC1 for 30 minutes.",
			"Twilio answers " + rate + " requests a second with 429. Something else uses up the account's limit, or resyncInterval is too short for the number of objects."}}
	}
	ready := func(pod, reason, values string) string {
		return sample(pod, "twilio_addon_operator_account_ready", `account="default",reason="`+reason+`"`, values)
	}
	const throttledTotal, label = "twilio_addon_operator_twilio_throttled_total", `account="AC1"`
	return map[string]scenario{
		"the credential is refused, and replaced": {
			series: []string{
				leader(), ready("a", "CredentialsAccepted", "1x9 stale _x19 1x20"), ready("a", "CredentialsInvalid", "_x10 0x19 stale"),
				sample("a", "twilio_addon_operator_account_ready", `account="other",reason="CredentialsAccepted"`, "1x60"),
			},
			moments: []moment{{minutes(19), nil}, {minutes(20), notReady}, {minutes(29), notReady}, {minutes(30), nil}},
		},
		"leader and standby both report": {
			series: []string{
				leader(), standby(), ready("a", "CredentialsAccepted", "1x60"),
				ready("b", "CredentialsAccepted", "1x60"),
			},
			moments: []moment{{minutes(60), nil}},
		},
		"a refusal that passes": {
			series: []string{
				leader(), ready("a", "CredentialsAccepted", "1x9 stale _x8 1x20"), ready("a", "TwilioUnavailable", "_x10 0x8 stale"),
			},
			moments: []moment{{minutes(18), nil}, {minutes(40), nil}},
		},
		"the account is suspended": {
			series:  []string{leader(), ready("a", "Suspended", "0x60")},
			moments: []moment{{minutes(60), nil}},
		},
		"Twilio is down for 15 minutes": {
			series:  []string{leader(), sample("a", "twilio_addon_operator_twilio_paused", label, "0x9 1x14 0x20")},
			moments: []moment{{minutes(19), nil}, {minutes(20), paused}, {minutes(24), paused}, {minutes(25), nil}},
		},
		"Twilio hiccups": {
			series:  []string{leader(), sample("a", "twilio_addon_operator_twilio_paused", label, "0 1 0 1 1 1 0 1 1 1 1 1 0 0x20")},
			moments: []moment{{minutes(11), nil}, {minutes(30), nil}},
		},
		"throttled for an hour": {
			series:  []string{leader(), sample("a", throttledTotal, label, "0x10 0+30x60 1800x60")},
			moments: []moment{{minutes(42), nil}, {minutes(70), throttled("0.5")}, {minutes(90), nil}},
		},
		"throttled for a while": {
			series:  []string{leader(), sample("a", throttledTotal, label, "0x10 0+30x20 600x60")},
			moments: []moment{{minutes(30), nil}, {minutes(60), nil}},
		},
		"throttled now and then": {
			series:  []string{leader(), sample("a", throttledTotal, label, "0+5x120")},
			moments: []moment{{minutes(120), nil}},
		},
	}
}

func objectScenarios() map[string]scenario {
	stalled := plain("PhoneNumberAddOnAssignmentsStalled", `{account="default", namespace="ops", reason="AddOnRejected", severity="warning"}`,
		"3 objects of TwilioAccount default are stalled: AddOnRejected.")
	blocked := plain("PhoneNumberAddOnAssignmentDeletionBlocked", `{account="default", namespace="ops", severity="warning"}`,
		"2 objects of TwilioAccount default cannot be deleted.")
	objects := func(pod, reason, values string) string {
		return sample(pod, "twilio_addon_operator_assignments", `account="default",reason="`+reason+`"`, values)
	}
	return map[string]scenario{
		"three objects are rejected, counted by leader and standby, and mended": {
			series: []string{
				leader(), standby(), objects("a", "AddOnRejected", "_x10 3x34 stale"), objects("b", "AddOnRejected", "_x10 3x34 stale"),
				objects("a", "Synced", "500x60"),
			},
			moments: []moment{{minutes(39), nil}, {minutes(40), stalled}, {minutes(44), stalled}, {minutes(45), nil}},
		},
		"reasons that pass, or that are well": {
			series: []string{
				leader(), objects("a", "Synced", "5x60"), objects("a", "Observed", "5x60"), objects("a", "Suspended", "5x60"),
				objects("a", "Progressing", "5x60"), objects("a", "RateLimited", "5x60"), objects("a", "TwilioUnavailable", "5x60"),
			},
			moments: []moment{{minutes(60), nil}},
		},
		"two deletions are blocked, and then retained": {
			series:  []string{leader(), objects("a", "DeletionBlocked", "_x10 2x19 stale")},
			moments: []moment{{minutes(24), nil}, {minutes(25), blocked}, {minutes(29), blocked}, {minutes(30), nil}},
		},
	}
}

func removalScenarios() map[string]scenario {
	held := plain("TwilioRemovalsHeld", `{account="default", namespace="ops", severity="warning"}`,
		"Removals from 870 numbers of TwilioAccount default are held.")
	unusual := func(n string) []firing {
		return plain("TwilioRemovalsUnusual", `{account="AC1", namespace="ops", severity="critical"}`,
			n+" add-ons were unassigned within an hour in the Twilio account AC1.")
	}
	unassigned := func(pod, cause, values string) string {
		return sample(pod, "twilio_addon_operator_addons_unassigned_total", `account="AC1",cause="`+cause+`"`, values)
	}
	return map[string]scenario{
		"a mass change is held, and taken back": {
			series:  []string{leader(), sample("a", "twilio_addon_operator_removals_held", `account="default"`, "0x9 870x9 0x20")},
			moments: []moment{{minutes(10), nil}, {minutes(11), held}, {minutes(19), held}, {minutes(20), nil}},
		},
		"a burst between two scrapes, with no removal ever before": {
			series:  []string{leader(), unassigned("a", "Spec", "_x30 200x120")},
			moments: []moment{{minutes(29), nil}, {minutes(30), unusual("200")}, {minutes(89), unusual("200")}, {minutes(91), nil}},
		},
		"a burst just after a change of leader": {
			series: []string{
				leader(), unassigned("a", "Spec", "5x30 stale"), unassigned("b", "Spec", "_x32 40x120"),
			},
			moments: []moment{{minutes(31), nil}, {minutes(32), unusual("45")}, {minutes(100), nil}},
		},
		"a burst of several causes": {
			series:  []string{leader(), unassigned("a", "Spec", "_x90 0 20x60"), unassigned("a", "Delete", "_x90 0 20x60")},
			moments: []moment{{minutes(90), nil}, {minutes(91), unusual("40")}, {minutes(152), nil}},
		},
		"a few": {
			series:  []string{leader(), unassigned("a", "Spec", "_x30 25x120")},
			moments: []moment{{minutes(30), nil}, {minutes(120), nil}},
		},
		"the usual, day in, day out": {
			// 60 an hour, and on the next day 120 in one hour: less than four times the average.
			series:  []string{leader(), unassigned("a", "Drift", "0+1x1500 1500+2x60 1620x100")},
			moments: []moment{{minutes(1440), nil}, {minutes(1560), nil}, {minutes(1600), nil}},
		},
		"five times the usual": {
			series:  []string{leader(), unassigned("a", "Drift", "0+1x1500 1500+5x60 1800+1x100")},
			moments: []moment{{minutes(1500), nil}, {minutes(1561), unusual("300")}, {minutes(1640), nil}},
		},
	}
}

func processScenarios() map[string]scenario {
	errors := plain("TwilioAddOnOperatorReconcileErrors", `{controller="assignment", namespace="ops", severity="warning"}`,
		"The controller assignment of twilio-addon-operator keeps failing.")
	queue := []firing{{"TwilioAddOnOperatorQueueNotDraining", `{namespace="ops", pod="a", severity="warning"}`,
		"The queue of twilio-addon-operator has not been empty for 30 minutes.", "120 objects wait for a worker of the pod a."}}
	memory := func(share string) []firing {
		return plain("TwilioAddOnOperatorMemoryNearLimit", `{namespace="ops", pod="a", severity="warning"}`,
			"The pod a of twilio-addon-operator needs "+share+" of its memory.")
	}
	depth := func(pod, priority, values string) string {
		return sample(pod, "workqueue_depth", `controller="assignment",name="assignment",priority="`+priority+`"`, values)
	}
	const failures, of = "controller_runtime_reconcile_errors_total", `controller="assignment"`
	const live, limit = "go_gc_heap_live_bytes", "go_gc_gomemlimit_bytes"
	return map[string]scenario{
		"the API server refuses writes for half an hour": {
			series:  []string{leader(), sample("a", failures, of, "0x10 0+1x45 45x60")},
			moments: []moment{{minutes(30), nil}, {minutes(50), errors}, {minutes(75), nil}},
		},
		"another operator fails": {
			series:  []string{leader(), `  controller_runtime_reconcile_errors_total{job="another",controller="assignment"} 0+10x60` + "\n"},
			moments: []moment{{minutes(60), nil}},
		},
		"a few errors": {
			series:  []string{leader(), sample("a", failures, of, "0x10 4x60")},
			moments: []moment{{minutes(60), nil}},
		},
		"the leader's queue grows, and drains": {
			series:  []string{leader(), standby(), depth("a", "0", "0x9 20x38 0x20"), depth("a", "-100", "0x9 100x38 0x20"), depth("b", "0", "7x100")},
			moments: []moment{{minutes(39), nil}, {minutes(40), queue}, {minutes(48), queue}, {minutes(49), nil}},
		},
		"a queue that is empty at times": {
			series:  []string{leader(), depth("a", "0", "5x20 0 5x20 0 5x20")},
			moments: []moment{{minutes(62), nil}},
		},
		"the fleet outgrows the memory, and the limit is raised": {
			series: []string{
				leader(), sample("a", live, "", "100e6x9 217e6x30"),
				sample("a", limit, "", "241e6x29 1e9x10"),
			},
			moments: []moment{{minutes(24), nil}, {minutes(25), memory("90.04%")}, {minutes(29), memory("90.04%")}, {minutes(30), nil}},
		},
		"no limit at all": {
			series:  []string{leader(), sample("a", live, "", "9e9x60"), sample("a", limit, "", "9.223372036854775807e18x60")},
			moments: []moment{{minutes(60), nil}},
		},
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for _, r := range allRules(t) {
		texts[r.Alert] = r.Annotations["description"]
	}
	for name, s := range scenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newServer(t, "load 1m\n"+strings.Join(s.series, ""))
			for _, m := range s.moments {
				server.until(t, m.after)
				want := described(m.fires, texts)
				if diff := cmp.Diff(want, server.alerts(rules.StateFiring)); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", m.after, diff)
				}
			}
		})
	}
}

// described fills in the descriptions that have no variables.
func described(alerts []firing, texts map[string]string) []firing {
	var all []firing
	for _, alert := range alerts {
		if alert.Description == "" {
			alert.Description = texts[alert.Alert]
		}
		all = append(all, alert)
	}
	return all
}

// In some scenario, each alert fires and resolves.
func TestEveryAlertHasItsScenario(t *testing.T) {
	resolved := map[string]bool{}
	for _, s := range scenarios() {
		var before []firing
		for _, m := range s.moments {
			if m.fires == nil {
				for _, alert := range before {
					resolved[alert.Alert] = true
				}
			}
			before = m.fires
		}
	}
	for _, r := range allRules(t) {
		if r.Alert != "" && !resolved[r.Alert] {
			t.Errorf("no scenario has %s fire and resolve", r.Alert)
		}
	}
}
