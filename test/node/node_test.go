//go:build node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node tests the operator as it is delivered: the image and the manifest, on a real
// node with a kubelet and containerd. "make test-node" runs it; see run.sh.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// c is the cluster that all tests share, with the operator in it.
var c *cluster

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	ctx := context.Background()
	var err error
	if c, err = startCluster(ctx); err != nil {
		testenv.Exit(1, err)
	}
	code := 1
	if err = c.install(ctx); err == nil {
		code = m.Run()
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, c.logs())
	}
	c.stop()
	testenv.Exit(code, err)
}

// The pod of the shipped manifest runs under the restricted profile, which the API server
// enforces, and cannot write to its own file system.
func TestPodIsRestricted(t *testing.T) {
	namespace := &corev1.Namespace{}
	must(t, c.client.Get(t.Context(), client.ObjectKey{Name: testenv.Namespace}, namespace))
	if got := namespace.Labels["pod-security.kubernetes.io/enforce"]; got != "restricted" {
		t.Errorf("the namespace enforces %q", got)
	}
	pid := c.managerPID(t, c.pod(t))
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for _, line := range []string{"Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("the process has no %q:\n%s", line, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
	must(t, err)
	if root, _, _ := strings.Cut(string(mounts), "\n"); !strings.Contains(root, " / overlay ro,") {
		t.Errorf("the root of the container is %s", root)
	}
}

// The kernel holds the container to the limit of the manifest, and the manager keeps its heap
// below nine tenths of that.
func TestMemoryLimitIsApplied(t *testing.T) {
	const limit = 512 << 20
	if got := c.memoryLimit(t); got != limit {
		t.Errorf("the limit is %d bytes, want %d", got, limit)
	}
	want := fmt.Sprintf("go_gc_gomemlimit_bytes %s\n", scientific(limit*9/10))
	if metrics := c.metrics(t, c.token(t, "memory-reader", "metrics-reader")); !strings.Contains(metrics, want) {
		t.Errorf("the metrics have no %q", want)
	}
}

// The metrics are served through the Service, over TLS, to those whom the API server
// authorizes.
func TestMetricsThroughTheService(t *testing.T) {
	if got, _ := c.askMetrics(t, ""); got != http.StatusUnauthorized {
		t.Errorf("without a token the answer is %d", got)
	}
	if got, _ := c.askMetrics(t, c.token(t, "nobody", "")); got != http.StatusForbidden {
		t.Errorf("with a token that has no right the answer is %d", got)
	}
	if got := c.metrics(t, c.token(t, "scraper", "metrics-reader")); !strings.Contains(got, "twilio_addon_operator_build_info{") {
		t.Errorf("the metrics are %s", got)
	}
}

// Objects converge. A container whose process is killed is started anew by the kubelet and
// leads at once: the lease that it left is its own.
func TestKilledContainerLeadsAtOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.create(t, 1, 2)
	w.converged(t)
	pod, lease := c.pod(t), c.lease(t)
	must(t, syscall.Kill(c.managerPID(t, pod), syscall.SIGKILL))
	w.create(t, 3)
	w.converged(t)
	after := c.pod(t)
	if after.UID != pod.UID || after.Status.ContainerStatuses[0].RestartCount != pod.Status.ContainerStatuses[0].RestartCount+1 {
		t.Errorf("the pod was not restarted once: %+v", after.Status.ContainerStatuses)
	}
	now := c.lease(t)
	if *now.Spec.HolderIdentity != *lease.Spec.HolderIdentity || *now.Spec.LeaseTransitions != *lease.Spec.LeaseTransitions {
		t.Errorf("the lease has changed hands: %+v, before %+v", now.Spec, lease.Spec)
	}
	w.assignedOnce(t)
}

// A rollout in the midst of work does nothing twice and leaves nothing out: by Twilio's
// journal each add-on is assigned once and none is removed. By the Lease, two leaders follow
// each other, and nothing happens in Twilio while nobody leads.
func TestRolloutWithWorkInFlight(t *testing.T) {
	const numbers = 60
	w := newWorld(t, numbers)
	must(t, w.sim.UpdateBehaviour(func(b *twiliosim.Behaviour) { b.Latency = twiliosim.Duration(100 * time.Millisecond) }))
	before := c.pod(t)
	lease := c.watchLease(t, before)
	for n := range numbers {
		w.create(t, n+1)
		if n == numbers/3 {
			c.rollOut(t)
		}
	}
	w.converged(t)
	c.available(t)
	after := c.pod(t)
	if after.UID == before.UID {
		t.Fatal("the rollout has not replaced the pod")
	}
	w.assignedOnce(t)
	released, acquired := lease.handover(t, before, after)
	for _, m := range w.sim.Journal() {
		if m.Time.After(released) && m.Time.Before(acquired) {
			t.Errorf("%s of %s at %s: nobody led from %s to %s", m.Change, m.Number, m.Time, released, acquired)
		}
	}
	t.Logf("nobody led for %s; the longest time without an assignment: %s", acquired.Sub(released).Round(time.Millisecond), w.longestPause())
}

// A drained node evicts the pod. When the node is back, the pod's successor goes on.
func TestDrain(t *testing.T) {
	w := newWorld(t, 2)
	w.create(t, 1)
	w.converged(t)
	pod := c.pod(t)
	c.cordon(t, true)
	must(t, c.client.SubResource("eviction").Create(t.Context(), pod, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace}}))
	c.waitFor(t, "the pod is gone", func() error {
		if err := c.client.Get(t.Context(), client.ObjectKeyFromObject(pod), &corev1.Pod{}); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("it is still there (%w)", err)
		}
		return nil
	})
	w.create(t, 2) // nobody is there to serve it
	c.cordon(t, false)
	w.converged(t)
	w.assignedOnce(t)
}

// A process that hangs is taken out of the Service by its readiness probe, and comes back.
func TestHungProcessIsNotReady(t *testing.T) {
	c.waitFor(t, "the pod is ready", func() error { return c.ready(t, true) })
	pid := c.managerPID(t, c.pod(t))
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	c.waitFor(t, "the pod is not ready", func() error { return c.ready(t, false) })
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	c.waitFor(t, "the pod is ready again", func() error { return c.ready(t, true) })
}

// A process that hangs for good is killed because of its liveness probe, and within less than
// the pod's grace period: SIGTERM reaches it as little as the probe. Its successor leads.
func TestHungProcessIsRestarted(t *testing.T) {
	w := newWorld(t, 2)
	w.create(t, 1)
	w.converged(t)
	pod := c.pod(t)
	before := pod.Status.ContainerStatuses[0].RestartCount
	pid := c.managerPID(t, pod)
	hung := time.Now()
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	w.create(t, 2) // nobody is there to serve it
	c.waitFor(t, "the container is restarted", func() error {
		if got := c.pod(t).Status.ContainerStatuses[0]; got.RestartCount != before+1 {
			return fmt.Errorf("%+v", got)
		}
		return nil
	})
	w.converged(t)
	w.assignedOnce(t)

	after := c.pod(t)
	ended := after.Status.ContainerStatuses[0].LastTerminationState.Terminated
	killing := c.event(t, after, "Killing", "failed liveness probe")
	if after.UID != pod.UID || ended == nil || ended.ExitCode != 128+int32(syscall.SIGKILL) {
		t.Fatalf("the process was not killed in its pod: %+v", after.Status)
	}
	took := ended.FinishedAt.Sub(killing.LastTimestamp.Time)
	t.Logf("the probe failed %s after the process began to hang, which then had %s", killing.LastTimestamp.Sub(hung), took)
	if grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second; took >= grace {
		t.Errorf("the process had %s to end, no less than the grace period of the pod", took)
	}
}

// A process that gets five hundredths of a processor for longer than the liveness probe has
// patience is not killed, and serves what it is asked to.
func TestStarvedProcessor(t *testing.T) {
	w := newWorld(t, 1)
	pod := c.pod(t)
	before := pod.Status.ContainerStatuses[0].RestartCount
	c.setQuota(t, 5_000)
	defer c.setQuota(t, -1)
	w.create(t, 1)
	w.converged(t)
	// Four periods of the liveness probe. There is no event to wait for: that nothing happens
	// is what is tested.
	deadline := time.Now().Add(80 * time.Second)
	c.waitFor(t, "the time is over", func() error {
		now := c.pod(t)
		if got := now.Status.ContainerStatuses[0].RestartCount; now.UID != pod.UID || got != before {
			t.Fatalf("the pod was restarted: %+v", now.Status)
		}
		if time.Now().Before(deadline) {
			return errors.New("it is not")
		}
		return nil
	})
}

// What "make try" does once the images are pushed: the simulator runs beside the operator,
// which finds it by the name of its Service, and the samples become Ready.
func TestTry(t *testing.T) {
	must(t, c.apply(t.Context(), "try.yaml"))
	c.available(t)
	must(t, c.apply(t.Context(), "try-objects.yaml"))
	t.Cleanup(func() {
		objects, err := objectsOf("try-objects.yaml")
		must(t, err)
		for _, object := range objects {
			must(t, client.IgnoreNotFound(c.client.Delete(context.Background(), object)))
		}
	})
	for name, reason := range map[string]string{
		"front-desk": v1alpha1.ReasonObserved, "sales-line": v1alpha1.ReasonSynced, "support-line": v1alpha1.ReasonSynced,
	} {
		c.waitFor(t, name+" is "+reason, func() error {
			object := &v1alpha1.PhoneNumberAddOnAssignment{}
			err := c.client.Get(t.Context(), client.ObjectKey{Namespace: "twilio-samples", Name: name}, object)
			return errors.Join(err, testenv.Says(object.Status.Conditions, reason))
		})
	}
}

// With 20,000 objects and an edit of their account, which has every one of them reconciled,
// the process stays well below its limit. It is the last test: to delete so many takes long.
func TestMemoryOfManyObjects(t *testing.T) {
	const objects, limit = 20_000, 512 << 20
	w := newWorld(t, 0)
	w.left = true
	w.patchAccount(t, `{"spec":{"suspend":true}}`)
	w.createMany(t, objects)
	token := c.token(t, "counter", "metrics-reader")
	before, peak := c.reconciles(t, token), int64(0)
	w.patchAccount(t, `{"spec":{"resyncInterval":"1h"}}`)
	c.waitFor(t, "every object was reconciled", func() error {
		peak = max(peak, c.resident(t))
		if n := c.reconciles(t, token) - before; n < objects {
			return fmt.Errorf("%d reconciles since the edit", n)
		}
		return nil
	})
	t.Logf("at most %d MB were resident", peak>>20)
	if peak > limit/2 {
		t.Errorf("%d MB were resident with %d objects, more than half of the limit", peak>>20, objects)
	}
	if got := c.pod(t).Status.ContainerStatuses[0]; got.LastTerminationState.Terminated != nil && got.LastTerminationState.Terminated.Reason == "OOMKilled" {
		t.Errorf("the container was killed for its memory: %+v", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token returns a token of a ServiceAccount that has the ClusterRole, if one is given.
func (c *cluster) token(t *testing.T, name, role string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: testenv.Namespace}}
	must(t, c.client.Create(t.Context(), account))
	if role != "" {
		must(t, c.client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "twilio-addon-operator-" + role},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: testenv.Namespace}},
		}))
	}
	request := &authenticationv1.TokenRequest{}
	must(t, c.client.SubResource("token").Create(t.Context(), account, request))
	return request.Status.Token
}

// askMetrics asks the metrics Service for the metrics.
func (c *cluster) askMetrics(t *testing.T, token string) (status int, body string) {
	t.Helper()
	var services corev1.ServiceList
	must(t, c.client.List(t.Context(), &services, client.InNamespace(testenv.Namespace)))
	at := slices.IndexFunc(services.Items, func(s corev1.Service) bool { return strings.Contains(s.Name, "metrics") })
	if at < 0 {
		t.Fatal("there is no Service for the metrics")
	}
	service := &services.Items[at]
	url := "https://" + net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(int(service.Spec.Ports[0].Port))) + "/metrics"
	// The manager's certificate is its own; who it is is not what is tested. A connection that
	// begins after a rollout and before kube-proxy has the new pod's address goes to the pod that
	// is gone, and the kernel's connection tracking sends each repeated SYN there too. Only a new
	// connection finds the new pod, so the time to wait for one is short.
	cl := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: time.Second}).DialContext,
	}}
	c.waitFor(t, "the Service answers", func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		must(t, err)
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := cl.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		text, err := io.ReadAll(answer.Body)
		status, body = answer.StatusCode, string(text)
		return err
	})
	return status, body
}

// metrics are those that somebody with the right gets. A right that was just given takes a
// moment to count.
func (c *cluster) metrics(t *testing.T, token string) (body string) {
	t.Helper()
	c.waitFor(t, "the metrics are served", func() error {
		status, text := c.askMetrics(t, token)
		if body = text; status != http.StatusOK {
			return fmt.Errorf("the answer is %d", status)
		}
		return nil
	})
	return body
}

var reconciled = regexp.MustCompile(`(?m)^controller_runtime_reconcile_total\{controller="assignment",[^}]*\} (\S+)$`)

// reconciles is how many reconciles of assignments the process has made.
func (c *cluster) reconciles(t *testing.T, token string) (n int) {
	t.Helper()
	for _, line := range reconciled.FindAllStringSubmatch(c.metrics(t, token), -1) {
		value, err := strconv.ParseFloat(line[1], 64)
		must(t, err)
		n += int(value)
	}
	return n
}

func (c *cluster) lease(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	lease := &coordinationv1.Lease{}
	must(t, c.client.Get(t.Context(), client.ObjectKey{Name: "twilio-addon-operator.twilio-operator.dev", Namespace: testenv.Namespace}, lease))
	return lease
}
