// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager runs the operator: it keeps the add-ons of Twilio phone numbers equal to
// the PhoneNumberAddOnAssignments in the cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	uberzap "go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/twilio-addon-operator/twilio-addon-operator/api/v1alpha1"
	"github.com/twilio-addon-operator/twilio-addon-operator/controllers"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/fleet"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/shard"
	"github.com/twilio-addon-operator/twilio-addon-operator/internal/twilio"
)

const name = "twilio-addon-operator"

// version is set at build time.
var version = "dev"

// stopWithin is how long a stopping manager lets a reconcile finish a write that it began
// in Twilio, and record it. The pod's grace period is longer.
const stopWithin = 45 * time.Second

func main() {
	if err := run(ctrl.SetupSignalHandler(), flag.CommandLine, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(1)
	}
}

// options are the values of the flags.
type options struct {
	leaderElect         bool
	metricsAddress      string
	secureMetrics       bool
	metricsCertDir      string
	probeAddress        string
	pprofAddress        string
	operatorNamespace   string
	workers             int
	allowInsecureTwilio bool
	zap                 zap.Options
	leaseDuration       time.Duration
	accountSelector     string
	selector            labels.Selector // of accountSelector
	version             bool
}

func (o *options) bind(flags *flag.FlagSet) {
	flags.BoolVar(&o.leaderElect, "leader-elect", false,
		"Elect a leader, so that only one of several managers is active.")
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443",
		"The address that serves metrics, and the log level; 0 serves none.")
	flags.BoolVar(&o.secureMetrics, "metrics-secure", true,
		"Serve metrics over TLS, and only to clients that the API server authenticates and authorizes.")
	flags.StringVar(&o.metricsCertDir, "metrics-cert-dir", "",
		"A folder with tls.crt and tls.key, the certificate for the metrics. It is read again when it changes. Default: a certificate made at start.")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081",
		"The address that serves /healthz and /readyz.")
	flags.StringVar(&o.pprofAddress, "pprof-bind-address", "0",
		"The address that serves profiles of the process to anybody who reaches it; 0 serves none.")
	flags.StringVar(&o.operatorNamespace, "operator-namespace", os.Getenv("POD_NAMESPACE"),
		"The namespace of the credential Secrets and of the leader's lease. Default: $POD_NAMESPACE.")
	flags.IntVar(&o.workers, "max-concurrent-reconciles", 256,
		"How many objects are reconciled at once, over all accounts. One that waits for a permit to call Twilio does not count, so the sum of maxConcurrentRequests of the busy accounts is enough.")
	flags.BoolVar(&o.allowInsecureTwilio, "allow-insecure-twilio-url", false,
		"Admit an apiBaseURL with plain http to hosts that are not loopback. The credential then travels unprotected.")
	flags.DurationVar(&o.leaseDuration, "leader-elect-lease-duration", 15*time.Second,
		"How long a standby waits after the leader dies. A container that starts again in its pod does not wait.")
	flags.StringVar(&o.accountSelector, "account-selector", "",
		"A label selector: which TwilioAccounts this manager serves, for example shard=a. It needs --leader-elect. Default: all.")
	flags.BoolVar(&o.version, "version", false, "Print the version and exit.")
	o.zap.BindFlags(flags)
}

// validate says what is wrong with the flags in the words of the flags.
func (o *options) validate() error {
	if o.operatorNamespace == "" {
		return errors.New("--operator-namespace is needed: the namespace of the credential Secrets (or set POD_NAMESPACE)")
	}
	if problems := validation.IsDNS1123Label(o.operatorNamespace); len(problems) > 0 {
		return fmt.Errorf("--operator-namespace %q is no namespace: %s", o.operatorNamespace, problems[0])
	}
	if o.metricsCertDir != "" && !o.secureMetrics {
		return errors.New("--metrics-cert-dir needs --metrics-secure: without TLS there is no certificate")
	}
	if o.workers < 1 || o.workers > 10000 {
		return fmt.Errorf("--max-concurrent-reconciles must be from 1 to 10000, not %d", o.workers)
	}
	if o.leaseDuration < 3*time.Second || o.leaseDuration > 10*time.Minute {
		return fmt.Errorf("--leader-elect-lease-duration must be from 3s to 10m, not %s", o.leaseDuration)
	}
	var err error
	if o.selector, err = labels.Parse(o.accountSelector); err != nil {
		return fmt.Errorf("--account-selector %q is no label selector: %w", o.accountSelector, err)
	}
	if !o.selector.Empty() && !o.leaderElect {
		return errors.New("--account-selector needs --leader-elect: the other managers know this one by its Lease")
	}
	return nil
}

func run(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var o options
	o.bind(flags)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.version {
		_, err := fmt.Println(version)
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	o.logLevel()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	limitMemory()
	mgr, err := newManager(&o)
	if err != nil {
		return err
	}
	if err := checkKinds(mgr.GetRESTMapper()); err != nil {
		return err
	}
	if err := addControllers(mgr, &o); err != nil {
		return err
	}
	if err := addChecks(mgr); err != nil {
		return err
	}
	ctrl.Log.Info("Starting", "version", version, "operatorNamespace", o.operatorNamespace, "workers", o.workers,
		"lease", shard.New(o.selector).Name, "accountSelector", o.selector.String())
	return mgr.Start(ctx)
}

// logLevel is the level of the log, which may change while the manager runs.
func (o *options) logLevel() uberzap.AtomicLevel {
	if level, given := o.zap.Level.(uberzap.AtomicLevel); given {
		return level
	}
	level := uberzap.NewAtomicLevel() // info
	if o.zap.Development {
		level.SetLevel(uberzap.DebugLevel)
	}
	o.zap.Level = level
	return level
}

// limitMemory tells the garbage collector of the container's limit, unless GOMEMLIMIT
// does already.
func limitMemory() {
	limit, err := memlimit.Set(memlimit.WithRatio(0.9))
	if err != nil {
		ctrl.Log.V(1).Info("Set no memory limit", "reason", err.Error())
		return
	}
	ctrl.Log.V(1).Info("Set the memory limit", "bytes", limit)
}

func newManager(o *options) (ctrl.Manager, error) {
	kubeconfig, err := ctrl.GetConfig()
	if err != nil {
		return nil, fmt.Errorf("finding a cluster: %w", err)
	}
	kubeconfig.UserAgent = name + "/" + version
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("building the scheme: %w", err)
	}
	renew, retry := electionTimes(o.leaseDuration)
	lock, err := newLock(o, kubeconfig, renew)
	if err != nil {
		return nil, fmt.Errorf("making the lock of the election: %w", err)
	}
	mgr, err := ctrl.NewManager(kubeconfig, ctrl.Options{
		Scheme:                              scheme,
		Cache:                               fleet.CacheOptions(o.operatorNamespace),
		Client:                              client.Options{FieldOwner: name, FieldValidation: "Strict"},
		Metrics:                             metricsOptions(o),
		HealthProbeBindAddress:              o.probeAddress,
		PprofBindAddress:                    o.pprofAddress,
		LeaderElection:                      o.leaderElect,
		LeaderElectionResourceLockInterface: lock,
		LeaderElectionID:                    shard.New(o.selector).Name, // of the metric
		LeaderElectionReleaseOnCancel:       true,                       // main ends right after Start returns
		LeaseDuration:                       &o.leaseDuration,
		RenewDeadline:                       &renew,
		RetryPeriod:                         &retry,
		GracefulShutdownTimeout:             new(stopWithin),
		Controller: config.Controller{
			CacheSyncTimeout:      10 * time.Minute,
			ReconciliationTimeout: 5 * time.Minute,
			EnableWarmup:          new(true),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, nil
}

// newLock returns the lock of the election. It sends no events: the lease says who leads.
func newLock(o *options, kubeconfig *rest.Config, renewDeadline time.Duration) (resourcelock.Interface, error) {
	lock := resourcelock.ResourceLockConfig{Identity: identity()}
	return resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, o.operatorNamespace, shard.New(o.selector).Name, lock, kubeconfig, renewDeadline)
}

// identity is the pod's where $POD_NAME and $POD_UID name one: a container that the kubelet
// starts in place of a dead one finds its own lease, and leads again at once. It is the
// process's elsewhere.
func identity() string {
	if pod, uid := os.Getenv("POD_NAME"), os.Getenv("POD_UID"); pod != "" && uid != "" {
		return pod + "_" + uid
	}
	return name + "_" + string(uuid.NewUUID())
}

// checkKinds says how to install the kinds if the cluster lacks them.
func checkKinds(mapper meta.RESTMapper) error {
	for _, kind := range []string{"PhoneNumberAddOnAssignment", "TwilioAccount"} {
		_, err := mapper.RESTMapping(v1alpha1.GroupVersion.WithKind(kind).GroupKind(), v1alpha1.GroupVersion.Version)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the cluster does not have the kind %s: install the CRDs first (kubectl apply --server-side -k config/crd, or dist/install.yaml)", kind)
		} else if err != nil {
			return fmt.Errorf("looking up the kind %s: %w", kind, err)
		}
	}
	return nil
}

// electionTimes follow from the lease's duration in the proportions of client-go: a leader
// that could not renew its lease for two thirds of it stops, after five tries.
func electionTimes(lease time.Duration) (renewDeadline, retryPeriod time.Duration) {
	return lease * 2 / 3, lease * 2 / 15
}

func addControllers(mgr ctrl.Manager, o *options) error {
	twilioMetrics := twilio.NewMetrics(metrics.Registry)
	return controllers.Setup(mgr, controllers.Options{
		Namespace:        o.operatorNamespace,
		Selector:         o.selector,
		Workers:          o.workers,
		AllowInsecureURL: o.allowInsecureTwilio,
		UserAgent:        name + "/" + version,
		Transport:        twilio.NewTransport(o.workers),
		Limiters:         twilio.NewLimiters(twilioMetrics),
		TwilioMetrics:    twilioMetrics,
		Metrics:          controllers.NewMetrics(metrics.Registry, version),
	})
}

// addChecks adds liveness, which says that the process answers, and readiness, which says
// that it knows the objects: a standby is ready too.
func addChecks(mgr ctrl.Manager) error {
	synced := func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the cache has not synced")
		}
		return nil
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("adding the liveness check: %w", err)
	}
	if err := mgr.AddReadyzCheck("cache", synced); err != nil {
		return fmt.Errorf("adding the readiness check: %w", err)
	}
	return nil
}
