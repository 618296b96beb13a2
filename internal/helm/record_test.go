// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/release"
	"helm.sh/helm/v3/pkg/storage/driver"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func words(t testing.TB) *Chart {
	t.Helper()
	c, err := Load(os.DirFS("testdata"), "chart")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// record is revision 7 of a release of words.
func record(t testing.TB) *Record {
	t.Helper()
	served := &Served{capabilities: chartutil.DefaultCapabilities}
	r, err := words(t).Next(served, "r", "ns", 7, map[string]any{"word": "one", "more": []any{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRecordsAreHelmsOwn(t *testing.T) {
	r := record(t)
	r.SetStatus(StatusDeployed, "done")
	s, err := r.Secret(map[string]string{"fairlead.io/plan": "p"})
	if err != nil {
		t.Fatal(err)
	}
	secrets := fake.NewClientset(s).CoreV1().Secrets("")
	d := driver.NewSecrets(secrets)
	theirs, err := d.Get(s.Name)
	if err != nil {
		t.Fatal(err)
	}
	if theirs.Name != "r" || theirs.Version != 7 || theirs.Info.Status != release.StatusDeployed || theirs.Manifest != r.Manifest() || theirs.Labels["fairlead.io/plan"] != "p" {
		t.Errorf("Helm reads %+v", theirs)
	}
	// And what Helm writes is read.
	theirs.SetStatus(release.StatusSuperseded, "")
	if err := d.Update(s.Name, theirs); err != nil {
		t.Fatal(err)
	}
	back, err := secrets.Get(t.Context(), s.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadRecord(back)
	if err != nil || again.Status() != StatusSuperseded || again.Manifest() != r.Manifest() || again.ChartVersion() != "1.2.3" {
		t.Errorf("got %+v, %v", again, err)
	}
	e, ok := EntryOf(back)
	if !ok || e.Revision != 7 || e.Status != StatusSuperseded || !maps.Equal(e.Labels, map[string]string{"fairlead.io/plan": "p"}) {
		t.Errorf("got %+v, %t", e, ok)
	}
}

func TestAChartComesBackFromItsRecord(t *testing.T) {
	r := record(t)
	c, err := r.Chart()
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.Next(&Served{capabilities: chartutil.DefaultCapabilities}, "r", "ns", 8, map[string]any{"word": "one", "more": []any{"a", "b"}})
	if err != nil || next.Manifest() != r.Manifest() {
		t.Fatalf("it renders something else, %v", err)
	}
	again, err := next.Chart()
	if err != nil || again.Digest() != c.Digest() {
		t.Errorf("its digest is %s at first and %s later (%v)", c.Digest(), again.Digest(), err)
	}
	if err := c.Validate(map[string]any{"wrod": "x"}); err == nil {
		t.Error("its schema is lost")
	}
}

func TestTheManifest(t *testing.T) {
	objs, err := record(t).Objects()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range objs {
		names = append(names, o.GetKind()+"/"+o.GetName())
	}
	if !slices.Equal(names, []string{"ConfigMap/word", "ConfigMap/a", "ConfigMap/b"}) {
		t.Errorf("got %v", names)
	}
	again := record(t).Again(9)
	if again.Revision() != 9 || again.Status() != StatusPendingBack || again.Manifest() != record(t).Manifest() {
		t.Errorf("got revision %d, %s", again.Revision(), again.Status())
	}
}

func TestWhatIsNoRecord(t *testing.T) {
	for name, payload := range map[string]string{
		"nothing": "", "no base64": "***", "no archive": "H4sIAAAAAAAA", "no JSON": "e30=", "JSON of something else": "eyJuYW1lIjoiciJ9",
	} {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"release": []byte(payload)}}
		if _, err := ReadRecord(s); err == nil || !strings.Contains(err.Error(), `key "release" of Secret s is no record`) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzReadRecord(f *testing.F) {
	s, err := record(f).Secret(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.Data["release"])
	f.Add([]byte("eyJuYW1lIjoiciIsInZlcnNpb24iOjEsImluZm8iOnt9LCJjaGFydCI6eyJtZXRhZGF0YSI6e319fQ=="))
	f.Fuzz(func(t *testing.T, payload []byte) {
		r, err := ReadRecord(&corev1.Secret{Data: map[string][]byte{"release": payload}})
		if err != nil {
			return
		}
		_, _ = r.Objects()
		_, _ = r.Chart()
		r.SetStatus(StatusFailed, "")
		if _, err := r.Again(r.Revision() + 1).Secret(nil); err != nil {
			t.Errorf("what was read cannot be stored: %v", err)
		}
	})
}
