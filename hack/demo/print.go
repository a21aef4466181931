// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func title(text string)                  { say("\n%s", bold(text)) }
func command(format string, args ...any) { say("  $ "+format, args...) }
func success(text string)                { say("  ✓ %s", text) }

// bold makes text bold if the output is a terminal.
func bold(text string) string {
	if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\033[1m" + text + "\033[0m"
}

// printTable prints a list with the columns that the API server returns to kubectl.
func printTable(ctx context.Context, cfg *rest.Config, path string) error {
	cl, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(cfg.Host, "/")+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	res, err := cl.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	var table metav1.Table
	if err := json.NewDecoder(res.Body).Decode(&table); err != nil {
		return fmt.Errorf("decode the table: %w", err)
	}
	return writeTable(&table)
}

func writeTable(table *metav1.Table) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	var names []string
	for _, column := range table.ColumnDefinitions {
		if column.Priority == 0 {
			names = append(names, strings.ToUpper(column.Name))
		}
	}
	_, _ = fmt.Fprintln(w, "  "+strings.Join(names, "\t"))
	for _, row := range table.Rows {
		var cells []string
		for i, cell := range row.Cells {
			if table.ColumnDefinitions[i].Priority != 0 {
				continue
			}
			if cell == nil {
				cell = "" // as kubectl prints a value that is not set
			}
			cells = append(cells, fmt.Sprint(cell))
		}
		_, _ = fmt.Fprintln(w, "  "+strings.Join(cells, "\t"))
	}
	return w.Flush()
}
