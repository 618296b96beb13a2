// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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

// startMirror mirrors a real API server, for as long as the connection is current.
func startMirror(t *testing.T, server *fleettest.Server, cached map[client.Object]ctrlcache.ByObject, current *atomic.Bool) *mirror {
	t.Helper()
	scheme := server.Client.Scheme()
	c, err := client.NewWithWatch(server.Config, client.Options{Scheme: scheme, Mapper: known})
	if err != nil {
		t.Fatal(err)
	}
	by, err := restrictions(cached, scheme)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{client: c, scheme: scheme, cached: by, kinds: map[kindKey]*kind{}, log: testr.New(t), current: current.Load}
	m.ctx, m.end = context.WithCancel(t.Context())
	t.Cleanup(m.end)
	return m
}

func TestAMirrorShowsWhatIsThere(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(20 * time.Second)
	server, err := fleettest.Workload()
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = server.Stop() })
	ctx := t.Context()
	current := &atomic.Bool{}
	current.Store(true)
	m := startMirror(t, server, map[client.Object]ctrlcache.ByObject{
		&corev1.ConfigMap{}: {Namespaces: map[string]ctrlcache.Config{"default": {}}, Label: labels.SelectorFromSet(labels.Set{"ours": "yes"})},
	}, current)
	told := make(chan struct{}, 100)
	listen := func(o client.Object) {
		g.Expect(m.watch(o, &listener{notify: func() { told <- struct{}{} }})).To(Succeed())
	}

	// An object of ours comes, changes and goes; that of others is not held.
	listen(&corev1.ConfigMap{})
	ours := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Labels: map[string]string{"ours": "yes"}}, Data: map[string]string{"k": "1"}}
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"}}
	g.Expect(server.Client.Create(ctx, theirs)).To(Succeed())
	g.Expect(server.Client.Create(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	have := &corev1.ConfigMap{}
	g.Expect(m.Get(ctx, client.ObjectKeyFromObject(ours), have)).To(Succeed())
	g.Expect(have.Data).To(Equal(ours.Data))
	g.Expect(have.ManagedFields).To(BeEmpty())
	have.Data["k"] = "what a reader does with its copy"
	g.Expect(apierrors.IsNotFound(m.Get(ctx, client.ObjectKeyFromObject(theirs), have))).To(BeTrue())
	ours.Data["k"] = "2"
	g.Expect(server.Client.Update(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	g.Expect(m.Get(ctx, client.ObjectKeyFromObject(ours), have)).To(Succeed())
	g.Expect(have.Data).To(Equal(ours.Data))
	g.Expect(server.Client.Delete(ctx, ours)).To(Succeed())
	g.Eventually(told).Should(Receive())
	var all corev1.ConfigMapList
	g.Expect(m.List(ctx, &all)).To(Succeed())
	g.Expect(all.Items).To(BeEmpty())
	g.Expect(m.List(ctx, &all, client.MatchingLabels{"ours": "yes"})).To(MatchError(ContainSubstring("cannot be restricted by labels or fields: use Live")))

	// Of some kinds the metadata alone is held.
	g.Expect(server.Client.Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}})).To(Succeed())
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
		g.Expect(server.Client.Create(ctx, crd)).To(Succeed())
	}
	g.Eventually(func() error { return m.List(ctx, &networks) }).Should(Succeed())
	listen(&v1alpha1.NodeNetwork{})
	g.Expect(server.Client.Create(ctx, &v1alpha1.NodeNetwork{ObjectMeta: metav1.ObjectMeta{Name: "n"}})).To(Succeed())
	g.Eventually(told).Should(Receive())
	g.Expect(m.List(ctx, &networks)).To(Succeed())
	g.Expect(networks.Items).To(HaveLen(1))

	// What is not followed any more is read anew.
	g.Expect(m.forget(&v1alpha1.NodeNetwork{})).To(Succeed())
	g.Expect(m.kinds).NotTo(HaveKey(kindKey{v1alpha1.GroupVersion.WithKind("NodeNetwork"), false}))
	g.Expect(m.List(ctx, &networks)).To(Succeed())
	g.Expect(networks.Items).To(HaveLen(1))

	// A connection that is not the cluster's any more ends its mirror, and readers are told.
	current.Store(false)
	g.Expect(m.forget(&v1alpha1.NodeNetwork{})).To(Succeed())
	g.Expect(m.List(ctx, &networks)).To(MatchError(errEnded))
	g.Eventually(m.ctx.Done()).Should(BeClosed())
	g.Expect(m.List(ctx, &networks)).To(MatchError(errEnded))
}

// followed is a part that has been read, with what it told of.
func followed(t *testing.T, objects ...any) (*part, *int) {
	t.Helper()
	p := newPart(ctrlcache.TransformStripManagedFields())
	told := 0
	p.listen(&listener{notify: func() { told++ }})
	if err := p.Replace(objects, "1"); err != nil {
		t.Fatal(err)
	}
	return p, &told
}

func configMap(name, version string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: version}}
}

func TestAPartTellsOfWhatDiffers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*part) error
		told int
	}{
		{"the same, listed anew", func(p *part) error { return p.Replace([]any{configMap("a", "1"), configMap("b", "2")}, "3") }, 0},
		{"one changed, one came, one went, while nobody watched", func(p *part) error {
			return p.Replace([]any{configMap("a", "3"), configMap("c", "4")}, "4")
		}, 3},
		{"one comes", func(p *part) error { return p.Add(configMap("c", "3")) }, 1},
		{"one changes", func(p *part) error { return p.Update(configMap("a", "3")) }, 1},
		{"one is sent again", func(p *part) error { return p.Update(configMap("a", "1")) }, 0},
		{"one goes", func(p *part) error { return p.Delete(configMap("a", "3")) }, 1},
		{"the kind goes", func(p *part) error { p.failed(&meta.NoKindMatchError{}); return nil }, 2},
		{"the server fails", func(p *part) error { p.failed(apierrors.NewInternalError(context.Canceled)); return nil }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, told := followed(t, configMap("a", "1"), configMap("b", "2"))
			before := *told
			if err := c.do(p); err != nil {
				t.Fatal(err)
			}
			if got := *told - before; got != c.told {
				t.Errorf("told %d times, want %d", got, c.told)
			}
		})
	}
}

func TestWhatWasReadOnceStaysWhenTheServerFails(t *testing.T) {
	g := NewWithT(t)
	p := newPart(ctrlcache.TransformStripManagedFields())
	fault := apierrors.NewInternalError(context.Canceled)
	p.failed(fault)
	g.Expect(p.wait(t.Context(), nil)).To(MatchError(fault))
	g.Expect(p.Replace([]any{configMap("a", "1")}, "1")).To(Succeed())
	g.Expect(p.wait(t.Context(), nil)).To(Succeed())
	p.failed(fault)
	g.Expect(p.wait(t.Context(), nil)).To(Succeed())
	g.Expect(p.get(client.ObjectKey{Namespace: "default", Name: "a"})).NotTo(BeNil())
}
