// SPDX-License-Identifier: Apache-2.0

package service

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/internal/model"
	"github.com/fairlead-io/fairlead/internal/serve"
	"github.com/fairlead-io/fairlead/internal/state"
)

func sample(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: "u1", ResourceVersion: "7", CreationTimestamp: metav1.NewTime(time.Unix(1000, 0)),
			Labels: map[string]string{ProxyNameLabel: ""}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "a"},
			ClusterIP: "10.96.0.1", ClusterIPs: []string{"10.96.0.1", "fd00::1"}, ExternalIPs: []string{"192.0.2.7"},
			Ports:           []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, NodePort: 30080}},
			SessionAffinity: corev1.ServiceAffinityClientIP, HealthCheckNodePort: 30999, PublishNotReadyAddresses: true,
			SessionAffinityConfig: &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(30))}},
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, InternalTrafficPolicy: new(corev1.ServiceInternalTrafficPolicyLocal),
			LoadBalancerSourceRanges: []string{"198.51.100.0/24"}, TrafficDistribution: new("PreferSameZone"),
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
			{IP: "203.0.113.1"}, {IP: "203.0.113.2", IPMode: new(corev1.LoadBalancerIPModeProxy)}, {Hostname: "lb.example.org"},
		}}},
	}
}

func TestTransformLosesNothingThatTheModelNeeds(t *testing.T) {
	out, err := Transform(sample("a"))
	if err != nil {
		t.Fatal(err)
	}
	got := out.(*corev1.Service)
	if want := toModel(sample("a")); !reflect.DeepEqual(toModel(got), want) {
		t.Errorf("the model sees %+v, want %+v", toModel(got), want)
	}
	if got.ManagedFields != nil || got.Spec.Selector != nil || got.UID != "u1" || got.ResourceVersion != "7" {
		t.Errorf("kept %+v", got)
	}
}

func TestWhatTheModelSees(t *testing.T) {
	want := model.Service{
		Namespace: "default", Name: "a", Created: time.Unix(1000, 0),
		ClusterIPs: []string{"10.96.0.1", "fd00::1"}, ExternalIPs: []string{"192.0.2.7"}, LoadBalancerIPs: []string{"203.0.113.1"},
		Ports:           []model.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, NodePort: 30080}},
		AffinitySeconds: 30, InternalLocal: true, ExternalLocal: true, HealthCheckNodePort: 30999,
		SourceRanges: []string{"198.51.100.0/24"}, PublishNotReady: true, Distribution: "PreferSameZone",
	}
	if got := toModel(sample("a")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for name, c := range map[string]struct {
		change func(*corev1.Service)
		want   func(model.Service) bool
	}{
		"labelled headless": {func(s *corev1.Service) { s.Labels = map[string]string{corev1.IsHeadlessService: ""} }, func(m model.Service) bool { return m.Headless }},
		"headless":          {func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"} }, func(m model.Service) bool { return m.Headless }},
		"ExternalName":      {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, func(m model.Service) bool { return m.External }},
		"another proxy":     {func(s *corev1.Service) { s.Labels[ProxyNameLabel] = "other" }, func(m model.Service) bool { return m.Proxy == "other" }},
		"default affinity":  {func(s *corev1.Service) { s.Spec.SessionAffinityConfig = nil }, func(m model.Service) bool { return m.AffinitySeconds == 10800 }},
		"no affinity":       {func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityNone }, func(m model.Service) bool { return m.AffinitySeconds == 0 }},
		"an old API server": {func(s *corev1.Service) { s.Spec.ClusterIPs = nil }, func(m model.Service) bool { return len(m.ClusterIPs) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := sample("a")
			c.change(s)
			if got := toModel(s); !c.want(got) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// What a change costs does not depend on how many Services there are.
func BenchmarkOneChangeOfTenThousand(b *testing.B) {
	r := &Reconciler{Store: serve.NewStore(state.AgentTypes...)}
	r.init()
	one := func(i, port int) model.Service {
		return model.Service{Namespace: "default", Name: fmt.Sprintf("s%05d", i), ClusterIPs: []string{fmt.Sprintf("10.96.%d.%d", i>>8, i&255)},
			Ports: []model.ServicePort{{Protocol: "TCP", Port: int32(port)}}}
	}
	for i := range 10000 {
		r.bring(b.Context(), r.book.Set(one(i, 80)))
	}
	port := 80
	for b.Loop() {
		port ^= 1
		r.bring(b.Context(), r.book.Set(one(7, port)))
	}
}
