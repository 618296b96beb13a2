// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/test/scale/front"
)

// Cluster is one cluster's API server.
type Cluster struct {
	store *store
	nodes int
	known *known

	mu   sync.Mutex
	hung chan struct{} // closed when requests are answered again; nil now
}

// Hang has requests, also those that are under way, go without an answer; its end lets them go.
func (c *Cluster) Hang() (end func()) {
	hung := make(chan struct{})
	c.mu.Lock()
	c.hung = hung
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.hung = nil
		c.mu.Unlock()
		close(hung)
	}
}

// wait waits while the cluster hangs; false means that whoever asked has gone.
func (c *Cluster) wait(r *http.Request) bool {
	c.mu.Lock()
	hung := c.hung
	c.mu.Unlock()
	if hung == nil {
		return true
	}
	select {
	case <-hung:
		return true
	case <-r.Context().Done():
		return false
	}
}

// place is what a path names.
type place struct {
	collection, namespace, name, sub string
}

// key is under what the object is stored.
func (p place) key() string { return p.namespace + "/" + p.name }

// placeOf reads a path of the kind api/v1/namespaces/N/RESOURCE/NAME/SUB.
func placeOf(path string) (place, bool) {
	s := strings.Split(strings.Trim(path, "/"), "/")
	head := 2
	if s[0] == "apis" {
		head = 3
	}
	if (s[0] != "api" && s[0] != "apis") || len(s) <= head {
		return place{}, false
	}
	group, rest := strings.Join(s[:head], "/"), s[head:]
	var p place
	if rest[0] == "namespaces" && len(rest) > 2 && rest[2] != "status" && rest[2] != "finalize" {
		p.namespace, rest = rest[1], rest[2:]
	}
	p.collection = group + "/" + rest[0]
	if len(rest) > 1 {
		p.name = rest[1]
	}
	if len(rest) > 2 {
		p.sub = rest[2]
	}
	return p, true
}

// ServeHTTP answers as an API server would.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	watch := r.URL.Query().Get("watch")
	if !c.wait(r) {
		return
	}
	p, ok := placeOf(r.URL.Path)
	if !ok {
		c.known.serve(w, r)
		return
	}
	switch r.Method {
	case http.MethodGet:
		switch {
		case p.name != "":
			c.answer(w, r, c.store.get(p.collection, p.key()))
		case watch == "true" || watch == "1":
			c.watch(w, r, p)
		default:
			c.list(w, r, p)
		}
	case http.MethodPost:
		c.create(w, r, p)
	case http.MethodPut, http.MethodPatch:
		c.write(w, r, p)
	case http.MethodDelete:
		c.answer(w, r, c.store.remove(p.collection, p.key()))
	default:
		front.Refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method)
	}
}

// partial says that the metadata alone is wanted.
func partial(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata")
}

// shown is an object in the form that a request wants.
func shown(r *http.Request, o object) object {
	if !partial(r) {
		return o
	}
	return object{"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": o["metadata"]}
}

func (c *Cluster) answer(w http.ResponseWriter, r *http.Request, o object) {
	if o == nil {
		front.Refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, r.URL.Path+" not found")
		return
	}
	front.Answer(w, http.StatusOK, shown(r, o))
}

func (c *Cluster) list(w http.ResponseWriter, r *http.Request, p place) {
	q := r.URL.Query()
	selects, err := selector(p.namespace, q.Get("labelSelector"), q.Get("fieldSelector"))
	if err != nil {
		front.Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	all, version := c.store.list(p.collection, selects)
	if asked := versionOf(q); asked > version {
		tooNew(w, asked, version)
		return
	}
	items := make([]any, 0, len(all))
	for _, o := range all {
		items = append(items, shown(r, o))
	}
	kind, apiVersion := "List", "v1"
	if partial(r) {
		kind, apiVersion = "PartialObjectMetadataList", "meta.k8s.io/v1"
	} else if k := kindOf(p.collection); k != "" {
		kind, apiVersion = k+"List", groupVersion(p.collection)
	}
	front.Answer(w, http.StatusOK, object{"apiVersion": apiVersion, "kind": kind, "metadata": object{"resourceVersion": strconv.Itoa(version)}, "items": items})
}

// versionOf is the resourceVersion that is asked for, 0 for any.
func versionOf(q url.Values) int {
	n, _ := strconv.Atoi(q.Get("resourceVersion")) // none is 0
	return n
}

// tooNew refuses what is to be shown as of a version that is not there yet.
func tooNew(w http.ResponseWriter, asked, version int) {
	front.Refuse(w, http.StatusGatewayTimeout, metav1.StatusReasonTimeout, fmt.Sprintf("Too large resource version: %d, current: %d", asked, version),
		metav1.StatusCause{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"})
}

func groupVersion(collection string) string {
	s := strings.Split(collection, "/")
	if s[0] == "api" {
		return s[1]
	}
	return s[1] + "/" + s[2]
}

// kindOf is the kind of a collection that may be listed while it is empty.
func kindOf(collection string) string {
	return map[string]string{
		namespaces: "Namespace", "api/v1/secrets": "Secret", "api/v1/configmaps": "ConfigMap", nodes: "Node",
		daemonSets: "DaemonSet", deployments: "Deployment", nodeNetworks: "NodeNetwork", "api/v1/pods": "Pod",
	}[collection]
}

// watch streams events until whoever asked goes, or has had enough.
func (c *Cluster) watch(w http.ResponseWriter, r *http.Request, p place) {
	q := r.URL.Query()
	selects, err := selector(p.namespace, q.Get("labelSelector"), q.Get("fieldSelector"))
	if err != nil {
		front.Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	initial := q.Get("sendInitialEvents") == "true"
	asked := versionOf(q)
	watcher, there, version := c.store.watch(p.collection, selects, asked, initial)
	defer c.store.unwatch(watcher)
	if initial && asked > version {
		tooNew(w, asked, version)
		return
	}
	w.Header().Set("Content-Type", "application/json;stream=watch")
	out := json.NewEncoder(w)
	flush := func() { _ = http.NewResponseController(w).Flush() }
	if watcher.late {
		_ = out.Encode(object{"type": "ERROR", "object": metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "too old resource version",
		}})
		return
	}
	for _, o := range there {
		_ = out.Encode(object{"type": "ADDED", "object": shown(r, o)})
	}
	if initial {
		mark := object{"apiVersion": groupVersion(p.collection), "kind": kindOf(p.collection), "metadata": object{
			"resourceVersion": strconv.Itoa(version), "annotations": object{"k8s.io/initial-events-end": "true"}}}
		_ = out.Encode(object{"type": "BOOKMARK", "object": shown(r, mark)})
	}
	flush()
	seconds, _ := strconv.Atoi(q.Get("timeoutSeconds"))
	if seconds == 0 {
		seconds = 300
	}
	over := time.NewTimer(time.Duration(seconds) * time.Second)
	defer over.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-over.C:
			return
		case e, ok := <-watcher.events:
			if !ok || !c.wait(r) {
				return
			}
			_ = out.Encode(object{"type": e.kind, "object": shown(r, e.o)})
			flush()
		}
	}
}

func (c *Cluster) create(w http.ResponseWriter, r *http.Request, p place) {
	o, err := body(r)
	if err != nil {
		front.Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	p.name = text(meta(o), "name")
	if c.homeless(w, p) {
		return
	}
	if p.namespace != "" {
		meta(o)["namespace"] = p.namespace
	}
	created := c.store.change(p.collection, p.key(), func(have object) object {
		if have != nil {
			return nil
		}
		return o
	})
	if created == nil {
		front.Refuse(w, http.StatusConflict, metav1.StatusReasonAlreadyExists, p.key()+" already exists")
		return
	}
	front.Answer(w, http.StatusCreated, created)
}

// homeless refuses what is to be written to a namespace that is not there.
func (c *Cluster) homeless(w http.ResponseWriter, p place) bool {
	if p.namespace == "" || c.store.get(namespaces, "/"+p.namespace) != nil {
		return false
	}
	front.Refuse(w, http.StatusNotFound, metav1.StatusReasonNotFound, fmt.Sprintf("namespaces %q not found", p.namespace))
	return true
}

// write is an update, or a patch of whatever kind but JSON patches, which the operator uses
// for what Helm left only.
func (c *Cluster) write(w http.ResponseWriter, r *http.Request, p place) {
	o, err := body(r)
	if err != nil {
		front.Refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		return
	}
	apply := strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch")
	if c.homeless(w, p) {
		return
	}
	dry := r.URL.Query().Get("dryRun") != ""
	var would object
	stored := c.store.change(p.collection, p.key(), func(have object) object {
		if have == nil && !apply {
			return nil
		}
		next := o
		if r.Method == http.MethodPatch {
			next = merged(anyOf(have), o).(object)
		}
		if p.namespace != "" {
			m := maps.Clone(meta(next))
			m["namespace"] = p.namespace
			next["metadata"] = m
		}
		if would = next; dry {
			return nil
		}
		return next
	})
	if dry && would != nil {
		stored = would
	}
	c.answer(w, r, stored)
}

func anyOf(o object) any {
	if o == nil {
		return nil
	}
	return o
}

func body(r *http.Request) (object, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return parse(raw)
}

// Spoil changes the rights of the release's ClusterRole, or an argument of its agents, as
// somebody with an editor would. Repaired says whether that was put right.
func (c *Cluster) Spoil(rights bool) (repaired func() bool) {
	collection, key := daemonSets, "fairlead-system/fairlead-agent"
	field := "spec"
	if rights {
		collection, key, field = "apis/rbac.authorization.k8s.io/v1/clusterroles", "/fairlead-controller", "rules"
	}
	var before any
	c.store.change(collection, key, func(o object) object {
		before = o[field]
		next := maps.Clone(o)
		if rights {
			next[field] = []any{}
		} else {
			spec := maps.Clone(o[field].(object))
			spec["minReadySeconds"] = int64(77)
			next[field] = spec
		}
		return next
	})
	return func() bool {
		o := c.store.get(collection, key)
		return o != nil && reflect.DeepEqual(o[field], before)
	}
}

// Lose has the cluster lose its etcd: all objects are gone, versions begin anew, watches end,
// and its nodes come back.
func (c *Cluster) Lose() {
	c.store.lose()
	c.begin()
}

// AgentArgument says whether the agents have an argument.
func (c *Cluster) AgentArgument(arg string) bool {
	o := c.store.get(daemonSets, "fairlead-system/fairlead-agent")
	if o == nil {
		return false
	}
	raw, err := json.Marshal(o["spec"])
	return err == nil && slices.Contains(strings.Split(string(raw), `"`), arg)
}
