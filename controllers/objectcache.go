// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// openCache makes a cache.
type openCache func(cache.Options) (cache.Cache, error)

// objectCache is a cache of some of the objects, which can be stopped.
type objectCache struct {
	store toolscache.Store
	// synced is closed once the objects are known, stopped once they never will be.
	synced  chan struct{}
	stopped <-chan struct{}
	stop    context.CancelFunc
}

// start begins to watch until ctx ends or stop is called, and does not wait.
func (c *objectCache) start(ctx context.Context, open openCache, o cache.Options, events handler.TypedEventHandler[*assignment, reconcile.Request]) error {
	opened, err := open(o)
	if err != nil {
		return err
	}
	informer, err := opened.GetInformer(ctx, &assignment{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return fmt.Errorf("the cache has informers of the type %T, which have no store", informer)
	}
	ctx, c.stop = context.WithCancel(ctx)
	c.store, c.synced, c.stopped = shared.GetStore(), make(chan struct{}), ctx.Done()
	kind := source.Kind(opened, &assignment{}, events)
	if err := kind.Start(ctx, nil); err != nil {
		return err
	}
	go func() {
		if err := opened.Start(ctx); err != nil {
			logf.FromContext(ctx).Error(err, "A cache of objects has ended")
		}
	}()
	go func() {
		if err := kind.WaitForSync(ctx); err == nil && ctx.Err() == nil {
			close(c.synced)
		}
	}()
	return nil
}

func (c *objectCache) isSynced() bool {
	select {
	case <-c.synced:
		return true
	default:
		return false
	}
}

// waitForSync waits until the objects are known. It returns false if the cache was stopped
// before.
func (c *objectCache) waitForSync(ctx context.Context) (synced bool, err error) {
	select {
	case <-c.synced:
		return true, nil
	case <-c.stopped:
		return c.isSynced(), nil
	case <-ctx.Done():
		return false, fmt.Errorf("waiting until the objects are known: %w", ctx.Err())
	}
}

// get returns the object of a key, nil if there is none. Do not change it.
func (c *objectCache) get(key types.NamespacedName) *assignment {
	object, _, _ := c.store.GetByKey(key.String()) // a store in memory has no errors
	a, _ := object.(*assignment)
	return a
}

// objects lists the objects. Do not change them.
func (c *objectCache) objects() []*assignment {
	var all []*assignment
	for _, object := range c.store.List() {
		if a, ok := object.(*assignment); ok {
			all = append(all, a)
		}
	}
	return all
}
