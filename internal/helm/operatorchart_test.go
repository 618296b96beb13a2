// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// operator renders the operator's chart.
func operator(t *testing.T, values map[string]any) map[string]string {
	t.Helper()
	c, err := Load(os.DirFS(filepath.Join("..", "..", "charts")), "fairlead-operator")
	if err != nil {
		t.Fatal(err)
	}
	files, err := c.Render("r", "fairlead-system", values)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// each decodes every document of a kind.
func each[T any](t *testing.T, text, kind string) []T {
	t.Helper()
	var out []T
	for _, doc := range strings.Split(text, "\n---\n") {
		var o T
		if !strings.Contains(doc, "\nkind: "+kind+"\n") {
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatalf("%s: %v\n%s", kind, err, doc)
		}
		out = append(out, o)
	}
	return out
}

func TestTheOperatorsPodIsRestricted(t *testing.T) {
	d := each[appsv1.Deployment](t, operator(t, nil)["deployment.yaml"], "Deployment")[0]
	pod := d.Spec.Template.Spec
	c := pod.Containers[0]
	if pod.HostNetwork || !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*c.SecurityContext.AllowPrivilegeEscalation || !*c.SecurityContext.ReadOnlyRootFilesystem ||
		!slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("got %+v, %+v", pod.SecurityContext, c.SecurityContext)
	}
}

func TestTheOperatorStartsWithoutAPodNetwork(t *testing.T) {
	files := operator(t, map[string]any{
		"hostNetwork": true, "replicas": 2,
		"apiServer":   map[string]any{"host": "192.0.2.1", "port": 6443},
		"tolerations": []any{map[string]any{"operator": "Exists"}},
	})
	d := each[appsv1.Deployment](t, files["deployment.yaml"], "Deployment")[0]
	pod := d.Spec.Template.Spec
	env := pod.Containers[0].Env
	if !pod.HostNetwork || len(pod.Tolerations) != 1 || d.Spec.Strategy.RollingUpdate.MaxSurge.IntValue() != 0 ||
		!slices.Contains(env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: "192.0.2.1"}) ||
		!slices.Contains(env, corev1.EnvVar{Name: "KUBERNETES_SERVICE_PORT", Value: "6443"}) {
		t.Errorf("got %+v", pod)
	}
	if !strings.Contains(files["deployment.yaml"], "kind: PodDisruptionBudget") {
		t.Error("two replicas have no PodDisruptionBudget")
	}
}

func TestTheOperatorsRightsEndAtItsNamespaces(t *testing.T) {
	all := operator(t, nil)
	if n := len(each[rbacv1.ClusterRole](t, all["rbac.yaml"], "ClusterRole")); n != 1 {
		t.Errorf("%d ClusterRoles, want 1", n)
	}
	some := operator(t, map[string]any{"watchNamespaces": []any{"a", "b"}})
	if n := len(each[rbacv1.ClusterRole](t, some["rbac.yaml"], "ClusterRole")); n != 0 {
		t.Errorf("%d ClusterRoles although the namespaces are named", n)
	}
	var namespaces []string
	for _, r := range each[rbacv1.Role](t, some["rbac.yaml"], "Role") {
		namespaces = append(namespaces, r.Namespace)
		for _, rule := range r.Rules {
			if slices.Contains(rule.Verbs, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.APIGroups, "*") {
				t.Errorf("Role %s/%s has a wildcard: %v", r.Namespace, r.Name, rule)
			}
		}
	}
	if !slices.Equal(namespaces, []string{"a", "b", "fairlead-system"}) {
		t.Errorf("got Roles in %v", namespaces)
	}
	if !strings.Contains(some["deployment.yaml"], "--namespace=a") {
		t.Error("the operator is not told its namespaces")
	}
}

func TestTheOperatorAloneWritesClusterStacks(t *testing.T) {
	text := operator(t, nil)["admission.yaml"]
	p := each[admissionv1.ValidatingAdmissionPolicy](t, text, "ValidatingAdmissionPolicy")
	b := each[admissionv1.ValidatingAdmissionPolicyBinding](t, text, "ValidatingAdmissionPolicyBinding")
	if len(p) != 1 || len(b) != 1 || b[0].Spec.PolicyName != p[0].Name ||
		!strings.Contains(p[0].Spec.MatchConditions[0].Expression, "system:serviceaccount:fairlead-system:fairlead-operator") {
		t.Errorf("got %+v, %+v", p, b)
	}
	some := each[admissionv1.ValidatingAdmissionPolicy](t, operator(t, map[string]any{"watchNamespaces": []any{"a"}})["admission.yaml"], "ValidatingAdmissionPolicy")
	if some[0].Name == p[0].Name || !slices.Equal(some[0].Spec.MatchConstraints.NamespaceSelector.MatchExpressions[0].Values, []string{"a"}) {
		t.Errorf("an operator of one namespace refuses what others do in theirs: %+v", some[0])
	}
	if _, ok := operator(t, map[string]any{"protectClusterStacks": false})["admission.yaml"]; ok {
		t.Error("the policy is there although it is switched off")
	}
}

func TestClusterAPIFindsTheOperator(t *testing.T) {
	on := map[string]any{"birth": map[string]any{"extensionConfig": "Always", "admission": true, "url": "https://[2001:db8::1]:9445"}}
	files := operator(t, on)
	var ext unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(files["extension.yaml"]), &ext.Object); err != nil {
		t.Fatal(err)
	}
	if url, _, _ := unstructured.NestedString(ext.Object, "spec", "clientConfig", "url"); ext.GetName() != "fairlead" || url != "https://[2001:db8::1]:9445" {
		t.Errorf("got %v", ext.Object)
	}
	hooks := each[admissionv1.MutatingWebhookConfiguration](t, files["hooks.yaml"], "MutatingWebhookConfiguration")
	if len(hooks) != 1 || hooks[0].Name != "fairlead" || *hooks[0].Webhooks[0].ClientConfig.URL != "https://[2001:db8::1]:9445/admit-cluster" ||
		*hooks[0].Webhooks[0].FailurePolicy != admissionv1.Ignore {
		t.Errorf("got %+v", hooks)
	}
	if args := files["deployment.yaml"]; !strings.Contains(args, "--hooks-host=2001:db8::1\n") || !strings.Contains(args, "--hooks-host=fairlead-operator-hooks.fairlead-system.svc\n") {
		t.Errorf("the operator's certificate is not for what callers use:\n%s", args)
	}
	if text, ok := operator(t, nil)["extension.yaml"]; ok {
		t.Errorf("there is an ExtensionConfig where the API server knows none:\n%s", text)
	}
	off := operator(t, map[string]any{"birth": map[string]any{"hooks": false, "extensionConfig": "Always"}})
	if _, ok := off["extension.yaml"]; ok || strings.Contains(off["deployment.yaml"], "--hooks") {
		t.Error("hooks that are switched off are there")
	}
	some := operator(t, map[string]any{"watchNamespaces": []any{"a"}, "birth": map[string]any{"extensionConfig": "Always"}})
	if !strings.Contains(some["extension.yaml"], "name: fairlead-fairlead-system\n") || !strings.Contains(some["deployment.yaml"], "--hooks-name=fairlead-fairlead-system\n") {
		t.Error("operators of a namespace each take each other's ExtensionConfig")
	}
}
