// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// plugin exports an account with the kubectl plugin, and plans what it has exported. Both
// read each number once. No manager runs.
func plugin(ctx context.Context, w *world) (outcome, error) {
	numbers := pick(w.bench, 1000, 60)
	out := outcome{Title: fmt.Sprintf("kubectl twilio-addons on %s numbers × %d add-ons, %s, limit %d", thousands(numbers), addOnsPerNumber, latency, limit)}
	if err := w.seed(ctx, 1, numbers, addOnsPerNumber); err != nil {
		return out, err
	}
	if err := w.setTwilioLimits(ctx, latency, limit); err != nil {
		return out, err
	}
	file := filepath.Join(w.env.Dir, "exported.yaml")
	defer func() { _ = os.Remove(file) }()
	for _, c := range []struct {
		args []string
		// minimum is the calls that it takes: one page of numbers, a list for each number, and
		// for a plan one page of the installed add-ons.
		minimum int
	}{
		{[]string{"export", "--output-file", file}, 1 + numbers},
		{[]string{"plan", "-f", file}, 1 + numbers + 1},
	} {
		if err := w.sim.Admin.ResetCalls(ctx); err != nil {
			return out, err
		}
		wall, peak, err := w.runPlugin(ctx, c.args...)
		if err != nil {
			return out, err
		}
		actual, err := w.sim.Admin.CallTotals(ctx)
		if err != nil {
			return out, err
		}
		calls := actual.Total.Calls
		out.Figures = append(out.Figures,
			ratio(c.args[0]+": duration ÷ (calls × latency ÷ limit)", wall.Seconds()/optimum(calls).Seconds()).withGoal("≤", 1.15),
			count(c.args[0]+": calls ÷ minimum", float64(calls)/float64(c.minimum), 1, 2),
			figure{Name: c.args[0] + ": peak resident memory", Value: float64(peak) / 1e6, Unit: " MB"}.withGoal("≤", 100),
		)
	}
	return out, nil
}

// runPlugin runs bin/kubectl-twilio_addons with the credential of the first account. It
// returns how long that took, and the most memory that the process had, in bytes.
func (w *world) runPlugin(ctx context.Context, args ...string) (wall time.Duration, peak int64, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(testenv.Root(), "bin", "kubectl-twilio_addons"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+os.DevNull, "TWILIO_ACCOUNT_SID="+accountSID(1), "TWILIO_AUTH_TOKEN="+authToken, "TWILIO_API_BASE_URL="+w.sim.URL)
	start := time.Now()
	text, err := cmd.CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %s", args[0], err, text)
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("this system does not tell how much memory a process had")
	}
	return time.Since(start), usage.Maxrss * 1024, nil // Linux counts it in KiB
}
