// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/yaml"

	lua "github.com/yuin/gopher-lua"
)

// state is an object in a state, and what the tools shall say of it.
type state struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Object is laid over the ordinary one.
	Object map[string]any `json:"object"`
	// Ready replaces fields of the condition Ready, Extra is another condition.
	Ready map[string]any `json:"ready"`
	Extra map[string]any `json:"extra"`
	// Reconciling adds the condition of that name.
	Reconciling bool   `json:"reconciling"`
	ArgoCD      string `json:"argocd"`
	Message     string `json:"message"`
	Kstatus     string `json:"kstatus"`
}

func config(t *testing.T, path ...string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "config", "gitops"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func states(t *testing.T) (out []state) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "states.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// object is the state's object: Ready at generation 2 where the state says nothing else.
func (s state) object() map[string]any {
	ready := map[string]any{"type": "Ready", "status": "True", "reason": "ClustersReady", "message": "3 of 3 clusters are Ready"}
	for k, v := range s.Ready {
		ready[k] = v
	}
	conditions := []any{ready}
	if s.Extra != nil {
		conditions = append(conditions, s.Extra)
	}
	if s.Reconciling {
		conditions = append(conditions, map[string]any{"type": "Reconciling", "status": "True", "reason": "Progressing"})
	}
	out := map[string]any{
		"apiVersion": "fairlead.io/v1alpha1", "kind": s.Kind,
		"metadata": map[string]any{"name": "production", "namespace": "fleet", "generation": int64(2)},
		"spec":     map[string]any{},
		"status": map[string]any{
			"observedGeneration": int64(2), "conditions": conditions,
			"rollout": map[string]any{"phase": "Complete", "message": "every wave has passed"},
		},
	}
	lay(out, s.Object)
	return out
}

// lay lays fields over an object; null takes one away.
func lay(object, over map[string]any) {
	for k, v := range over {
		inner, isMap := v.(map[string]any)
		below, there := object[k].(map[string]any)
		switch {
		case v == nil:
			delete(object, k)
		case isMap && there:
			lay(below, inner)
		default:
			if f, ok := v.(float64); ok {
				v = int64(f)
			}
			object[k] = v
		}
	}
}

// toLua is a value as Argo CD hands it to a script.
func toLua(l *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		t := l.NewTable()
		for k, e := range v {
			t.RawSetString(k, toLua(l, e))
		}
		return t
	case []any:
		t := l.NewTable()
		for _, e := range v {
			t.Append(toLua(l, e))
		}
		return t
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	}
	return lua.LNil
}

// health runs a script as Argo CD does: the object is the global obj, and no library is
// there that reaches out of the script.
func health(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		t.Fatal(err)
	}
	answer, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returned a %s", l.Get(-1).Type())
	}
	return answer.RawGetString("status").String(), answer.RawGetString("message").String()
}

func TestWhatArgoCDSays(t *testing.T) {
	for _, s := range states(t) {
		t.Run(s.Name, func(t *testing.T) {
			script := string(config(t, "argocd", strings.ToLower(s.Kind)+".lua"))
			status, message := health(t, script, s.object())
			if status != s.ArgoCD || message == "nil" || !strings.Contains(message, s.Message) {
				t.Errorf("got %s, %q; want %s, %q", status, message, s.ArgoCD, s.Message)
			}
		})
	}
}

func TestTheConfigMapHasTheScripts(t *testing.T) {
	var m struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(config(t, "argocd", "argocd-cm.yaml"), &m); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"NetworkStack", "ClusterStack"} {
		if m.Data["resource.customizations.health.fairlead.io_"+kind] != string(config(t, "argocd", strings.ToLower(kind)+".lua")) {
			t.Errorf("argocd-cm.yaml has another script of %s than the .lua file: copy it there", kind)
		}
	}
	var ignore struct {
		JSONPointers          []string `json:"jsonPointers"`
		ManagedFieldsManagers []string `json:"managedFieldsManagers"`
	}
	if err := yaml.UnmarshalStrict([]byte(m.Data["resource.customizations.ignoreDifferences.fairlead.io_NetworkStack"]), &ignore); err != nil || len(ignore.JSONPointers) != 4 || len(ignore.ManagedFieldsManagers) != 1 {
		t.Errorf("got %+v, %v", ignore, err)
	}
}

func TestWhatKstatusSays(t *testing.T) {
	for _, s := range states(t) {
		t.Run(s.Name, func(t *testing.T) {
			got, err := kstatus.Compute(&unstructured.Unstructured{Object: s.object()})
			if err != nil || got.Status.String() != s.Kstatus {
				t.Errorf("got %v, %v; want %s", got, err, s.Kstatus)
			}
		})
	}
}

// TestWhatFluxSays evaluates the sample's expressions in the order of Flux: what is in
// progress is neither failed nor current.
func TestWhatFluxSays(t *testing.T) {
	var k struct {
		Spec struct {
			HealthCheckExprs []struct{ APIVersion, Kind, InProgress, Failed, Current string } `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(config(t, "flux", "kustomization.yaml"), &k); err != nil {
		t.Fatal(err)
	}
	e := k.Spec.HealthCheckExprs[0]
	for _, s := range states(t) {
		// Flux leaves an object that is being deleted out.
		if s.Kind != e.Kind || s.Kstatus == "Terminating" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			got := "Unknown"
			switch object := s.object(); {
			case holds(t, e.InProgress, object):
				got = "InProgress"
			case holds(t, e.Failed, object):
				got = "Failed"
			case holds(t, e.Current, object):
				got = "Current"
			}
			if got != s.Kstatus {
				t.Errorf("got %s, want %s", got, s.Kstatus)
			}
		})
	}
}

// holds evaluates an expression on an object; a field that is not there makes it false, but
// for the first, which Flux takes as in progress.
func holds(t *testing.T, expression string, object map[string]any) bool {
	t.Helper()
	vars := map[string]any{}
	var options []cel.EnvOption
	for _, name := range []string{"metadata", "spec", "status"} {
		options = append(options, cel.Variable(name, cel.DynType))
		if vars[name] = object[name]; object[name] == nil {
			vars[name] = map[string]any{}
		}
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		t.Fatal(err)
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil {
		t.Fatal(issues.Err())
	}
	program, err := env.Program(ast)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := program.Eval(vars)
	return err == nil && out.Value() == true
}
