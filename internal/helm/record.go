// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"time"

	"helm.sh/helm/v3/pkg/release"
	helmtime "helm.sh/helm/v3/pkg/time"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Status is the status of a revision as Helm stores it.
type Status string

// The statuses.
const (
	StatusDeployed       = Status(release.StatusDeployed)
	StatusSuperseded     = Status(release.StatusSuperseded)
	StatusFailed         = Status(release.StatusFailed)
	StatusUninstalling   = Status(release.StatusUninstalling)
	StatusUninstalled    = Status(release.StatusUninstalled)
	StatusPendingInstall = Status(release.StatusPendingInstall)
	StatusPendingUpgrade = Status(release.StatusPendingUpgrade)
	StatusPendingBack    = Status(release.StatusPendingRollback)
)

const (
	secretType = corev1.SecretType("helm.sh/release.v1")
	secretKey  = "release"
	// maxRecord bounds what a record may unpack to, in bytes.
	maxRecord = 32 << 20
)

// SecretName is the name of the Secret that holds a revision.
func SecretName(name string, revision int) string {
	return fmt.Sprintf("sh.helm.release.v1.%s.v%d", name, revision)
}

// Selector selects the Secrets that hold a release's revisions.
func Selector(name string) string { return "owner=helm,name=" + name }

// Entry is what a Secret's labels say of the revision in it.
type Entry struct {
	Revision int
	Status   Status
	// Labels are those that are not Helm's own.
	Labels map[string]string
	// Secret is its name, Version its resourceVersion.
	Secret, Version string
}

// EntryOf reads the labels of a Secret; false says that they are not those of a revision.
func EntryOf(m metav1.Object) (Entry, bool) {
	labels := m.GetLabels()
	revision, err := strconv.Atoi(labels["version"])
	if err != nil || revision < 1 {
		return Entry{}, false
	}
	e := Entry{Revision: revision, Status: Status(labels["status"]), Labels: map[string]string{}, Secret: m.GetName(), Version: m.GetResourceVersion()}
	for k, v := range labels {
		switch k {
		case "name", "owner", "status", "version", "createdAt", "modifiedAt":
		default:
			e.Labels[k] = v
		}
	}
	return e, true
}

// Record is one revision of a release: the chart, the values and the objects.
type Record struct{ r *release.Release }

// Next renders the chart to the record of a revision, which is pending. The chart's schema
// is enforced; its error is a *RefusedError.
func (c *Chart) Next(served *Served, name, namespace string, revision int, values map[string]any) (*Record, error) {
	ch, files, err := c.render(name, namespace, values, served.capabilities)
	if err != nil {
		return nil, err
	}
	text, err := manifest(files)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", c.Name(), err)
	}
	return pending(&release.Release{Name: name, Namespace: namespace, Chart: ch, Config: values, Manifest: text}, revision), nil
}

// Again is a record of the same content under a new revision, which is pending.
func (r *Record) Again(revision int) *Record {
	content := *r.r
	out := pending(&content, revision)
	if revision > 1 {
		out.r.Info.Status = release.StatusPendingRollback
	}
	return out
}

func pending(content *release.Release, revision int) *Record {
	now := helmtime.Time{Time: time.Now()}
	content.Version, content.Labels = revision, nil
	content.Info = &release.Info{FirstDeployed: now, LastDeployed: now, Status: release.StatusPendingUpgrade, Description: "Preparing upgrade"}
	if revision == 1 {
		content.Info.Status, content.Info.Description = release.StatusPendingInstall, "Initial install underway"
	}
	return &Record{content}
}

// Name, Revision, Status and Manifest are those of the record.
func (r *Record) Name() string { return r.r.Name }

// Revision counts from 1.
func (r *Record) Revision() int { return r.r.Version }

// Status is the revision's.
func (r *Record) Status() Status { return Status(r.r.Info.Status) }

// ChartVersion is the version in the Chart.yaml of the chart.
func (r *Record) ChartVersion() string { return r.r.Chart.Metadata.Version }

// Manifest is the stream of documents that the revision is made of.
func (r *Record) Manifest() string { return r.r.Manifest }

// Objects reads the manifest.
func (r *Record) Objects() ([]*unstructured.Unstructured, error) {
	out, err := Objects([]byte(r.r.Manifest))
	if err != nil {
		return nil, fmt.Errorf("reading revision %d of release %s: %w", r.r.Version, r.r.Name, err)
	}
	return out, nil
}

// Chart is the chart of the record, without CRDs, which records do not hold.
func (r *Record) Chart() (*Chart, error) { return stored(r.r.Chart) }

// SetStatus says how far the revision is; why is for people.
func (r *Record) SetStatus(s Status, why string) { r.r.SetStatus(release.Status(s), why) }

// Secret is the Secret that holds the record, with labels of ours beside Helm's.
func (r *Record) Secret(labels map[string]string) (*corev1.Secret, error) {
	payload, err := encode(r.r)
	if err != nil {
		return nil, fmt.Errorf("storing revision %d of release %s: %w", r.r.Version, r.r.Name, err)
	}
	all := maps.Clone(labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, map[string]string{
		"name": r.r.Name, "owner": "helm", "status": string(r.r.Info.Status), "version": strconv.Itoa(r.r.Version),
		"modifiedAt": strconv.FormatInt(time.Now().Unix(), 10),
	})
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: SecretName(r.r.Name, r.r.Version), Labels: all},
		Type:       secretType,
		Data:       map[string][]byte{secretKey: payload},
	}, nil
}

// ReadRecord reads the record in a Secret.
func ReadRecord(s *corev1.Secret) (*Record, error) {
	r, err := decode(s.Data[secretKey])
	if err != nil {
		return nil, fmt.Errorf("key %q of Secret %s is no record of a release: %w", secretKey, s.Name, err)
	}
	return &Record{r}, nil
}

func encode(r *release.Release) ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, out.Bytes()), nil
}

// decode reads what encode, or Helm, wrote. Errors quote nothing of it: values are in it.
func decode(payload []byte) (*release.Release, error) {
	raw, err := base64.StdEncoding.AppendDecode(nil, payload)
	if err != nil {
		return nil, errors.New("it is not in base64")
	}
	// Helm wrote records without compression once.
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b, 0x08}) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, errors.New("it does not unpack")
		}
		if raw, err = io.ReadAll(io.LimitReader(z, maxRecord+1)); err != nil || len(raw) > maxRecord {
			return nil, errors.New("it does not unpack, or to more than a record may have")
		}
	}
	r := &release.Release{}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, errors.New("it is not the JSON of a record")
	}
	if r.Name == "" || r.Version < 1 || r.Info == nil || r.Chart == nil || r.Chart.Metadata == nil {
		return nil, errors.New("it lacks name, version, info or chart")
	}
	return r, nil
}
