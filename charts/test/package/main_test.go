// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

const folder = "../../twilio-addon-operator"

// What is packaged has the version and the image in it.
func TestPackage(t *testing.T) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	tests := map[string]struct {
		version, image         string
		wantVersion, wantApp   string
		repository, tag, wantD string
	}{
		"a release":     {"v1.2.3", "reg.example.com:5000/a/b@" + digest, "1.2.3", "v1.2.3", "reg.example.com:5000/a/b", "", digest},
		"a tag":         {"v1.2.3-rc.1", "reg.example.com:5000/a/b:v1", "1.2.3-rc.1", "v1.2.3-rc.1", "reg.example.com:5000/a/b", "v1", ""},
		"a commit":      {"0abc123-dirty", "", "0.1.0-0abc123-dirty", "0abc123-dirty", "", "", ""},
		"after release": {"v1.2.3-4-gabc", "", "1.2.3-4-gabc", "v1.2.3-4-gabc", "", "", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			output := t.TempDir()
			if err := run([]string{"--chart=" + folder, "--version=" + test.version, "--image=" + test.image, "--output=" + output}); err != nil {
				t.Fatal(err)
			}
			loaded, err := loader.Load(filepath.Join(output, "twilio-addon-operator-"+test.wantVersion+".tgz"))
			if err != nil {
				t.Fatal(err)
			}
			image := loaded.Values["image"].(map[string]any)
			want := []any{test.wantVersion, test.wantApp, test.repository, test.tag, test.wantD}
			got := []any{loaded.Metadata.Version, loaded.Metadata.AppVersion, image["repository"], image["tag"], image["digest"]}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the chart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPackageRefuses(t *testing.T) {
	err := run([]string{"--chart=" + folder, "--image=reg.example.com:5000/a/b", "--output=" + t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "neither tag nor digest") {
		t.Errorf("an image without tag: the error is %v", err)
	}
}
