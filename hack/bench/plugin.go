// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/testenv"
)

// plugin runs the kubectl plugin on an account of which each number carries add-ons: it
// exports manifests, and then compares them with Twilio.
func plugin(ctx context.Context, w *world) (outcome, error) {
	numbers := pick(w.bench, 1000, 60)
	manifests := filepath.Join(w.env.Dir, "plugin.yaml")
	defer func() { _ = os.Remove(manifests) }()
	if err := errors.Join(w.seed(ctx, 1, numbers, addOnsPerNumber), w.setTwilioLimits(ctx, latency, limit)); err != nil {
		return outcome{}, err
	}
	// Both list the numbers and then each number's add-ons. The plan also lists what is installed.
	export, err := w.runPlugin(ctx, "export", numbers+1, "--policy=Authoritative", "--output-file="+manifests)
	if err != nil {
		return outcome{}, err
	}
	plan, err := w.runPlugin(ctx, "plan", numbers+2, "--filename="+manifests)
	return outcome{
		Title:   fmt.Sprintf("kubectl twilio-addons, %s numbers × %d add-ons, %s, limit %d", thousands(numbers), addOnsPerNumber, latency, limit),
		Figures: append(export, plan...),
	}, err
}

// runPlugin runs a command of the plugin as a process and measures it. minimum is how many
// calls it cannot do without.
func (w *world) runPlugin(ctx context.Context, command string, minimum int, args ...string) ([]figure, error) {
	if err := w.sim.Admin.ResetCalls(ctx); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(testenv.Root(), "bin", "kubectl-twilio_addons"), append([]string{command}, args...)...)
	cmd.Env = append(os.Environ(), "TWILIO_ACCOUNT_SID="+accountSID(1), "TWILIO_AUTH_TOKEN="+authToken, "TWILIO_API_BASE_URL="+w.sim.URL)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", command, err, &said)
	}
	duration := time.Since(start)
	actual, err := w.sim.Admin.CallTotals(ctx)
	calls := actual.Total.Calls
	return []figure{
		ratio(command+": duration ÷ (calls × latency ÷ limit)", duration.Seconds()/optimum(calls).Seconds()).withGoal("≤", 1.10),
		count(command+": calls ÷ minimum", float64(calls)/float64(minimum), 1, 2),
		figure{Name: command + ": peak resident memory", Value: peakResident(cmd.ProcessState) / 1e6, Unit: " MB"}.withGoal("≤", 100),
	}, err
}

// peakResident returns the most memory in bytes that an ended process had resident, as the
// kernel counted it; 0 where it does not.
func peakResident(ended *os.ProcessState) float64 {
	usage, ok := ended.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	if runtime.GOOS == "darwin" { // there in bytes, elsewhere in KiB
		return float64(usage.Maxrss)
	}
	return float64(usage.Maxrss) * 1024
}
