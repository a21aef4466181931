//go:build node

// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// objectsOf reads a manifest that was built for the test.
func objectsOf(name string) (objects []*unstructured.Unstructured, err error) {
	manifest, err := os.ReadFile(delivered(name))
	if err != nil {
		return nil, err
	}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

// apply does what "kubectl apply --server-side" does, and waits for kinds to be served.
func (c *cluster) apply(ctx context.Context, manifest string) error {
	objects, err := objectsOf(manifest)
	if err != nil {
		return err
	}
	for _, object := range objects {
		err := c.wait(ctx, "the manifest is applied", func() error {
			return c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("node"), client.ForceOwnership)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// install applies the shipped manifest as it is, and waits until its pod is ready. Then it
// admits plain http, for the simulator has no certificate that anybody knows.
func (c *cluster) install(ctx context.Context) error {
	if err := c.apply(ctx, "node/install.yaml"); err != nil {
		return err
	}
	if err := c.isAvailable(ctx); err != nil {
		return err
	}
	return errors.Join(c.changeDeployment(ctx, func(d *appsv1.Deployment) {
		container := &d.Spec.Template.Spec.Containers[0]
		container.Args = append(container.Args, "--allow-insecure-twilio-url")
	}), c.isAvailable(ctx))
}

var deploymentKey = client.ObjectKey{Namespace: testenv.Namespace, Name: "twilio-addon-operator-controller-manager"}

func (c *cluster) changeDeployment(ctx context.Context, change func(*appsv1.Deployment)) error {
	deployment := &appsv1.Deployment{}
	if err := c.client.Get(ctx, deploymentKey, deployment); err != nil {
		return err
	}
	base := deployment.DeepCopy()
	change(deployment)
	return c.client.Patch(ctx, deployment, client.MergeFrom(base))
}

// isAvailable waits until the Deployment's last version runs, and nothing else.
func (c *cluster) isAvailable(ctx context.Context) error {
	return c.wait(ctx, "the Deployment is available", func() error {
		d := &appsv1.Deployment{}
		if err := c.client.Get(ctx, deploymentKey, d); err != nil {
			return err
		}
		s := d.Status
		if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != 1 || s.AvailableReplicas != 1 || s.Replicas != 1 {
			return fmt.Errorf("its status is %+v", s)
		}
		pods, err := c.pods(ctx)
		if err == nil && len(pods) != 1 {
			err = fmt.Errorf("%d pods", len(pods))
		}
		return err
	})
}

func (c *cluster) available(t *testing.T) { t.Helper(); must(t, c.isAvailable(t.Context())) }

// rollOut replaces the pod, as kubectl rollout restart does.
func (c *cluster) rollOut(t *testing.T) {
	t.Helper()
	must(t, c.changeDeployment(t.Context(), func(d *appsv1.Deployment) {
		metav1.SetMetaDataAnnotation(&d.Spec.Template.ObjectMeta, "restarted", time.Now().Format(time.RFC3339Nano))
	}))
}

func (c *cluster) pods(ctx context.Context) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := c.client.List(ctx, &pods, client.InNamespace(testenv.Namespace), client.MatchingLabels{"control-plane": "controller-manager"})
	return pods.Items, err
}

// pod waits for the one pod, with a running container.
func (c *cluster) pod(t *testing.T) (pod *corev1.Pod) {
	t.Helper()
	c.waitFor(t, "one pod runs", func() error {
		pods, err := c.pods(t.Context())
		if err != nil || len(pods) != 1 || len(pods[0].Status.ContainerStatuses) != 1 || pods[0].Status.ContainerStatuses[0].State.Running == nil {
			return fmt.Errorf("%d pods (%w)", len(pods), err)
		}
		pod = &pods[0]
		return nil
	})
	return pod
}

// ready is nil if the pod is ready, or not, as wanted.
func (c *cluster) ready(t *testing.T, want bool) error {
	t.Helper()
	for _, condition := range c.pod(t).Status.Conditions {
		if condition.Type == corev1.PodReady && (condition.Status == corev1.ConditionTrue) != want {
			return fmt.Errorf("it reports %+v", condition)
		}
	}
	return nil
}

// event waits for an event of the pod whose message contains the text.
func (c *cluster) event(t *testing.T, pod *corev1.Pod, reason, text string) (event corev1.Event) {
	t.Helper()
	c.waitFor(t, "the event "+reason, func() error {
		var events corev1.EventList
		err := c.client.List(t.Context(), &events, client.InNamespace(pod.Namespace))
		at := slices.IndexFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.UID == pod.UID && e.Reason == reason && strings.Contains(e.Message, text)
		})
		if err != nil || at < 0 {
			return fmt.Errorf("there is none among %d (%w)", len(events.Items), err)
		}
		event = events.Items[at]
		return nil
	})
	return event
}

func (c *cluster) waitFor(t *testing.T, what string, holds func() error) {
	t.Helper()
	must(t, c.wait(t.Context(), what, holds))
}

// managerPID is the process of the container.
func (c *cluster) managerPID(t *testing.T, pod *corev1.Pod) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.cgroup(t, "memory", pod), "cgroup.procs"))
	must(t, err)
	pid, err := strconv.Atoi(strings.Fields(string(text))[0])
	must(t, err)
	return pid
}

const cgroups = "/sys/fs/cgroup"

// unified says that the node has cgroups of version 2: one folder for all controllers.
var unified = func() bool { _, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers")); return err == nil }()

// cgroup is the container's folder of a controller.
func (c *cluster) cgroup(t *testing.T, controller string, pod *corev1.Pod) string {
	t.Helper()
	if unified {
		controller = ""
	}
	_, id, _ := strings.Cut(pod.Status.ContainerStatuses[0].ContainerID, "://")
	found, err := filepath.Glob(filepath.Join(cgroups, controller, "kubepods", "*", "pod"+string(pod.UID), id))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("the cgroup of %s is in %v", id, found)
	}
	return found[0]
}

// memoryLimit is that of the container, in bytes, as the kernel has it.
func (c *cluster) memoryLimit(t *testing.T) int64 {
	t.Helper()
	if unified {
		return c.memory(t, "max", "")
	}
	return c.memory(t, "limit_in_bytes", "")
}

// resident are the bytes of the container's memory that no file backs.
func (c *cluster) resident(t *testing.T) int64 {
	t.Helper()
	if unified {
		return c.memory(t, "stat", "anon ")
	}
	return c.memory(t, "stat", "total_rss ")
}

// memory reads a figure of the container's memory: what follows the text in a file.
func (c *cluster) memory(t *testing.T, file, after string) int64 {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.cgroup(t, "memory", c.pod(t)), "memory."+file))
	must(t, err)
	_, rest, _ := strings.Cut(string(text), after)
	value, _, _ := strings.Cut(rest, "\n")
	figure, err := strconv.ParseInt(value, 10, 64)
	must(t, err)
	return figure
}

// setQuota bounds the processor time of the container, in microseconds of 100,000; -1 is no bound.
func (c *cluster) setQuota(t *testing.T, quota int) {
	t.Helper()
	name, value := "cpu.cfs_quota_us", strconv.Itoa(quota)
	if unified {
		name = "cpu.max"
		if quota < 0 {
			value = "max"
		}
	}
	must(t, os.WriteFile(filepath.Join(c.cgroup(t, "cpu", c.pod(t)), name), []byte(value), 0o600))
}

func (c *cluster) cordon(t *testing.T, on bool) {
	t.Helper()
	must(t, c.client.Patch(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}},
		client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on))))
}

// scientific is a number as Prometheus prints one.
func scientific(n int) string { return strconv.FormatFloat(float64(n), 'g', -1, 64) }

// world is a Twilio account of a test's own, simulated on the node.
type world struct {
	sim       *twiliosim.Sim
	name, sid string
	number    func(n int) string
	addOn     string
	// left: what the test has made goes with the node.
	left bool
}

var worlds int

// newWorld has an account with so many numbers and one add-on.
func newWorld(t *testing.T, numbers int) *world {
	t.Helper()
	worlds++
	first := worlds * 100_000
	w := &world{
		sim: twiliosim.New(twiliosim.Options{Seed: 1}), name: fmt.Sprintf("world-%d", worlds), sid: twiliosim.SID("AC", worlds),
		number: func(n int) string { return twiliosim.SID("PN", first+n) }, addOn: twiliosim.SID("XE", worlds),
	}
	twiliosim.Must(w.sim.AddAccount(w.sid, "token"), w.sim.InstallAddOn(w.sid, w.addOn, "add_on"))
	for n := range numbers {
		twiliosim.Must(w.sim.AddNumber(w.sid, w.number(n+1), fmt.Sprintf("+1415%07d", first+n+1)))
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", nodeIP+":0")
	must(t, err)
	server := &http.Server{Handler: w.sim.Handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	tenancy := testenv.Tenancy{Name: w.name, AccountSID: w.sid, AuthToken: "token", URL: "http://" + listener.Addr().String()}
	account := tenancy.Account()
	account.Spec.AllowedNamespaces = v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	must(t, errors.Join(c.client.Create(t.Context(), tenancy.Secret()), c.client.Create(t.Context(), account),
		c.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.name}})))
	t.Cleanup(func() { w.clear(t); _ = server.Close() })
	return w
}

// clear drops what the test has made, so that the next one finds the manager at rest.
func (w *world) clear(t *testing.T) {
	t.Helper()
	if w.left {
		return
	}
	ctx := context.Background()
	must(t, c.client.Patch(ctx, &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name}},
		client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"suspend":false,"removalBudget":{"maxNumbers":"100%"}}}`))))
	must(t, c.client.DeleteAllOf(ctx, &v1alpha1.PhoneNumberAddOnAssignment{}, client.InNamespace(w.name)))
	must(t, c.client.Delete(ctx, &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name}}))
}

func (w *world) assignment(n int) *v1alpha1.PhoneNumberAddOnAssignment {
	return &v1alpha1.PhoneNumberAddOnAssignment{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("line-%d", n), Namespace: w.name},
		Spec: v1alpha1.PhoneNumberAddOnAssignmentSpec{
			PhoneNumberSID: v1alpha1.PhoneNumberSID(w.number(n)), AddOnSIDs: []v1alpha1.AddOnSID{v1alpha1.AddOnSID(w.addOn)},
			AccountRef: v1alpha1.AccountReference{Name: w.name},
		},
	}
}

func (w *world) create(t *testing.T, numbers ...int) {
	t.Helper()
	for _, n := range numbers {
		must(t, c.client.Create(t.Context(), w.assignment(n)))
	}
}

// createMany creates objects for numbers that nobody looks at.
func (w *world) createMany(t *testing.T, count int) {
	t.Helper()
	var workers sync.WaitGroup
	var failed error
	var mu sync.Mutex
	for worker := range 16 {
		workers.Go(func() {
			for n := worker; n < count; n += 16 {
				a := w.assignment(n)
				a.Spec.DeletionPolicy = v1alpha1.DeletionRetain
				if err := c.client.Create(t.Context(), a); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	workers.Wait()
	must(t, failed)
}

func (w *world) patchAccount(t *testing.T, patch string) {
	t.Helper()
	must(t, c.client.Patch(t.Context(), &v1alpha1.TwilioAccount{ObjectMeta: metav1.ObjectMeta{Name: w.name}},
		client.RawPatch("application/merge-patch+json", []byte(patch))))
}

func (w *world) objects(t *testing.T) []v1alpha1.PhoneNumberAddOnAssignment {
	t.Helper()
	var list v1alpha1.PhoneNumberAddOnAssignmentList
	must(t, c.client.List(t.Context(), &list, client.InNamespace(w.name)))
	return list.Items
}

// converged waits until every object is synced, and its add-on assigned.
func (w *world) converged(t *testing.T) {
	t.Helper()
	c.waitFor(t, "every object is synced", func() error {
		for _, o := range w.objects(t) {
			if !meta.IsStatusConditionTrue(o.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("%s: %+v", o.Name, o.Status.Conditions)
			}
			if got := w.sim.Assigned(string(o.Spec.PhoneNumberSID)); !slices.Equal(got, []string{w.addOn}) {
				return fmt.Errorf("the number of %s carries %v", o.Name, got)
			}
		}
		return nil
	})
}

// assignedOnce checks by Twilio's journal that each add-on was assigned once and stayed.
func (w *world) assignedOnce(t *testing.T) {
	t.Helper()
	seen := map[string]int{}
	for _, m := range w.sim.Journal() {
		if m.Change != twiliosim.ChangeAssign {
			t.Errorf("there was a %s of %s", m.Change, m.Number)
		}
		seen[m.Number]++
	}
	for _, o := range w.objects(t) {
		number := string(o.Spec.PhoneNumberSID)
		if calls := w.sim.Calls().Of(twiliosim.OpCreate, number).Calls; seen[number] != 1 || calls != 1 {
			t.Errorf("%s was assigned %d times with %d calls", o.Name, seen[number], calls)
		}
	}
}

// longestPause is the longest time between two changes in Twilio.
func (w *world) longestPause() (longest time.Duration) {
	journal := w.sim.Journal()
	for i := 1; i < len(journal); i++ {
		longest = max(longest, journal[i].Time.Sub(journal[i-1].Time))
	}
	return longest.Round(time.Millisecond)
}
