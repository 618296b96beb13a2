// SPDX-License-Identifier: Apache-2.0

// Package architecture keeps the rules of who may import whom. A rule that is
// broken fails here with its reason; docs/DESIGN.md has the picture.
package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead-io/fairlead"

type pkg struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

func list(t *testing.T, patterns ...string) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Imports,TestImports,XTestImports,Deps"}, patterns...)...)
	cmd.Dir = "../.."
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pkgs := map[string]pkg{}
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs[p.ImportPath] = p
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	return pkgs
}

// product returns the packages that ship: all of the module but its tests.
func product(pkgs map[string]pkg) []pkg {
	var out []pkg
	for p, v := range pkgs {
		if inModule(p) && !strings.HasPrefix(p, module+"/test/") {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b pkg) int { return strings.Compare(a.ImportPath, b.ImportPath) })
	return out
}

func inModule(p string) bool { return p == module || strings.HasPrefix(p, module+"/") }

func under(p string, dirs ...string) bool {
	for _, d := range dirs {
		if full := module + "/" + d; p == full || strings.HasPrefix(p, full+"/") {
			return true
		}
	}
	return false
}

func TestImportRules(t *testing.T) {
	pkgs := product(list(t, "./api/...", "./cmd/...", "./controllers/...", "./internal/...", "./charts/...", "./bpf/..."))
	if len(pkgs) < 20 {
		t.Fatalf("only %d packages of the module found: the rules would hold by accident", len(pkgs))
	}

	t.Run("one importer for each heavy library", func(t *testing.T) {
		for _, rule := range []struct {
			library string
			allowed []string
			reason  string
		}{
			{"helm.sh/helm/", []string{"internal/helm"}, "Helm 3 nears its end: a move must be one package"},
			{"sigs.k8s.io/cluster-api/exp/", []string{"internal/birth"}, "hooks are answered in one place"},
			{"go4.org/netipx", []string{"internal/addressing"}, "sets of addresses are counted in one place"},
			{"sigs.k8s.io/cluster-api/controllers/", nil, "its cache of connections takes megabytes a cluster: internal/fleet has its own"},
			{"github.com/cilium/ebpf", []string{"internal/datapath", "bpf"}, "the kernel is told things in one place"},
			{"github.com/vishvananda/netlink", []string{"internal/datapath"}, "the kernel is told things in one place"},
			{"github.com/vishvananda/netns", []string{"internal/datapath"}, "only who locks its thread may change its namespace"},
			{"github.com/google/nftables", []string{"internal/datapath"}, "the kernel is told things in one place"},
			{"sigs.k8s.io/network-policy-api/", []string{"internal/model/policy", "controllers/clusternetworkpolicy", "cmd/fairlead/controllerrun"}, "agents speak of policies in internal/state's words"},
			{"github.com/cloudevents/", []string{"internal/notify"}, "events leave by one package"},
			{"golang.zx2c4.com/wireguard/wgctrl", []string{"internal/datapath"}, "the kernel is told things in one place"},
		} {
			for _, p := range pkgs {
				for _, imp := range p.Imports {
					if strings.HasPrefix(imp, rule.library) && !under(p.ImportPath, rule.allowed...) {
						t.Errorf("%s imports %s: only %v may (%s)", p.ImportPath, imp, rule.allowed, rule.reason)
					}
				}
			}
		}
	})

	t.Run("layers", func(t *testing.T) {
		for _, rule := range []struct {
			from   []string
			never  []string
			reason string
		}{
			{[]string{"api"}, []string{"internal", "controllers", "cmd", "charts", "bpf"}, "api holds types and nothing that acts"},
			{[]string{"internal"}, []string{"controllers", "cmd"}, "what decides does not know who asks"},
			{[]string{"controllers"}, []string{"cmd", "internal/helm", "internal/datapath", "internal/agent", "internal/probe/prober", "bpf"}, "controllers reach Helm by internal/release and never the kernel"},
			{[]string{"internal/datapath"}, []string{"internal/agent", "internal/state", "internal/serve"}, "the datapath takes plain values"},
			{[]string{"internal/agent"}, []string{"bpf", "internal/serve", "internal/interest", "internal/model", "internal/stack"}, "the agent reaches programs through internal/datapath, and the controller by the protocol"},
			{[]string{"internal/stack", "internal/model", "internal/addresspool", "internal/agent/ipam"}, []string{"internal/helm", "internal/gate", "internal/fleet", "internal/datapath", "internal/serve", "internal/interest"}, "pure packages take and return values"},
			{[]string{"internal/addressing"}, []string{"internal", "api"}, "who gets which addresses does not depend on where that is written"},
			{[]string{"internal/birth"}, []string{"internal/fleet", "internal/release", "internal/helm", "internal/gate"}, "a birth reaches no workload cluster"},
			{[]string{"internal/trust/revocation"}, []string{"internal", "api"}, "agents have the list of revoked CAs and nothing else of trust"},
			{[]string{"internal/agent/policy"}, []string{"internal/agent/node", "internal/agent/sync", "internal/agent/endpoint", "internal/agent/service"}, "what is enforced does not depend on how it was heard of, nor on who asks"},
			{[]string{"internal/agent/policy/view"}, []string{"internal", "api"}, "programs anywhere read it"},
			{[]string{"internal/agent/drop"}, []string{"internal/agent/node", "internal/agent/sync", "internal/agent/endpoint"}, "drops are told of as they come, whoever reads them"},
			{[]string{"internal/cli/trace", "internal/cli/policies"}, []string{"internal/datapath", "internal/agent/node", "internal/agent/sync", "internal/state"}, "people ask agents what they say, by its JSON"},
			{[]string{"internal/agent/turn"}, []string{"internal", "api"}, "whose turn it is does not depend on what is done in it"},
			{[]string{"internal/probe"}, []string{"internal/gate", "internal/datapath", "internal/serve", "internal/fleet"}, "probes measure: they are pods as any, and judge nothing"},
			{[]string{"internal/gate"}, []string{"internal/agent", "internal/probe/prober", "internal/fleet", "internal/helm", "internal/datapath"}, "the gate reads reports and judges them"},
			{[]string{"controllers", "internal/stack", "internal/fleet", "internal/release", "internal/agent", "internal/notify", "internal/fleetmetrics"}, []string{"internal/cli"}, "what runs in clusters knows nothing of how people ask"},
			{[]string{"internal/notify"}, []string{"api", "internal/stack", "internal/fleet"}, "notify sends what it is given and knows nothing of rollouts"},
			{[]string{"internal/interest"}, []string{"internal/agent", "internal/datapath", "internal/enroll"}, "who is told of policies does not depend on what an agent makes of them, nor on how it proves itself"},
			{[]string{"internal/serve"}, []string{"internal/model", "internal/interest"}, "resources are served without a thought for what they mean"},
			{[]string{"internal/objects"}, []string{"internal", "api"}, "single objects are read and written without a thought for what they are"},
			{[]string{"bpf"}, []string{"internal", "controllers", "cmd", "api"}, "programs know nothing of who loads them"},
		} {
			for _, p := range pkgs {
				if !under(p.ImportPath, rule.from...) {
					continue
				}
				for _, imp := range p.Imports {
					if under(imp, rule.never...) {
						t.Errorf("%s imports %s: %s", p.ImportPath, imp, rule.reason)
					}
				}
			}
		}
	})

	t.Run("CAs are made on the management cluster only", func(t *testing.T) {
		for _, p := range pkgs {
			if under(p.ImportPath, "internal/agent", "internal/enroll", "internal/serve", "internal/model") && slices.Contains(p.Imports, module+"/internal/trust") {
				t.Errorf("%s imports internal/trust: what runs in a cluster uses the CA that it was given", p.ImportPath)
			}
		}
	})

	t.Run("controllers do not import one another", func(t *testing.T) {
		for _, p := range pkgs {
			for _, imp := range p.Imports {
				if under(p.ImportPath, "controllers") && under(imp, "controllers") && p.ImportPath != imp {
					t.Errorf("%s imports %s: what two controllers share is a package in internal", p.ImportPath, imp)
				}
			}
		}
	})

	t.Run("pure packages have no client and no I/O", func(t *testing.T) {
		forbidden := []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime/pkg/client", "net/http", "os", "os/exec", "google.golang.org/grpc"}
		for _, p := range pkgs {
			if !under(p.ImportPath, "internal/stack", "internal/model", "internal/addresspool", "internal/agent/ipam",
				"internal/cli/status", "internal/cli/preview", "internal/cli/rollout", "internal/cli/manifest") {
				continue
			}
			for _, imp := range p.Imports {
				if slices.ContainsFunc(forbidden, func(f string) bool { return imp == f || strings.HasPrefix(imp, f+"/") }) {
					t.Errorf("%s imports %s: a pure package takes and returns values", p.ImportPath, imp)
				}
			}
		}
	})

	t.Run("no package for odds and ends", func(t *testing.T) {
		for _, p := range pkgs {
			if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "misc"}, path.Base(p.ImportPath)) {
				t.Errorf("%s: name it after what it owns", p.ImportPath)
			}
		}
	})
}

// TestWhatTestsShare keeps what tests of many kinds use from what only some of them have.
func TestWhatTestsShare(t *testing.T) {
	pkgs := list(t, "./test/capi/...", "./test/policydiff", "./test/program")
	for _, rule := range []struct {
		pkg     string
		allowed []string // of this module
		reason  string
	}{
		{"test/program", nil, "it starts programs and knows none"},
		{"test/policydiff", nil, "the model knows nothing of what it judges"},
		{"test/capi", []string{"test/lab/progress"}, "the lab builds and installs Cluster API by it, and starts nothing on this machine"},
		{"test/capi/run", []string{"test/capi", "test/lab/pki", "test/program"}, "it runs Cluster API's managers whoever else is there"},
	} {
		p, ok := pkgs[module+"/"+rule.pkg]
		if !ok {
			t.Errorf("there is no package %s: the rule holds by accident", rule.pkg)
		}
		for _, imp := range p.Imports {
			if inModule(imp) && !slices.ContainsFunc(rule.allowed, func(a string) bool { return imp == module+"/"+a }) {
				t.Errorf("%s imports %s: only %v (%s)", rule.pkg, imp, rule.allowed, rule.reason)
			}
		}
	}
}

// TestThePluginIsSmall keeps what is executed for every pod on the standard
// library, CNI's skeleton and two packages of ours.
func TestThePluginIsSmall(t *testing.T) {
	pkgs := list(t, "./cmd/fairlead-cni")
	self := pkgs[module+"/cmd/fairlead-cni"]
	for _, dep := range self.Deps {
		first, _, _ := strings.Cut(dep, "/")
		standard := !strings.Contains(first, ".")
		switch {
		case standard && dep != "net/http", strings.HasPrefix(dep, "github.com/containernetworking/cni/pkg/"),
			under(dep, "internal/cniapi", "internal/version"), strings.HasPrefix(dep, "github.com/vishvananda/netns"),
			strings.HasPrefix(dep, "golang.org/x/sys"), strings.HasPrefix(dep, "vendor/"):
		default:
			t.Errorf("fairlead-cni depends on %s: it is executed for every pod and links the standard library and CNI's skeleton only", dep)
		}
	}
}

// TestTheAgentIsSmall keeps out of what runs on every node what half of its memory would
// be: clients of all kinds, Helm, Cluster API.
func TestTheAgentIsSmall(t *testing.T) {
	pkgs := list(t, "./cmd/fairlead-agent")
	for _, dep := range pkgs[module+"/cmd/fairlead-agent"].Deps {
		for _, heavy := range []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "sigs.k8s.io/controller-runtime", "sigs.k8s.io/cluster-api", "helm.sh/helm"} {
			if dep == heavy || strings.HasPrefix(dep, heavy+"/") {
				t.Errorf("fairlead-agent depends on %s: it runs on every node and knows EndpointSlices only", dep)
			}
		}
	}
}
