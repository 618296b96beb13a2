// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/test/matrix"
	"github.com/fairlead-io/fairlead/test/requests"
	"github.com/fairlead-io/fairlead/test/testkit"
)

var controllerKey = client.ObjectKey{Namespace: testkit.OperatorNamespace, Name: "fairlead-controller"}

// gate is the readiness gate of the pods of gated.
const gate corev1.PodConditionType = "fairlead.io/test-gate"

// gated is a request server on a node whose readiness is what a test says.
func gated(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: testkit.LoadNamespace, Name: name, Labels: map[string]string{"app": "gated"}},
		Spec: corev1.PodSpec{
			NodeName: node, ReadinessGates: []corev1.PodReadinessGate{{ConditionType: gate}},
			Containers: []corev1.Container{{
				Name: "server", Image: matrix.Image, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"/probe", "request-server", strconv.Itoa(testkit.WebPort)},
			}},
		},
	}
}

// open sets a pod's readiness gate and waits for the kubelet to follow.
func open(t *testing.T, c client.Client, name string, status corev1.ConditionStatus) {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: testkit.LoadNamespace, Name: name}}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
	eventually(t, time.Minute, name+" runs", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		if p.Status.Phase != corev1.PodRunning {
			return fmt.Errorf("it is %s", p.Status.Phase)
		}
		return c.Status().Patch(ctx, p, client.RawPatch("application/strategic-merge-patch+json", []byte(patch)))
	})
	eventually(t, time.Minute, name+" is as ready as its gate", func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, one := range p.Status.Conditions {
			if one.Type == corev1.PodReady && one.Status == status {
				return nil
			}
		}
		return fmt.Errorf("it is %+v", p.Status.Conditions)
	})
}

// scaleController sets the number of a cluster's controllers and returns what it was.
func scaleController(ctx context.Context, c client.Client, replicas int32) (before int32, err error) {
	var d appsv1.Deployment
	if err := c.Get(ctx, controllerKey, &d); err != nil {
		return 0, err
	}
	before = *d.Spec.Replicas
	return before, c.Patch(ctx, &d, client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)))
}

// usable asks fairleadctl how many endpoints of a Service each node uses.
func usable(t *testing.T, cluster, service string) map[string]int {
	t.Helper()
	cmd := exec.CommandContext(within(t, time.Minute), lab.Path("bin", "fairleadctl"), "--kubeconfig", lab.Plan().Kubeconfig(cluster),
		"service", "trace", testkit.LoadNamespace+"/"+service, "-o", "json")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, stderr.String())
	}
	var views []struct {
		Nodes []string `json:"nodes"`
		View  struct {
			Usable int `json:"usable"`
		} `json:"view"`
	}
	if err := json.Unmarshal(out, &views); err != nil {
		t.Fatalf("%v printed %q: %v", cmd.Args, out, err)
	}
	by := map[string]int{}
	for _, v := range views {
		for _, n := range v.Nodes {
			by[n] = v.View.Usable
		}
	}
	return by
}

// TestBWithoutControllersReadinessCounts: while no controller answers, Services go on working, and a
// node goes by what becomes of its own pods.
func TestBWithoutControllersReadinessCounts(t *testing.T) {
	alpha := lab.Clusters()[0]
	c := clientOf(t, alpha)
	ends := deployLoad(t, alpha)
	node := ends.OneA.Node
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: testkit.LoadNamespace, Name: "gated"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "gated"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(testkit.WebPort)}}},
	}
	for _, o := range []client.Object{service, gated("one", node), gated("two", node)} {
		if err := c.Create(within(t, time.Minute), o); err != nil {
			t.Fatal(err)
		}
	}
	open(t, c, "one", corev1.ConditionTrue)
	open(t, c, "two", corev1.ConditionTrue)
	to := net.JoinHostPort(service.Spec.ClusterIP, "80")
	servers := func(want ...string) {
		t.Helper()
		eventually(t, 30*time.Second, fmt.Sprintf("%v answer and nobody else", want), func(ctx context.Context) error {
			r, err := lab.StartRequests(ctx, alpha, ends.OneA.Name, requests.Config{Server: to, Rate: 100, Fresh: true})
			if err != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond)
			result, err := r.Stop()
			if got := slices.Sorted(maps.Keys(result.Servers)); err == nil && (result.Failed > 0 || !slices.Equal(got, want)) {
				err = fmt.Errorf("%v answered, %d failed: %v", got, result.Failed, result.Errors)
			}
			return err
		})
	}
	servers("one", "two")

	before, err := scaleController(within(t, time.Minute), c, 0)
	if err != nil {
		t.Fatal(err)
	}
	restored(t, func(ctx context.Context) error { _, err := scaleController(ctx, c, before); return err })
	eventually(t, time.Minute, "no controller is left", func(ctx context.Context) error {
		var pods corev1.PodList
		err := c.List(ctx, &pods, client.InNamespace(testkit.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller"})
		if err == nil && len(pods.Items) > 0 {
			err = errors.New("there are some")
		}
		return err
	})
	servers("one", "two")
	open(t, c, "one", corev1.ConditionFalse)
	servers("two")
	want := map[string]int{node: 1, ends.TwoA.Node: 2} // as it was told last
	if got := usable(t, alpha, service.Name); !maps.Equal(got, want) {
		t.Errorf("fairleadctl service trace says that nodes use %v, want %v", got, want)
	}
	open(t, c, "one", corev1.ConditionTrue)
	open(t, c, "two", corev1.ConditionFalse)
	servers("one")

	// With the controllers back, what they say holds: which is the same by now.
	if _, err := scaleController(within(t, time.Minute), c, before); err != nil {
		t.Fatal(err)
	}
	fleetReady(t)
	servers("one")
	open(t, c, "two", corev1.ConditionTrue)
	servers("one", "two")
}
