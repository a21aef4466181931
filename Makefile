# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Needs Go, make and git, and kubectl for the targets that act on a cluster. Everything else
# is compiled on first use from pinned Go modules: tools into ./bin, the control plane into
# the user's cache folder.

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# The image to build or to install, as in IMG=registry.example.com/twilio-addon-operator:v0.1.0.
IMG ?=
PLATFORMS ?= linux/amd64,linux/arm64
PLUGIN_PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64
CONTAINER_TOOL ?= docker
KUBECTL ?= kubectl

BIN := bin
DIST := dist
LDFLAGS := -s -w -X main.version=$(VERSION)
# hack/dev does what is easier in Go than in shell. It builds with -trimpath and without cgo;
# so does GO, and both share one build cache.
DEV := $(BIN)/dev
GO := CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -trimpath" go
CONTROL_PLANE := $(DEV) control-plane
RENDER = hack/render.sh $(abspath $(BIN)/kustomize) $(IMG)

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN { FS = ":.*##"; printf "Usage: make \033[36m<target>\033[0m\n" } \
		/^[a-zA-Z_-]+:.*##/ { printf "  \033[36m%-16s\033[0m%s\n", $$1, $$2 } \
		/^##@/ { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) }' $(MAKEFILE_LIST)

##@ Development

.PHONY: demo
demo: build ## Watch the operator work on a real API server and a simulated Twilio (ARGS=--exit to leave at the end).
	@$(DEV) build -name "compiling the demo" -o $(BIN)/demo ./hack/demo
	@assets=$$($(CONTROL_PLANE)) && KUBEBUILDER_ASSETS="$$assets" exec $(BIN)/demo $(ARGS)

.PHONY: bench
bench: build ## Measure the operator against the best that is possible (QUICK=1 for two minutes; ARGS=--scenario=…).
	@$(DEV) build -name "compiling the bench" -o $(BIN)/bench ./hack/bench
	@assets=$$($(CONTROL_PLANE)) && KUBEBUILDER_ASSETS="$$assets" exec $(BIN)/bench $(if $(QUICK),--quick) $(ARGS)

.PHONY: run
run: build ## Run bin/manager against the current kube context (ARGS=… for its flags).
	@exec $(BIN)/manager $(ARGS)

.PHONY: generate
generate: $(BIN)/controller-gen $(BIN)/crd-ref-docs ## Generate the DeepCopy methods and docs/api.md.
	$(BIN)/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	$(BIN)/crd-ref-docs --source-path=api/v1alpha1 --config=hack/apidocs/config.yaml --templates-dir=hack/apidocs/templates \
		--renderer=markdown --output-path=docs/api.md --log-level=ERROR

.PHONY: manifests
manifests: $(BIN)/controller-gen ## Generate the CRDs and the manager's ClusterRole.
	$(BIN)/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(BIN)/controller-gen rbac:roleName=manager-role paths=./controllers/... output:rbac:artifacts:config=config/rbac

.PHONY: fmt
fmt: ## Format the Go code.
	go fmt ./...

.PHONY: vet
vet: ## Run go vet.
	$(GO) vet ./...

.PHONY: control-plane
control-plane: | $(DEV) ## Get etcd, kube-apiserver and kube-controller-manager, and print their folder.
	@$(CONTROL_PLANE) --with-controller-manager

.PHONY: clean
clean: ## Remove ./bin and ./dist (the control plane in the user's cache stays).
	rm -rf $(BIN) $(DIST)

##@ Checks

TESTS ?= ./...
TEST_TIMEOUT ?= 20m

.PHONY: test
test: $(BIN)/kustomize | $(DEV) ## Run all tests, under the race detector (TESTS=./… for some packages).
	@$(DEV) test "$(TESTS)" -timeout $(TEST_TIMEOUT)
	@$(if $(filter ./...,$(TESTS)),$(MAKE) --no-print-directory test-modules)

.PHONY: test-modules
test-modules: test-alerts test-argocd test-image test-chart ## Run the tests of the nested modules: alerts, Argo CD, image, chart.

.PHONY: test-unit
test-unit: | $(DEV) ## Run the tests that need no control plane, without the race detector (TESTS=./… for some packages).
	@$(DEV) test-unit "$(TESTS)" -timeout $(TEST_TIMEOUT)

OLDEST := hack/controlplane/oldest
OLDEST_TESTS ?= ./test/api ./test/admission ./test/manifests ./test/e2e ./test/rights

.PHONY: test-oldest
test-oldest: $(BIN)/oldest/kube-apiserver $(BIN)/kustomize ## Test against the oldest Kubernetes that is promised (its API server is compiled once, in ten minutes).
	@assets=$$($(CONTROL_PLANE) --with-controller-manager) && ln -sf "$$assets/etcd" "$$assets/kube-controller-manager" $(BIN)/oldest/
	@KUBEBUILDER_ASSETS=$(abspath $(BIN)/oldest) EXPECT_KUBERNETES=$(oldest_version) $(DEV) test "$(OLDEST_TESTS)" -count=1 -timeout $(TEST_TIMEOUT)

# Modules of their own. Go does not see that files outside them changed, so nothing is cached.
.PHONY: test-alerts
test-alerts: ## Test the alerts and the dashboard with Prometheus' own rule engine.
	$(GO) test -C test/alerts -count=1 ./...

.PHONY: test-argocd
test-argocd: ## Test the health checks and actions for Argo CD with its Lua engine.
	$(GO) test -C test/argocd -count=1 ./...

SUDO ?=
REQUIRE_NODE ?=
NODE_IMAGE := registry.test/twilio-addon-operator:node

# The test is compiled outside of the node, which has no network.
.PHONY: test-node
test-node: $(BIN)/kustomize | $(DEV) ## Test the image and the manifest on a node of their own (Linux, as root or with SUDO=sudo; REQUIRE_NODE=1 to fail where it would skip; RUN=… for some tests).
	@$(MAKE) --no-print-directory image IMG=$(NODE_IMAGE) PLATFORMS=linux/$$(go env GOARCH)
	@mkdir -p $(DIST)/node
	@hack/image/build.sh $(abspath $(BIN)) $(NODE_IMAGE)-twiliosim $(VERSION) linux/$$(go env GOARCH) "$(LDFLAGS)" twiliosim
	@hack/render.sh $(abspath $(BIN)/kustomize) $(NODE_IMAGE) > $(DIST)/node/install.yaml
	@hack/render-try.sh $(abspath $(BIN)/kustomize) $(NODE_IMAGE) $(NODE_IMAGE)-twiliosim
	@$(DEV) build -name "compiling the sandbox's program" -o $(BIN)/pause ./test/node/pause
	@$(GO) test -c -tags node -o $(BIN)/node.test ./test/node
	@assets=$$($(CONTROL_PLANE) --with-node) && $(SUDO) env REQUIRE_NODE=$(REQUIRE_NODE) test/node/run.sh "$$assets" $(abspath $(BIN)/node.test $(BIN)/pause $(DIST)) -test.v $(if $(RUN),-test.run='$(RUN)')

# The other modules hold no Go code. The flags are those of hack/dev, whose build cache
# serves the type checker.
LINTED_MODULES := hack/image hack/openapi hack/tools/dockerlint hack/tools/lint test/argocd test/alerts charts/test
.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/dockerlint ## Lint the Go code and the Dockerfile.
	@for module in . $(LINTED_MODULES); do \
		echo "golangci-lint run, in $$module"; \
		(cd $$module && CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -trimpath" $(abspath $(BIN))/golangci-lint run) || exit; \
	done
	$(BIN)/dockerlint Dockerfile

.PHONY: check-generate
check-generate: $(BIN)/controller-gen $(BIN)/crd-ref-docs $(BIN)/kustomize ## Fail if a generated file is out of date or the manifests do not render.
	@hack/check-generate.sh $(abspath $(BIN))

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: | $(DEV) ## Run each fuzz target for FUZZTIME.
	@$(DEV) fuzz $(FUZZTIME)

SEEDS ?= 10
STEPS ?= 60
JOBS ?= 4
FIRST_SEED ?= 1

.PHONY: soak
soak: | $(DEV) ## Compare the operator with a model under faults and crashes: SEEDS runs of STEPS steps, from FIRST_SEED on, JOBS at a time.
	@SOAK_JOBS=$(JOBS) SOAK_SEEDS=$(SEEDS) SOAK_STEPS=$(STEPS) SOAK_FIRST_SEED=$(FIRST_SEED) $(DEV) test ./test/soak -run TestLong -count=1 -timeout 0 -v

.PHONY: mutants
mutants: ## Plant faults in a copy of the operator and check that the tests or the soak find each (takes hours; ARGS=--only=…).
	@$(GO) run ./hack/mutants $(ARGS)

.PHONY: check-openapi
check-openapi: ## Check the simulator against Twilio's OpenAPI documents (in TWILIO_OPENAPI_DIR).
	$(GO) test -C hack/openapi -count=1 -v ./...

.PHONY: govulncheck
govulncheck: $(BIN)/govulncheck ## Look for known vulnerabilities (queries vuln.go.dev).
	$(BIN)/govulncheck ./...

##@ Build

.PHONY: build
build: | $(DEV) ## Build bin/manager, bin/twiliosim and the kubectl plugin bin/kubectl-twilio_addons.
	@$(DEV) build -name "compiling the manager" -ldflags "$(LDFLAGS)" -o $(BIN)/manager ./cmd/manager
	@$(DEV) build -name "compiling the Twilio simulator" -ldflags "$(LDFLAGS)" -o $(BIN)/twiliosim ./cmd/twiliosim
	@$(DEV) build -name "compiling the kubectl plugin" -ldflags "$(LDFLAGS)" -o $(BIN)/kubectl-twilio_addons ./cmd/kubectl-twilio_addons

.PHONY: cli-archives
cli-archives: ## Write the kubectl plugin for PLUGIN_PLATFORMS to dist/, with checksums and a krew manifest.
	@$(GO) run ./hack/release/plugin --version "$(VERSION)" --output $(DIST) --platforms "$(PLUGIN_PLATFORMS)"

.PHONY: schemas
schemas: ## Write a JSON schema of each kind to dist/schemas/, for kubeconform and editors.
	@$(GO) run ./hack/release/schemas --output $(DIST)/schemas

.PHONY: docker-build
docker-build: ## Build the image IMG (default twilio-addon-operator:latest, which stays on this machine).
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) --tag $(or $(IMG),twilio-addon-operator:latest) .

.PHONY: docker-buildx
docker-buildx: require-img ## Build and push the image IMG for PLATFORMS.
	$(CONTAINER_TOOL) buildx build --build-arg VERSION=$(VERSION) --platform $(PLATFORMS) --tag $(IMG) --push .

.PHONY: build-installer
build-installer: require-img $(BIN)/kustomize ## Write dist/install.yaml, which installs everything with the image IMG.
	@mkdir -p $(DIST)
	@$(RENDER) > $(DIST)/install.yaml
	@echo "dist/install.yaml installs $(IMG)"

# No image is published under a fixed name, so a default would not be found.
.PHONY: require-img
require-img:
	@[ -n "$(IMG)" ] || { \
		echo "IMG is not set. Name an image that your cluster can pull, for example:" >&2; \
		echo "  make $(or $(MAKECMDGOALS),deploy) IMG=registry.example.com/twilio-addon-operator:v0.1.0" >&2; \
		exit 1; }

# --- Delivery: the image without a container engine, the chart, the bill of materials ---

.PHONY: image
image: | $(DEV) ## Write the image for PLATFORMS to dist/image.tar, without a container engine (IMG=… as its name).
	@hack/image/build.sh $(abspath $(BIN)) $(or $(IMG),twilio-addon-operator:$(VERSION)) $(VERSION) $(PLATFORMS) "$(LDFLAGS)"

.PHONY: image-push
image-push: require-img image $(BIN)/kustomize ## Push dist/image.tar as IMG, and pin it by digest in dist/install.yaml.
	@hack/image/push.sh $(abspath $(BIN)) $(IMG)

.PHONY: try
try: image-push ## Run the operator IMG and a simulated Twilio in the current kube context, with samples.
	@hack/image/build.sh $(abspath $(BIN)) $(IMG)-twiliosim $(VERSION) $(PLATFORMS) "$(LDFLAGS)" twiliosim
	@hack/try.sh $(abspath $(BIN)) $(IMG) "$(KUBECTL)"

.PHONY: test-image
test-image: ## Test the image builder.
	$(GO) test -C hack/image -count=1 ./...

.PHONY: chart-files
chart-files: ## Copy into the Helm chart what it shares with config/.
	@hack/chart.sh

.PHONY: chart
chart: chart-files | $(DEV) ## Package the Helm chart into dist/ (IMG=… as its image).
	@$(DEV) build -name "compiling the chart packager" -module charts/test -o $(BIN)/package-chart ./package
	@$(BIN)/package-chart --version=$(VERSION) --output=$(DIST) \
		--image=$(if $(filter command environment,$(firstword $(origin IMG))),$(IMG))

.PHONY: test-chart
test-chart: | $(DEV) ## Test the Helm chart with Helm and a real API server.
	@assets=$$($(CONTROL_PLANE)) && KUBEBUILDER_ASSETS="$$assets" $(GO) test -C charts/test -count=1 ./...

.PHONY: sbom
sbom: image $(BIN)/cyclonedx-gomod ## Write the bill of materials of each manager in the image to dist/.
	@hack/image/sbom.sh $(abspath $(BIN)) $(PLATFORMS) $(VERSION)

cyclonedx_gomod = github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

$(BIN)/cyclonedx-gomod: $(wildcard hack/tools/sbom/*) | $(DEV)
	@$(DEV) build -name "compiling cyclonedx-gomod" -module hack/tools/sbom -o $@ $(cyclonedx_gomod) && touch $@

# --- End of delivery ---

##@ Deployment (to the current kube context)

.PHONY: install
install: $(BIN)/kustomize ## Install the CRDs.
	$(BIN)/kustomize build config/crd | $(KUBECTL) apply --server-side -f -

.PHONY: uninstall
uninstall: $(BIN)/kustomize ## Remove the CRDs; refused while there are objects (FORCE=1 removes these too).
	@$(BIN)/kustomize build config/crd | FORCE=$(FORCE) hack/undeploy.sh $@ "$(KUBECTL)"

.PHONY: deploy
deploy: require-img $(BIN)/kustomize ## Install the CRDs and the operator with the image IMG.
	$(RENDER) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: $(BIN)/kustomize ## Remove the operator and the CRDs; refused while there are objects (FORCE=1 removes these too).
	@$(BIN)/kustomize build config/default | FORCE=$(FORCE) hack/undeploy.sh $@ "$(KUBECTL)"

##@ Tools

# It appears in one step, because tests of several packages may call make at once.
$(DEV): go.mod $(wildcard hack/dev/*.go internal/devbuild/*.go)
	@CGO_ENABLED=0 GOOS= GOARCH= go build -trimpath -buildvcs=false -o $@.$$$$ ./hack/dev && mv -f $@.$$$$ $@

# The versions of the tools are pinned in hack/tools, each heavy one in a module of its own.
controller_gen = sigs.k8s.io/controller-tools/cmd/controller-gen
crd_ref_docs = github.com/elastic/crd-ref-docs
kustomize = sigs.k8s.io/kustomize/kustomize/v5
govulncheck = golang.org/x/vuln/cmd/govulncheck

$(BIN)/controller-gen: hack/tools/go.mod hack/tools/go.sum | $(DEV)
	@$(DEV) build -name "compiling controller-gen" -module hack/tools -o $@ $(controller_gen) && touch $@

$(BIN)/crd-ref-docs: hack/tools/go.mod hack/tools/go.sum | $(DEV)
	@$(DEV) build -name "compiling crd-ref-docs" -module hack/tools -o $@ $(crd_ref_docs) && touch $@

$(BIN)/kustomize: hack/tools/go.mod hack/tools/go.sum | $(DEV)
	@$(DEV) build -name "compiling kustomize" -module hack/tools -o $@ $(kustomize) && touch $@

# Without a version in it, the API server calls itself v0.0.0-master.
oldest_version = $(shell awk '$$1 == "require" && $$2 == "k8s.io/kubernetes" { print $$3 }' $(OLDEST)/go.mod)
oldest_ldflags = -s -w $(foreach p,component-base/version client-go/pkg/version,-X k8s.io/$(p).gitVersion=$(oldest_version))

$(BIN)/oldest/kube-apiserver: $(OLDEST)/go.mod | $(DEV)
	@mkdir -p $(@D)
	@$(DEV) build -name "compiling the oldest kube-apiserver" -module $(OLDEST) -ldflags "$(oldest_ldflags)" \
		-o $@ k8s.io/kubernetes/cmd/kube-apiserver && touch $@

# For tests on a machine without kubectl.
$(BIN)/kubectl: hack/controlplane/go.mod | $(DEV)
	@$(DEV) build -name "compiling kubectl" -module hack/controlplane -o $@ k8s.io/kubernetes/cmd/kubectl && touch $@

# For tests: of the version whose library charts/test uses.
$(BIN)/helm: charts/test/go.mod charts/test/go.sum | $(DEV)
	@$(DEV) build -name "compiling helm" -module charts/test -o $@ helm.sh/helm/v4/cmd/helm && touch $@

# For tests: it installs the kubectl plugin's archive.
$(BIN)/krew: hack/tools/krew/go.mod hack/tools/krew/go.sum | $(DEV)
	@$(DEV) build -name "compiling krew" -module hack/tools/krew -o $@ sigs.k8s.io/krew/cmd/krew && touch $@

$(BIN)/govulncheck: hack/tools/go.mod hack/tools/go.sum | $(DEV)
	@$(DEV) build -name "compiling govulncheck" -module hack/tools -o $@ $(govulncheck) && touch $@

$(BIN)/golangci-lint: $(wildcard hack/tools/lint/*) | $(DEV)
	@$(DEV) build -name "compiling golangci-lint" -module hack/tools/lint -o $@ . && touch $@

$(BIN)/dockerlint: $(wildcard hack/tools/dockerlint/*) | $(DEV)
	@$(DEV) build -name "compiling dockerlint" -module hack/tools/dockerlint -o $@ . && touch $@

.PHONY: tools
tools: $(addprefix $(BIN)/,controller-gen crd-ref-docs kustomize govulncheck golangci-lint dockerlint) ## Compile every tool into ./bin.
