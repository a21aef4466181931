# Copyright The twilio-addon-operator Authors.
# SPDX-License-Identifier: Apache-2.0

# Needs Go, make and git, and for the cluster targets kubectl. Everything else is compiled
# on first use from pinned Go modules: tools into ./bin, the control plane into the user's
# cache folder.

SHELL := /usr/bin/env bash -o pipefail
.SHELLFLAGS := -ec
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
IMG ?= twilio-addon-operator:latest
PLATFORMS ?= linux/amd64,linux/arm64
PLUGIN_PLATFORMS ?= linux/amd64,linux/arm64,darwin/amd64,darwin/arm64,windows/amd64
CONTAINER_TOOL ?= docker
KUBECTL ?= kubectl

BIN := bin
DIST := dist
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD := hack/gobuild.sh
CONTROL_PLANE := hack/controlplane/ensure.sh
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
	@$(GOBUILD) "compiling the demo" . ./hack/demo -trimpath=false -o $(abspath $(BIN)/demo)
	@assets=$$($(CONTROL_PLANE)) && KUBEBUILDER_ASSETS="$$assets" exec $(BIN)/demo $(ARGS)

.PHONY: bench
bench: build ## Measure the operator against what is possible at best (QUICK=1 for two minutes; ARGS=--scenario=…).
	@$(GOBUILD) "compiling the bench" . ./hack/bench -trimpath=false -o $(abspath $(BIN)/bench)
	@assets=$$($(CONTROL_PLANE)) && KUBEBUILDER_ASSETS="$$assets" exec $(BIN)/bench $(if $(QUICK),--quick) $(ARGS)

.PHONY: run
run: ## Run the manager here against the current kube context (ARGS=… for its flags).
	go run -ldflags "$(LDFLAGS)" ./cmd/manager $(ARGS)

.PHONY: generate
generate: $(BIN)/controller-gen ## Generate the DeepCopy methods.
	$(BIN)/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: $(BIN)/controller-gen ## Generate the CRDs and the manager's ClusterRole.
	$(BIN)/controller-gen crd paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(BIN)/controller-gen rbac:roleName=manager-role paths=./controllers/... output:rbac:artifacts:config=config/rbac

.PHONY: fmt
fmt: ## Format the Go code.
	go fmt ./...

.PHONY: vet
vet: ## Run go vet.
	go vet ./...

.PHONY: control-plane
control-plane: ## Get etcd, kube-apiserver and kube-controller-manager, and print where they are.
	@$(CONTROL_PLANE) --with-controller-manager

.PHONY: clean
clean: ## Remove what was built here (the control plane in the user's cache stays).
	rm -rf $(BIN) $(DIST)

##@ Checks

TESTS ?= ./...
TEST_TIMEOUT ?= 20m

.PHONY: test
test: $(BIN)/kustomize ## Run all tests, under the race detector (TESTS=./… for some packages).
	@hack/test.sh "$(TESTS)" -timeout $(TEST_TIMEOUT)
	@go test -C hack/controlplane ./...

# The flags are those of hack/gobuild.sh, whose build cache serves the type checker.
.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/dockerlint ## Lint the Go code and the Dockerfile.
	CGO_ENABLED=0 GOFLAGS="$(GOFLAGS) -trimpath" $(BIN)/golangci-lint run
	$(BIN)/dockerlint Dockerfile

.PHONY: check-generate
check-generate: $(BIN)/controller-gen $(BIN)/kustomize ## Fail if generated files are not current, or the manifests do not render.
	@hack/check-generate.sh $(abspath $(BIN))

FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME.
	@hack/fuzz.sh $(FUZZTIME)

SEEDS ?= 10
STEPS ?= 60
FIRST_SEED ?= 1

.PHONY: soak
soak: ## Test against the model under faults and crashes: SEEDS runs of STEPS steps, from FIRST_SEED on.
	@SOAK_SEEDS=$(SEEDS) SOAK_STEPS=$(STEPS) SOAK_FIRST_SEED=$(FIRST_SEED) hack/test.sh ./test/soak -run TestLong -count=1 -timeout 0 -v

.PHONY: mutants
mutants: ## Plant faults in a copy of the operator, and have the soak find each (an hour; ARGS=--only=…).
	@go run ./hack/mutants $(ARGS)

.PHONY: check-openapi
check-openapi: ## Check the simulator against Twilio's OpenAPI (TWILIO_OPENAPI_DIR=… with the data).
	go test -C hack/openapi -count=1 -v ./...

.PHONY: govulncheck
govulncheck: $(BIN)/govulncheck ## Look for known vulnerabilities (asks vuln.go.dev).
	$(BIN)/govulncheck ./...

##@ Build

.PHONY: build
build: ## Build bin/manager, bin/twiliosim and the kubectl plugin bin/kubectl-twilio_addons.
	@$(GOBUILD) "compiling the manager" . ./cmd/manager -ldflags "$(LDFLAGS)" -o $(abspath $(BIN)/manager)
	@$(GOBUILD) "compiling the Twilio simulator" . ./cmd/twiliosim -ldflags "$(LDFLAGS)" -o $(abspath $(BIN)/twiliosim)
	@$(GOBUILD) "compiling the kubectl plugin" . ./cmd/kubectl-twilio_addons -ldflags "$(LDFLAGS)" -o $(abspath $(BIN)/kubectl-twilio_addons)

.PHONY: cli-archives
cli-archives: ## Write the kubectl plugin for PLUGIN_PLATFORMS to dist/, with checksums and a krew manifest.
	@go run ./hack/release/plugin --version "$(VERSION)" --output $(DIST) --platforms "$(PLUGIN_PLATFORMS)"

.PHONY: docker-build
docker-build: ## Build the image IMG.
	$(CONTAINER_TOOL) build --build-arg VERSION=$(VERSION) --tag $(IMG) .

.PHONY: docker-buildx
docker-buildx: ## Build and push the image IMG for PLATFORMS.
	$(CONTAINER_TOOL) buildx build --build-arg VERSION=$(VERSION) --platform $(PLATFORMS) --tag $(IMG) --push .

.PHONY: build-installer
build-installer: $(BIN)/kustomize ## Write dist/install.yaml, which installs everything with the image IMG.
	@mkdir -p $(DIST)
	@$(RENDER) > $(DIST)/install.yaml
	@echo "dist/install.yaml installs $(IMG)"

##@ Deployment, to the current kube context

.PHONY: install
install: $(BIN)/kustomize ## Install the CRDs.
	$(BIN)/kustomize build config/crd | $(KUBECTL) apply --server-side -f -

.PHONY: uninstall
uninstall: $(BIN)/kustomize ## Remove the CRDs, unless there are objects (FORCE=1: with every object).
	@$(BIN)/kustomize build config/crd | FORCE=$(FORCE) hack/undeploy.sh $@ "$(KUBECTL)"

.PHONY: deploy
deploy: $(BIN)/kustomize ## Install the CRDs and the operator with the image IMG.
	$(RENDER) | $(KUBECTL) apply --server-side -f -

.PHONY: undeploy
undeploy: $(BIN)/kustomize ## Remove the operator and the CRDs, unless there are objects (FORCE=1: all the same).
	@$(RENDER) | FORCE=$(FORCE) hack/undeploy.sh $@ "$(KUBECTL)"

##@ Tools

# Their versions are pinned in hack/tools, each heavy one in a module of its own.
controller_gen = sigs.k8s.io/controller-tools/cmd/controller-gen
kustomize = sigs.k8s.io/kustomize/kustomize/v5
govulncheck = golang.org/x/vuln/cmd/govulncheck

$(BIN)/controller-gen: hack/tools/go.mod hack/tools/go.sum
	@$(GOBUILD) "compiling controller-gen" hack/tools $(controller_gen) -o $(abspath $@) && touch $@

$(BIN)/kustomize: hack/tools/go.mod hack/tools/go.sum
	@$(GOBUILD) "compiling kustomize" hack/tools $(kustomize) -o $(abspath $@) && touch $@

# For tests, on a machine without kubectl.
$(BIN)/kubectl: hack/controlplane/go.mod
	@$(GOBUILD) "compiling kubectl" hack/controlplane k8s.io/kubernetes/cmd/kubectl -o $(abspath $@) && touch $@

$(BIN)/govulncheck: hack/tools/go.mod hack/tools/go.sum
	@$(GOBUILD) "compiling govulncheck" hack/tools $(govulncheck) -o $(abspath $@) && touch $@

$(BIN)/golangci-lint: $(wildcard hack/tools/lint/*)
	@$(GOBUILD) "compiling golangci-lint" hack/tools/lint . -o $(abspath $@) && touch $@

$(BIN)/dockerlint: $(wildcard hack/tools/dockerlint/*)
	@$(GOBUILD) "compiling dockerlint" hack/tools/dockerlint . -o $(abspath $@) && touch $@

.PHONY: tools
tools: $(addprefix $(BIN)/,controller-gen kustomize govulncheck golangci-lint dockerlint) ## Compile every tool into ./bin.
