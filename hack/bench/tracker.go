// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
)

// tracker watches the objects like a user who waits for them.
type tracker struct {
	mu      sync.Mutex
	objects map[string]record
	synced  int
	changed chan struct{} // closed, and replaced, at each change
}

// record is the latest observed state of an object.
type record struct {
	generation, observed int64
	ready                bool
	at                   time.Time // of the observation
}

func (r record) synced() bool { return r.ready && r.observed == r.generation && r.generation > 0 }

// startTracker returns a tracker that knows all existing objects. It stops with ctx.
func startTracker(ctx context.Context, config *rest.Config, cl client.Client) (*tracker, error) {
	t := &tracker{objects: map[string]record{}, changed: make(chan struct{})}
	objects, err := cache.New(config, cache.Options{Scheme: cl.Scheme(), DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return nil, err
	}
	informer, err := objects.GetInformer(ctx, &assignment{}, cache.BlockUntilSynced(false))
	if err != nil {
		return nil, err
	}
	handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { t.onUpdate(o) },
		UpdateFunc: func(_, o any) { t.onUpdate(o) },
		DeleteFunc: func(o any) { t.onDelete(o) },
	})
	if err != nil {
		return nil, err
	}
	go func() { _ = objects.Start(ctx) }()
	if !toolscache.WaitForCacheSync(ctx.Done(), handler.HasSynced) {
		return nil, fmt.Errorf("watch objects: %w", ctx.Err())
	}
	return t, nil
}

func (t *tracker) onUpdate(o any) {
	a, ok := o.(*assignment)
	if !ok {
		return
	}
	seen := record{generation: a.Generation, observed: a.Status.ObservedGeneration, at: time.Now()}
	if ready := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady); ready != nil {
		seen.ready = ready.Status == "True"
	}
	t.set(a.Name, seen, true)
}

func (t *tracker) onDelete(o any) {
	if unknown, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
		o = unknown.Obj
	}
	if a, ok := o.(*assignment); ok {
		t.set(a.Name, record{}, false)
	}
}

func (t *tracker) set(name string, seen record, exists bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.objects[name].synced() {
		t.synced--
	}
	if seen.synced() {
		t.synced++
	}
	if exists {
		t.objects[name] = seen
	} else {
		delete(t.objects, name)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

// counts returns the number of objects and of synced objects.
func (t *tracker) counts() (all, synced int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.objects), t.synced
}

// waitDone waits until an object is synced for at least this generation. It returns when that was
// observed.
func (t *tracker) waitDone(ctx context.Context, name string, generation int64) (time.Time, error) {
	for {
		t.mu.Lock()
		r, changed := t.objects[name], t.changed
		t.mu.Unlock()
		if r.synced() && r.generation >= generation {
			return r.at, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%s is not synced, last observed %+v: %w", name, r, ctx.Err())
		}
	}
}
