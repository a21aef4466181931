// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifests holds the tests of what is not Go: the manifests, which are applied
// to a real API server, and the documentation.
package manifests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

const (
	root     = "../.."
	operator = "twilio-addon-operator"
	// operatorNamespace is what config/default says.
	operatorNamespace = operator + "-system"
)

var (
	// cluster is a real API server with the operator installed by config/default.
	cluster client.Client
	// serverConfig leads to it, as administrator.
	serverConfig *rest.Config
	warnings     warningLog
)

func TestMain(m *testing.M) {
	testenv.Exit(testenv.WithControlPlane(context.Background(), func(server *testenv.Server) (int, error) {
		if err := setUp(context.Background(), server.Config); err != nil {
			return 1, err
		}
		return m.Run(), nil
	}, withoutCRDs))
}

// withoutCRDs leaves the kinds to config/default, which installs them with everything else.
func withoutCRDs(server *testenv.Server) { server.CRDDirectoryPaths = nil }

func setUp(ctx context.Context, config *rest.Config) (err error) {
	serverConfig = config
	config.WarningHandlerWithContext = &warnings
	cluster, err = client.New(config, client.Options{Scheme: clientgoscheme.Scheme, FieldOwner: "manifests-test", FieldValidation: "Strict"})
	if err != nil {
		return err
	}
	objects, err := render(ctx, filepath.Join(root, "config", "default"))
	if err != nil {
		return err
	}
	return install(ctx, config.Host, objects)
}

// install applies everything, and waits for the kinds to be served before it returns.
func install(ctx context.Context, host string, objects []*unstructured.Unstructured) error {
	for _, object := range objects {
		if err := apply(ctx, object); err != nil {
			return fmt.Errorf("applying %s to %s: %w", describe(object), host, err)
		}
	}
	return awaitKinds(ctx, objects)
}

func awaitKinds(ctx context.Context, objects []*unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, object := range objects {
		if object.GetKind() != "CustomResourceDefinition" {
			continue
		}
		for !established(ctx, object) {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("waiting for %s: %w", object.GetName(), err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

func established(ctx context.Context, crd *unstructured.Unstructured) bool {
	current := crd.DeepCopy()
	if err := cluster.Get(ctx, client.ObjectKeyFromObject(crd), current); err != nil {
		return false
	}
	conditions, _, _ := unstructured.NestedSlice(current.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Established" && condition["status"] == "True"
	})
}

func apply(ctx context.Context, object *unstructured.Unstructured, options ...client.ApplyOption) error {
	return cluster.Apply(ctx, client.ApplyConfigurationFromUnstructured(object.DeepCopy()), options...)
}

// render is what "kustomize build" makes of a folder.
func render(ctx context.Context, folder string) ([]*unstructured.Unstructured, error) {
	kustomize := os.Getenv("KUSTOMIZE")
	if kustomize == "" {
		kustomize = filepath.Join(root, "bin", "kustomize")
	}
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, kustomize, "build", folder)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering %s (make bin/kustomize builds what it needs): %w\n%s", folder, err, stderr.String())
	}
	return decode(bytes.NewReader(out))
}

func decode(r io.Reader) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	decoder := utilyaml.NewYAMLOrJSONDecoder(r, 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// mustRender renders a folder of the repository.
func mustRender(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := render(t.Context(), filepath.Join(root, folder))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// find returns the one object of a kind; the name is needed where there are several.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) T {
	t.Helper()
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind && (name == "" || object.GetName() == name) {
			found = append(found, object)
		}
	}
	if len(found) != 1 {
		t.Fatalf("found %d objects %s %s, want one", len(found), kind, name)
	}
	return as[T](t, found[0])
}

func describe(object *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
}

// warningLog collects what the API server warns of.
type warningLog struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w *warningLog) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.texts = append(w.texts, text)
}

// take returns the warnings since the last call.
func (w *warningLog) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	texts := w.texts
	w.texts = nil
	return texts
}
