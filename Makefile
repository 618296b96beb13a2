# Fairlead. `make help` lists what there is.

VERSION   ?= v0.1.0
IMAGE     ?= fairlead.io/fairlead:$(VERSION)
LAB_DIR   ?= .lab
LAB_KUBERNETES ?= v1.35.4
export LAB_DIR LAB_KUBERNETES

GO        := CGO_ENABLED=0 go
LDFLAGS   := -s -w -X github.com/fairlead-io/fairlead/internal/version.Version=$(VERSION)
GOBUILD   := $(GO) build -trimpath -ldflags "$(LDFLAGS)"
# What the lab is upgraded to under load: a next version, and one whose maps have another layout.
NEXT      := v0.1.1
RELAID    := v0.2.0
# None that maps have, or will have soon.
RELAID_LAYOUT := 1000
# Builds that a rollout has to stop: one loses packets, one does not start on a node.
LOSSY     := v0.1.2
FAILING   := v0.1.3
# One whose chart the API server refuses half-way; its image is that of NEXT.
BROKEN    := v0.1.4
FAULTY_IMAGES := out/fairlead-$(LOSSY).tar out/fairlead-$(FAILING).tar
# What clusters were born with before: its chart does not support the newest Kubernetes.
PAST      := v0.0.9
# A lab whose clusters are made by Cluster API.
BORN      := LAB_CAPI=on LAB_CLUSTERS=none
# What clusters are upgraded from, beside LAB_KUBERNETES.
OLD_KUBERNETES := v1.34.4
NEXT_IMAGES := out/fairlead-$(NEXT).tar out/fairlead-$(RELAID).tar out/fairlead-$(PAST).tar
# -race needs cgo; two test binaries at a time is what two cores and 24 GiB carry.
GOTEST    := go test -race -p 2
LAB       := bin/lab
KUBEBUILDER_ASSETS := $(CURDIR)/.cache/lab/$(LAB_KUBERNETES)/bin

# Packages whose tests need nothing but Go.
UNIT      := ./api/... ./charts/... ./cmd/fairlead/... ./cmd/fairlead-agent/... ./cmd/fairlead-cni/... ./internal/addresspool/... ./internal/addressing ./internal/cniapi/... ./internal/agent/... ./internal/cli/... ./internal/enroll/... ./internal/fleetmetrics/... ./internal/interest/... ./internal/model/... ./internal/notify/... ./internal/objects/... ./internal/probe \
             ./internal/serve/... ./internal/stack/... ./internal/state/... ./internal/trust/... ./internal/version/... \
             ./test/architecture ./test/conformance ./test/continuity ./test/program ./test/reach ./test/requests ./test/kernelmatrix/... \
             $(addprefix ./test/bench/,cniadd report rounds stats target) \
             $(addprefix ./test/lab/,atomicfile births build fleet hostlimit image kube node pki plan progress supervise wire)
# Packages that make network namespaces and load programs.
BPF       := ./bpf/... ./internal/datapath/... ./internal/probe/prober ./test/announce ./test/cni ./test/faulty/... ./test/lab/cgroup ./test/pathmtu ./test/policydiff ./test/standby $(addprefix ./test/bench/,load programs topo)
# Tests of the datapath that are run once more with clsact at the uplink and the tunnel; pods have it anyway.
OVER_CLSACT := TestPaths|TestServices$$$$|TestRestart|TestRestore|TestCleanup
# Packages that start a kube-apiserver.
ENV       := ./cmd/fairleadctl ./controllers/... ./internal/birth ./test/bench/services ./test/capi/... ./test/lab/provider ./test/tenancy ./internal/fleet/... ./internal/gate ./internal/helm/... ./internal/release/...

.DEFAULT_GOAL := help
.PHONY: help
help: ## List the targets.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: bin/fairlead bin/fairlead-agent bin/fairlead-cni bin/fairleadctl ## Build Fairlead's programs into bin/.

.PHONY: bin/fairlead bin/fairlead-agent bin/fairlead-cni bin/fairleadctl bin/probe bin/bench $(LAB)
bin/fairlead:
	$(GOBUILD) -o $@ ./cmd/fairlead
bin/fairlead-agent:
	$(GOBUILD) -o $@ ./cmd/fairlead-agent
bin/fairlead-cni:
	$(GOBUILD) -o $@ ./cmd/fairlead-cni
bin/fairleadctl:
	$(GOBUILD) -o $@ ./cmd/fairleadctl
bin/probe:
	$(GOBUILD) -o $@ ./test/probe
bin/bench:
	$(GOBUILD) -o $@ ./test/bench/cmd/bench
$(LAB):
	$(GOBUILD) -o $@ ./test/lab/cmd/lab

.PHONY: images
images: build bin/probe $(LAB) ## Pack the programs into OCI archives in out/.
	@mkdir -p out
	$(LAB) image -o out/fairlead.tar -t $(IMAGE) -entrypoint /fairlead bin/fairlead:/fairlead \
	  bin/fairlead-agent:/fairlead-agent bin/fairlead-cni:/fairlead-cni
	$(LAB) image -o out/probe.tar -t fairlead.io/probe:dev -entrypoint /probe bin/probe:/probe

.PHONY: images-next
images-next: out/fairlead-$(NEXT).tar out/fairlead-$(RELAID).tar

.PHONY: $(NEXT_IMAGES)
out/fairlead-$(RELAID).tar: OTHER := -X github.com/fairlead-io/fairlead/internal/datapath.layoutVersion=$(RELAID_LAYOUT)
$(NEXT_IMAGES): out/fairlead-%.tar: $(LAB)
	@mkdir -p out/$*
	$(GO) build -trimpath -ldflags "-s -w -X github.com/fairlead-io/fairlead/internal/version.Version=$* $(OTHER)" \
	  -o out/$*/ ./cmd/fairlead ./cmd/fairlead-agent ./cmd/fairlead-cni
	$(LAB) image -o $@ -t fairlead.io/fairlead:$* -entrypoint /fairlead out/$*/fairlead:/fairlead \
	  out/$*/fairlead-agent:/fairlead-agent out/$*/fairlead-cni:/fairlead-cni

# The fault is compiled in by an overlay of the source (test/faulty); charts for these versions, and for
# $(NEXT), are what the operator's --chart-dir is pointed at.
.PHONY: images-faulty $(FAULTY_IMAGES) charts-next
images-faulty: $(FAULTY_IMAGES) out/fairlead-$(BROKEN).tar

out/fairlead-$(LOSSY).tar: FAULT := lossy
out/fairlead-$(FAILING).tar: FAULT := failing
$(FAULTY_IMAGES): out/fairlead-%.tar: $(LAB)
	@mkdir -p out/$*
	$(GO) run ./test/faulty/cmd/faulty overlay $(FAULT) -o out/_faulty/$*
	$(GO) build -trimpath -overlay out/_faulty/$*/overlay.json -ldflags "-s -w -X github.com/fairlead-io/fairlead/internal/version.Version=$*" \
	  -o out/$*/ ./cmd/fairlead ./cmd/fairlead-agent ./cmd/fairlead-cni
	$(LAB) image -o $@ -t fairlead.io/fairlead:$* -entrypoint /fairlead out/$*/fairlead:/fairlead \
	  out/$*/fairlead-agent:/fairlead-agent out/$*/fairlead-cni:/fairlead-cni

out/fairlead-$(BROKEN).tar: out/fairlead-$(NEXT).tar
	$(LAB) image -o $@ -t fairlead.io/fairlead:$(BROKEN) -entrypoint /fairlead out/$(NEXT)/fairlead:/fairlead \
	  out/$(NEXT)/fairlead-agent:/fairlead-agent out/$(NEXT)/fairlead-cni:/fairlead-cni

charts-next:
	$(GO) run ./test/faulty/cmd/faulty charts -o out/charts $(NEXT) $(LOSSY) $(FAILING)

##@ Develop

.PHONY: generate
generate: deps-generate ## Regenerate everything that is generated: CRDs, deep copies, protobuf, eBPF objects.
	go generate ./api/... ./internal/... ./bpf/...

.PHONY: verify
verify: generate ## Fail when a generated file is not up to date, or go.mod is not tidy.
	go mod verify >/dev/null
	go mod tidy -diff
	git diff --exit-code -- api bpf charts config internal

.PHONY: lint
lint: ## gofmt, vet, staticcheck, import rules.
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not gofmt-ed:"; echo "$$bad"; exit 1; }
	go vet ./...
	cd test/tools && GOFLAGS=-modcacherw go build -o ../../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	go test ./test/architecture

##@ Test

.PHONY: test
test: deps lint test-unit test-bpf bench-short test-env scale-short scale-policy-short birth-short test-e2e test-rollout test-lifecycle test-conformance ## Everything (root).

.PHONY: test-unit
test-unit: test-gitops ## The inner loop: pure packages and protocols, under 2 minutes.
	$(GOTEST) $(UNIT)

.PHONY: test-gitops
test-gitops: ## What Argo CD, Flux and kstatus say of Fairlead's objects (a module of its own).
	cd test/gitops && GOFLAGS=-modcacherw go test ./...

.PHONY: test-bpf
test-bpf: deps ## Verifier, packets through each program, namespaces joined by the real datapath (tcx and clsact), CNI x 1,000 (root).
	@test "$$(id -u)" = 0 || { echo "test-bpf makes network namespaces and loads programs: run it as root"; exit 1; }
	$(GOTEST) -p 1 -count=1 $(BPF)
	cd test/conformance/e2e/sctp && GOFLAGS=-modcacherw go test -count=1 ./...
	FAIRLEAD_TEST_ATTACH=clsact $(GOTEST) -p 1 -count=1 -run '$(OVER_CLSACT)' ./internal/datapath

.PHONY: kernel-matrix
kernel-matrix: deps-kernel-matrix ## Debian's kernels 6.1 and 6.12 under QEMU: verifier, and pods that talk (docs/kernels.md).
	go run ./test/kernelmatrix

.PHONY: test-env
test-env: lab-build ## Controllers and releases against a real kube-apiserver.
	KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS) $(GOTEST) -p 1 $(ENV)

.PHONY: test-e2e
test-e2e: deps images images-next lab-build ## The lab, end to end: install, matrix, kills and upgrades under load, bad input, uninstall (root).
	go test -tags lab -count=1 -timeout 15m ./test/lab
	go test -count=1 -timeout 30m -v ./test/e2e

.PHONY: test-rollout
test-rollout: deps images out/fairlead-$(NEXT).tar images-faulty charts-next lab-build ## The lab with three clusters: waves, bad builds that are undone, releases that heal, the operator killed (root).
	go test -count=1 -timeout 40m -v ./test/rollout

.PHONY: test-lifecycle
test-lifecycle: deps images out/fairlead-$(PAST).tar $(LAB) ## Clusters from a topology Cluster to their end, by Cluster API's own manager: birth, nodes, upgrade of Kubernetes, deletion (root).
	$(BORN) LAB_KUBERNETES_ALSO=$(OLD_KUBERNETES) $(LAB) build
	go test -count=1 -timeout 40m -v ./test/lifecycle

.PHONY: rollout-kills
rollout-kills: deps images out/fairlead-$(NEXT).tar images-faulty charts-next lab-build ## The operator killed 50 times at random moments of rollouts, a leader that dies (root, 20 minutes).
	FAIRLEAD_KILLS=50 go test -count=1 -timeout 60m -v -run 'TestDAnOperator|TestDAnotherLeader' ./test/rollout

.PHONY: rollout-surge
rollout-surge: deps images out/fairlead-$(NEXT).tar images-faulty charts-next lab-build ## Agents replaced with a surge, beside the same without one (root, 8 minutes).
	FAIRLEAD_SURGE=1 go test -count=1 -timeout 30m -v -run TestBASurge ./test/rollout

.PHONY: test-conformance
test-conformance: deps images lab-build ## Kubernetes' own network specs on alpha and bravo, those about Services and policies in short (root).
	go run ./test/demo
	go run ./test/conformance/cmd/conformance --set short --parallel 3
	go run ./test/conformance/cmd/conformance --set policy-api --focus CNPAdminTierIntegration
	$(LAB) down

.PHONY: conformance-services
conformance-services: export LAB_CLUSTERS := alpha
conformance-services: export LAB_NODES := 6
conformance-services: deps images lab-build ## All of Kubernetes' own specs about Services, on six nodes in three zones (root, 20 minutes).
	go run ./test/demo
	go run ./test/conformance/cmd/conformance --set services --parallel 6 --timeout 60m
	go run ./test/demo -routing Native
	go run ./test/conformance/cmd/conformance --set native
	$(LAB) down

.PHONY: conformance-policy
conformance-policy: deps images lab-build ## All of Kubernetes' specs about NetworkPolicy and network-policy-api's suite, in tunnels and with native routing (root, 40 minutes).
	go run ./test/demo
	go run ./test/conformance/cmd/conformance --set policy --parallel 3 --timeout 60m
	go run ./test/conformance/cmd/conformance --set policy-api --timeout 30m
	go run ./test/demo -routing Native
	go run ./test/conformance/cmd/conformance --set policy --parallel 3 --timeout 60m
	go run ./test/conformance/cmd/conformance --set policy-api --timeout 30m
	$(LAB) down

.PHONY: scale-services
scale-services: deps images images-next lab-build ## 10,000 Services with 100,000 endpoints on the lab: agents killed and upgraded under new connections (root, 10 minutes).
	FAIRLEAD_E2E_SERVICES=10000 go test -count=1 -timeout 30m -v -run 'TestAOneStack|TestBManyServices' ./test/e2e

.PHONY: bench
bench: bin/bench lab-build ## Measure the datapath beside the kernel's paths, flannel and kube-proxy; out/bench.json, docs/bench.md (root, 25 minutes).
	@mkdir -p bin/peers
	$(GOBUILD) -o bin/peers/ ./cmd/fairlead ./cmd/fairlead-agent ./cmd/fairlead-cni
	cd test/bench/plugins && $(GO) build -o ../../../bin/peers/ tool
	cd test/bench/flannel && $(GO) build -o ../../../bin/peers/flannel .
	bin/bench -flannel bin/peers/flannel -cni bin/peers -kubernetes $(KUBEBUILDER_ASSETS) -o out/bench.json -docs docs/bench.md

.PHONY: bench-policy
bench-policy: export LAB_CLUSTERS := alpha
bench-policy: deps images bin/bench lab-build ## Measure on the lab how soon packets follow a change of a policy or a label, beside 1 and 500 policies (root, 15 minutes).
	go run ./test/demo
	go run ./test/bench/cmd/policy -o out/bench.json
	$(LAB) down
	bin/bench -docs-only -docs docs/bench.md

.PHONY: bench-short
bench-short: bin/bench lab-build ## Fail when a ratio to the kernel's own paths, or to kube-proxy, misses its gate (root, 2 minutes).
	bin/bench -short -kubernetes $(KUBEBUILDER_ASSETS)

.PHONY: scale
scale: lab-build ## 1,000 simulated clusters, 200 behind a real API server, API servers that are ill: what they cost the operator; out/scale.json (25 minutes).
	@mkdir -p out
	KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS) FAIRLEAD_SCALE_OUT=$(CURDIR)/out/scale.json go test -count=1 -timeout 60m -v ./test/scale

.PHONY: scale-short
scale-short: lab-build ## The same with 20 clusters: fail when requests, repairs or CPU time miss their gates (3 minutes).
	KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS) go test -short -count=1 -timeout 10m ./test/scale/...

.PHONY: scale-policy
scale-policy: ## 1,000 simulated agents, 50,000 pods and 5,000 policies: until the last acknowledgement, bytes, memory; out/scale-policy.json (a minute).
	@mkdir -p out && rm -f out/scale-policy.json
	FAIRLEAD_POLICYSCALE_OUT=$(CURDIR)/out/scale-policy.json go test -count=1 -timeout 10m -v ./test/policyscale

.PHONY: scale-policy-short
scale-policy-short: ## The same with 100 agents, 5,000 pods and 500 policies.
	go test -short -count=1 -timeout 2m ./test/policyscale

.PHONY: birth-scale
birth-scale: lab-build ## 50 clusters made by Cluster API's own managers, 1,000 that ask for addresses at once, operators killed meanwhile; out/birth.json (5 minutes).
	@mkdir -p out
	KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS) FAIRLEAD_BIRTH_OUT=$(CURDIR)/out/birth.json go test -count=1 -timeout 30m -v ./test/birth

.PHONY: birth-short
birth-short: lab-build ## The same with 6 and 200 (2 minutes).
	KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS) go test -short -count=1 -timeout 15m ./test/birth

.PHONY: packets
packets: ## A million random packets through every program, against the model in plain Go; FAIRLEAD_PACKET_SEED repeats a run (root, 5 minutes).
	FAIRLEAD_PACKET_CASES=1000000 $(GO) test -count=1 -timeout 60m -v -run TestProgramsAndModelAgree ./bpf

.PHONY: policies
policies: ## A million connections of random clusters through policies' whole pipeline, against a model of the API; FAIRLEAD_POLICY_SEED repeats a run (root, 3 minutes).
	FAIRLEAD_POLICY_CASES=1000000 $(GO) test -count=1 -timeout 60m -v ./test/policydiff

.PHONY: fuzz
fuzz: ## Run each fuzz target for 20 seconds.
	@set -e; for p in $$(git grep -l 'func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho 'func Fuzz[A-Za-z]*' $$p/*_test.go | sed 's/func //'); do \
	    echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 20s ./$$p; done; done

##@ Lab

.PHONY: demo
demo: deps images $(LAB) ## Two clusters born by Cluster API from topology Clusters, with their network, and what came of it.
	$(BORN) $(LAB) build
	$(BORN) go run ./test/demo

.PHONY: lab-up
lab-up: deps lab-build ## Start the lab: clusters hub, alpha and bravo on this machine (root).
	$(LAB) up

.PHONY: lab-down
lab-down: $(LAB) ## Take the lab down; nothing is left behind.
	$(LAB) down

.PHONY: lab-build
lab-build: $(LAB) ## Build Kubernetes, containerd, CoreDNS and the images, once.
	$(LAB) build

.PHONY: deploy
deploy: images ## Load the working tree's build on a running lab and restart Fairlead there.
	go run ./test/demo -deploy

##@ Machine

.PHONY: deps
deps: ## Install the Debian or Ubuntu packages that the lab and the tests need.
	@test/deps runtime

.PHONY: deps-generate deps-kernel-matrix
deps-generate:
	@test/deps generate
deps-kernel-matrix:
	@test/deps kernel-matrix

.PHONY: clean
clean: ## Remove what was built; the lab's downloads and builds stay in .cache/.
	rm -rf bin out
