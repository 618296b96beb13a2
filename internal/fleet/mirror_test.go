// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	ctrlcache "sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/charts"
	"github.com/fairlead-io/fairlead/internal/fleet/fleettest"
	"github.com/fairlead-io/fairlead/internal/release"
)

// rights is the metadata of ClusterRoles.
func rights() *metav1.PartialObjectMetadata {
	o := &metav1.PartialObjectMetadata{}
	o.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("ClusterRole"))
	return o
}

// startMirror mirrors the workload cluster.
func startMirror(t *testing.T, cached map[client.Object]ctrlcache.ByObject) *mirror {
	t.Helper()
	scheme := work.Client.Scheme()
	c, err := newCodecs(scheme)
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWire(work.Config, c)
	if err != nil {
		t.Fatal(err)
	}
	by, err := restrictions(cached, scheme)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{wire: w, scheme: scheme, cached: by, kinds: map[kindKey]*kind{}}
	m.ctx, m.end = context.WithCancel(t.Context())
	t.Cleanup(m.end)
	return m
}

func TestAMirrorShowsWhatIsThere(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	g.Expect(servers()).To(Succeed())
	ctx := t.Context()
	m := startMirror(t, map[client.Object]ctrlcache.ByObject{
		&corev1.ConfigMap{}: {Namespaces: map[string]ctrlcache.Config{"default": {}}, Label: labels.SelectorFromSet(labels.Set{"ours": "yes"})},
	})
	told := make(chan struct{}, 100)
	listen := func(o client.Object) {
		g.Expect(m.watch(o, &listener{notify: func() { told <- struct{}{} }})).To(Succeed())
	}

	// An object of ours comes, changes and goes; that of others is not held.
	listen(&corev1.ConfigMap{})
	ours := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Labels: map[string]string{"ours": "yes"}}, Data: map[string]string{"k": "1"}}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}
	g.Expect(work.Client.Create(ctx, theirs)).To(Succeed())
	g.Expect(work.Client.Create(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	have := &corev1.ConfigMap{}
	g.Expect(m.Get(ctx, client.ObjectKeyFromObject(ours), have)).To(Succeed())
	g.Expect(have.Data).To(Equal(ours.Data))
	g.Expect(have.ManagedFields).To(BeEmpty())
	have.Data["k"] = "what a reader does with its copy"
	g.Expect(apierrors.IsNotFound(m.Get(ctx, client.ObjectKeyFromObject(theirs), have))).To(BeTrue())
	ours.Data["k"] = "2"
	g.Expect(work.Client.Update(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	g.Expect(m.Get(ctx, client.ObjectKeyFromObject(ours), have)).To(Succeed())
	g.Expect(have.Data).To(Equal(ours.Data))
	g.Expect(work.Client.Delete(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	var all corev1.ConfigMapList
	g.Expect(m.List(ctx, &all)).To(Succeed())
	g.Expect(all.Items).To(BeEmpty())

	// Of some kinds the metadata alone is held.
	g.Expect(work.Client.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}})).To(Succeed())
	listen(rights())
	g.Eventually(told).Should(Receive())
	role := rights()
	g.Expect(m.Get(ctx, client.ObjectKey{Name: "r"}, role)).To(Succeed())
	g.Expect(role.UID).NotTo(BeEmpty())
	g.Expect(role.Kind).To(Equal("ClusterRole"))

	// A kind that is not served yet is said not to be, and read as soon as it is.
	var networks v1alpha1.NodeNetworkList
	g.Expect(meta.IsNoMatchError(m.List(ctx, &networks))).To(BeTrue())
	chart, err := release.LoadChart(charts.CNI, charts.CNIRoot)
	g.Expect(err).NotTo(HaveOccurred())
	for _, crd := range chart.CRDs() {
		g.Expect(work.Client.Create(ctx, crd)).To(Succeed())
	}
	g.Eventually(func() error { return m.List(ctx, &networks) }).Should(Succeed())
	listen(&v1alpha1.NodeNetwork{})
	g.Eventually(func() error {
		return work.Client.Create(ctx, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	}).Should(Succeed())
	g.Eventually(func(g Gomega) {
		g.Expect(m.List(ctx, &networks)).To(Succeed())
		g.Expect(networks.Items).To(HaveLen(1))
	}).Should(Succeed())

	// A place that the server has forgotten is found again: nothing is missed.
	p := m.of(kindKey{v1alpha1.GroupVersion.WithKind("NodeNetwork"), false}).parts[0]
	g.Expect(p.take(watch.Bookmark, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "1"}})).To(Succeed())
	g.Expect(p.since()).To(Equal("1"))
	g.Expect(p.list(ctx)).To(Succeed())
	g.Expect(p.since()).NotTo(Equal("1"))

	// What is not followed any more is not held, and whoever waits is told.
	g.Expect(m.forget(&v1alpha1.NodeNetwork{})).To(Succeed())
	m.end()
	g.Expect(m.List(ctx, &networks)).To(MatchError(errEnded))
}

// A server that lost its objects counts versions anew: what is held is of a version that is
// yet to come there, and a watch from it would be silent.
func TestAServerThatComesBackWithAnotherPast(t *testing.T) {
	g := NewWithT(t)
	var lists atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		const list = `{"apiVersion":"fairlead.io/v1alpha1","kind":"NodeNetworkList","metadata":{"resourceVersion":%q},"items":[{"metadata":{"name":%q,"resourceVersion":%q}}]}`
		switch {
		case r.URL.Query().Has("watch") && lists.Load() == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Query().Has("watch"):
			<-r.Context().Done()
		case lists.Add(1) == 1:
			fmt.Fprintf(w, list, "1000", "before", "1000")
		default:
			fmt.Fprintf(w, list, "5", "after", "5")
		}
	}))
	scheme, err := fleettest.Scheme()
	g.Expect(err).NotTo(HaveOccurred())
	c, err := newCodecs(scheme)
	g.Expect(err).NotTo(HaveOccurred())
	w, err := newWire(&rest.Config{Host: server.URL}, c)
	g.Expect(err).NotTo(HaveOccurred())
	m := &mirror{wire: w, scheme: scheme, kinds: map[kindKey]*kind{}}
	m.ctx, m.end = context.WithCancel(t.Context())
	t.Cleanup(server.Close)
	t.Cleanup(m.end)
	g.Eventually(func() string {
		var networks v1alpha1.NodeNetworkList
		if err := m.List(t.Context(), &networks); err != nil || len(networks.Items) != 1 {
			return fmt.Sprintf("%d objects: %v", len(networks.Items), err)
		}
		return networks.Items[0].Name
	}, 20*time.Second, 20*time.Millisecond).Should(Equal("after"))
}

func FuzzStream(f *testing.F) {
	scheme, err := fleettest.Scheme()
	if err != nil {
		f.Fatal(err)
	}
	c, err := newCodecs(scheme)
	if err != nil {
		f.Fatal(err)
	}
	w := &wire{codecs: c}
	f.Add(`{"type":"ADDED","object":{"apiVersion":"meta.k8s.io/v1","kind":"PartialObjectMetadata","metadata":{"name":"a"}}}`, true)
	f.Add(`{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","code":410}}`, true)
	f.Add("\x00\x00\x00\x04k8s\x00", false)
	f.Fuzz(func(t *testing.T, said string, text bool) {
		form := "application/vnd.kubernetes.protobuf;stream=watch"
		if text {
			form = "application/json;stream=watch"
		}
		n := w.negotiator(kindKey{schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, true})
		s, err := newStream(form, io.NopCloser(bytes.NewReader([]byte(said))), n)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for {
			kind, o, err := s.Next()
			if err != nil {
				return
			}
			if o == nil || kind == watch.Error || strings.TrimSpace(string(kind)) == "" {
				t.Fatalf("event %q with %v is none, and no error", kind, o)
			}
		}
	})
}
