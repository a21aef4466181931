// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command twiliosim serves a simulated Twilio and its admin API over HTTP. It stops on SIGINT or
// SIGTERM. Package internal/twiliosim describes what it simulates.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twiliosim"
)

// stopTimeout is how long a stopping simulator waits for open requests.
const stopTimeout = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "twiliosim:", err)
		os.Exit(1)
	}
}

// config holds the values of the flags.
type config struct {
	listen, adminListen     string
	addressesFile, seedFile string
	latency, jitter         time.Duration
	concurrencyLimit        int
	seed                    uint64
	requestLog              int
	log                     bool
}

func parseFlags(args []string, output io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("twiliosim", flag.ContinueOnError)
	f.SetOutput(output)
	f.StringVar(&c.listen, "listen", "127.0.0.1:8090", "listen address of the Twilio API; port 0 selects a free port")
	f.StringVar(&c.adminListen, "admin-listen", "127.0.0.1:8091",
		"listen address of the admin API, which has no authentication; port 0 selects a free port")
	f.StringVar(&c.addressesFile, "addresses-file", "",
		`file that receives {"api": URL, "admin": URL} once both APIs listen`)
	f.StringVar(&c.seedFile, "seed-file", "", "JSON file with the initial state, in the format of GET /state")
	f.DurationVar(&c.latency, "latency", 0, "duration of each request")
	f.DurationVar(&c.jitter, "latency-jitter", 0, "upper limit of a random addition to the latency")
	f.IntVar(&c.concurrencyLimit, "concurrency-limit", 0,
		"requests in flight per account; further requests are answered 429 (0: no limit)")
	f.Uint64Var(&c.seed, "seed", 1, "seed of the random choices")
	f.IntVar(&c.requestLog, "request-log", 1000, "number of latest requests that the admin API returns")
	f.BoolVar(&c.log, "log", false, "write a line per request to standard error")
	if err := f.Parse(args); err != nil {
		return config{}, err
	}
	if f.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	return c, nil
}

// run serves both APIs until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	sim, err := newSim(c, stderr)
	if err != nil {
		return err
	}
	api, err := net.Listen("tcp", c.listen)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	admin, err := net.Listen("tcp", c.adminListen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for the admin API: %w", err), api.Close())
	}
	if err := announce(c, api.Addr(), admin.Addr(), stdout); err != nil {
		return errors.Join(err, api.Close(), admin.Close())
	}
	return serve(ctx, map[net.Listener]http.Handler{api: sim.Handler(), admin: sim.AdminHandler()})
}

func newSim(c config, stderr io.Writer) (*twiliosim.Sim, error) {
	options := twiliosim.Options{Seed: c.seed, RequestLog: c.requestLog}
	if c.log {
		options.OnRequest = func(r twiliosim.Request) { logRequest(stderr, r) }
	}
	sim := twiliosim.New(options)
	err := sim.UpdateBehaviour(func(b *twiliosim.Behaviour) {
		b.Latency, b.LatencyJitter = twiliosim.Duration(c.latency), twiliosim.Duration(c.jitter)
		b.ConcurrencyLimit = c.concurrencyLimit
	})
	if err != nil || c.seedFile == "" {
		return sim, err
	}
	data, err := os.ReadFile(c.seedFile)
	if err != nil {
		return nil, fmt.Errorf("seed file: %w", err)
	}
	var state twiliosim.State
	if err := json.Unmarshal(data, &state); err != nil {
		return nil, fmt.Errorf("seed file %s: %w", c.seedFile, err)
	}
	return sim, sim.Restore(state)
}

// logRequest writes its line with a single write, so that lines of concurrent requests do not mix.
func logRequest(w io.Writer, r twiliosim.Request) {
	fault := ""
	if r.Fault != "" {
		fault = " fault=" + string(r.Fault)
	}
	fmt.Fprintf(w, "%s %d %s %s user=%s id=%s%s\n", r.Time.UTC().Format("15:04:05.000"), r.Status,
		r.Method, r.Path, r.User, r.RequestID, fault)
}

// announce writes the two URLs to stdout and to the addresses file.
func announce(c config, api, admin net.Addr, stdout io.Writer) error {
	urls := map[string]string{"api": "http://" + api.String(), "admin": "http://" + admin.String()}
	if c.addressesFile != "" {
		if err := writeFile(c.addressesFile, urls); err != nil {
			return fmt.Errorf("addresses file: %w", err)
		}
	}
	_, err := fmt.Fprintf(stdout, "twiliosim ready: api %s admin %s\n", urls["api"], urls["admin"])
	return err
}

// writeFile writes v as JSON. A reader never sees an incomplete file.
func writeFile(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return os.Rename(tmp.Name(), name)
}

// serve serves each handler on its listener until ctx ends or a listener fails.
func serve(ctx context.Context, handlers map[net.Listener]http.Handler) error {
	failed := make(chan error, len(handlers))
	var servers []*http.Server
	for listener, handler := range handlers {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listener) }()
	}
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	for _, server := range servers {
		err = errors.Join(err, stopServer(server))
	}
	return err
}

// stopServer waits for open requests, but at most stopTimeout.
func stopServer(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	} else if err != nil {
		return err
	}
	return nil
}
