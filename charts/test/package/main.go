// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command package writes the chart as an archive that names an image.
//
//	package --version v1.0.0 --image registry.example.com/twilio-addon-operator@sha256:... --output dist
//
// In the archive, image.repository is set, so that whoever installs it needs no values.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "package: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("package", flag.ContinueOnError)
	folder := flags.String("chart", "charts/twilio-addon-operator", "The folder of the chart.")
	version := flags.String("version", "", "The version. Default: the one in Chart.yaml.")
	image := flags.String("image", "", "The image, with tag or digest. Default: none, so that installing needs image.repository.")
	output := flags.String("output", "dist", "The folder for the archive.")
	if err := flags.Parse(args); err != nil {
		return err
	}
	loaded, err := loader.Load(*folder)
	if err != nil {
		return err
	}
	if *version != "" {
		if err := setVersion(loaded, *version); err != nil {
			return err
		}
	}
	if *image != "" {
		if err := setImage(loaded, *image); err != nil {
			return err
		}
	}
	path, err := chartutil.Save(loaded, *output)
	if err != nil {
		return err
	}
	fmt.Println(path)
	return nil
}

// setVersion sets both versions. What git describes without any tag is no version that
// Helm accepts; the chart then keeps its own, and the application says what it is.
func setVersion(c *chart.Chart, version string) error {
	c.Metadata.AppVersion = version
	own := c.Metadata.Version
	c.Metadata.Version = strings.TrimPrefix(version, "v")
	if c.Validate() != nil {
		c.Metadata.Version = own + "-" + strings.ReplaceAll(version, "_", "-")
	}
	return c.Validate()
}

// setImage writes the image into values.yaml, where users look for it.
func setImage(c *chart.Chart, image string) error {
	repository, digest, pinned := strings.Cut(image, "@")
	tag := ""
	if slash, colon := strings.LastIndex(repository, "/"), strings.LastIndex(repository, ":"); colon > slash {
		repository, tag = repository[:colon], repository[colon+1:]
	}
	if !pinned && tag == "" {
		return fmt.Errorf("the image %q has neither tag nor digest", image)
	}
	for _, file := range c.Raw {
		if file.Name != chartutil.ValuesfileName {
			continue
		}
		for _, value := range [][2]string{{"repository", repository}, {"tag", tag}, {"digest", digest}} {
			before := fmt.Appendf(nil, "\n  %s: \"\"\n", value[0])
			if bytes.Count(file.Data, before) != 1 {
				return fmt.Errorf("values.yaml does not hold image.%s once, and empty", value[0])
			}
			file.Data = bytes.Replace(file.Data, before, fmt.Appendf(nil, "\n  %s: %q\n", value[0], value[1]), 1)
		}
		return nil
	}
	return errors.New("the chart has no values.yaml")
}
