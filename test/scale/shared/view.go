// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Label names, at each object that has no namespace, the cluster whose it is.
const Label = "scale.fairlead.io/cluster"

// own are the collections without a namespace of which each cluster has its own objects.
var own = []string{
	"api/v1/namespaces", "api/v1/nodes", "apis/fairlead.io/v1alpha1/nodenetworks",
	"apis/rbac.authorization.k8s.io/v1/clusterroles", "apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}

// common is the collection that all clusters share.
const common = "apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// view is one cluster's view of the real API server. Its name is as long as every other's, so
// that no mark begins with another.
type view struct{ cluster string }

// mark is what is appended to names. Nothing else of what the operator writes holds it.
func (v view) mark() string { return "-in-" + v.cluster }

// asked is where a request leads.
type asked struct {
	// objects says that it is for objects, and not for what is served.
	objects bool
	// own says that they have no namespace and are the cluster's own.
	own bool
}

// place maps a path and a query. The error names what cannot be told apart.
func (v view) place(u *url.URL) (asked, error) {
	s := strings.Split(strings.Trim(u.Path, "/"), "/")
	head := 2
	if s[0] == "apis" {
		head = 3
	}
	if (s[0] != "api" && s[0] != "apis") || len(s) <= head {
		return asked{}, nil
	}
	rest := s[head:]
	collection := strings.Join(s[:head+1], "/")
	if rest[0] == "namespaces" && len(rest) > 2 && rest[2] != "status" && rest[2] != "finalize" {
		v.rename(u, s, head+1)
		return asked{objects: true}, nil
	}
	switch {
	case collection == common:
		return asked{objects: true}, nil
	case !slices.Contains(own, collection):
		return asked{}, fmt.Errorf("%s is of all namespaces, or of no cluster: it cannot be told whose it is", u.Path)
	case len(rest) > 1:
		v.rename(u, s, head+1)
		return asked{objects: true, own: true}, nil
	}
	q := u.Query()
	q.Set("labelSelector", strings.Trim(q.Get("labelSelector")+","+Label+"="+v.cluster, ","))
	if field := q.Get("fieldSelector"); field != "" {
		if !strings.HasPrefix(field, "metadata.name=") || strings.Contains(field, ",") {
			return asked{}, fmt.Errorf("%s is selected by %s: names alone can be mapped", u.Path, field)
		}
		q.Set("fieldSelector", field+v.mark())
	}
	u.RawQuery = q.Encode()
	return asked{objects: true, own: true}, nil
}

// rename marks the name that is a part of a path.
func (v view) rename(u *url.URL, parts []string, at int) {
	parts[at] += v.mark()
	u.Path, u.RawPath = "/"+strings.Join(parts, "/"), ""
}

// body maps what is written. The error names what cannot be read.
func (v view) body(contentType string, raw []byte, own bool) ([]byte, error) {
	if len(raw) == 0 {
		return raw, nil
	}
	if contentType == "" {
		contentType = "application/json" // as the API server takes it
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("content type %q: %w", contentType, err)
	}
	switch types.PatchType(kind) {
	case types.JSONPatchType:
		return raw, nil // of fields that Helm left; they name nothing
	case "application/json", types.ApplyYAMLPatchType, types.MergePatchType, types.StrategicMergePatchType:
	default:
		return nil, fmt.Errorf("what is written is %s, and only JSON can be mapped", kind)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("what is written is no object in JSON: %w", err)
	}
	v.object(o, own)
	return json.Marshal(o)
}

// object marks the names in an object.
func (v view) object(o map[string]any, own bool) {
	if m, ok := o["metadata"].(map[string]any); ok {
		v.append(m, "namespace")
		if own {
			v.append(m, "name")
			labels, _ := m["labels"].(map[string]any)
			if labels == nil {
				labels = map[string]any{}
				m["labels"] = labels
			}
			labels[Label] = v.cluster
		}
	}
	if ref, ok := o["roleRef"].(map[string]any); ok && ref["kind"] == "ClusterRole" {
		v.append(ref, "name")
	}
	subjects, _ := o["subjects"].([]any)
	for _, s := range subjects {
		if m, ok := s.(map[string]any); ok {
			v.append(m, "namespace")
		}
	}
}

func (v view) append(m map[string]any, field string) {
	if s, ok := m[field].(string); ok && s != "" {
		m[field] = s + v.mark()
	}
}

// accepted has a request of objects be answered in JSON.
func accepted(header string) string {
	var out []string
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimSpace(one); strings.HasPrefix(one, "application/json") {
			out = append(out, one)
		}
	}
	if len(out) == 0 {
		return "application/json"
	}
	return strings.Join(out, ",")
}
