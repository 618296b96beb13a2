// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairlead-io/fairlead/internal/state"
)

// kind is a type that a book holds, as logs have it.
type kind byte

const (
	kindEndpoints kind = iota
	kindService
	kindPolicy
	kinds
)

var kindURLs = [kinds]string{kindEndpoints: state.ServiceEndpointsType, kindService: state.ServiceType, kindPolicy: state.PolicyType}

// kindOf is the kind of a type; false for one that no book holds.
func kindOf(typeURL string) (kind, bool) {
	i := slices.Index(kindURLs[:], typeURL)
	return kind(max(i, 0)), i >= 0
}

// resourceKey names a resource of the book.
type resourceKey struct {
	kind kind
	name string
}

func (k resourceKey) String() string {
	return fmt.Sprintf("%s %q", state.ShortType(kindURLs[k.kind]), k.name)
}

// bookRow is a change of one resource. Body is nil for one that is no more.
type bookRow struct {
	key     resourceKey
	version string
	body    []byte
	message proto.Message // of body; nil: it is not needed any more
}

// heldAt is a resource in force: its version, and where its content is.
type heldAt struct {
	version string
	at      int64 // in the log
	size    int
	body    []byte // when the log could not be written
}

// book is what of some types is in force that there is much of. Contents are in a log on
// disk, which makes the book small (they are needed at the next start and after a refusal)
// and a change as cheap as it is. Only the client's one goroutine uses it.
type book struct {
	of   []kind
	log  *bookLog
	rows [kinds]map[string]heldAt
	// known types are complete; heard ones were completed by a controller in this run.
	known, heard [kinds]bool
}

func newBook(log *bookLog, of ...kind) *book {
	b := &book{of: of, log: log}
	b.reset()
	return b
}

func (b *book) reset() {
	for k := range b.rows {
		b.rows[k] = map[string]heldAt{}
	}
	b.known = [kinds]bool{}
}

// every says whether all types of the book are in a set.
func (b *book) every(in [kinds]bool) bool {
	for _, k := range b.of {
		if !in[k] {
			return false
		}
	}
	return true
}

func (b *book) complete() bool { return b.every(b.known) }
func (b *book) fresh() bool    { return b.every(b.heard) }

func (b *book) completeWith(typeURL string, heard bool) bool { return b.with(b.known, typeURL, heard) }
func (b *book) freshWith(typeURL string, heard bool) bool    { return b.with(b.heard, typeURL, heard) }

func (b *book) with(in [kinds]bool, typeURL string, heard bool) bool {
	if k, ok := kindOf(typeURL); ok && heard {
		in[k] = true
	}
	return b.every(in)
}

func (b *book) has(k resourceKey) bool {
	_, ok := b.rows[k.kind][k.name]
	return ok
}

// all are the resources in force, type by type, in the order in which their contents are in
// the log.
func (b *book) all() []resourceKey {
	var out []resourceKey
	for k, rows := range b.rows {
		from := len(out)
		for name := range rows {
			out = append(out, resourceKey{kind(k), name})
		}
		slices.SortFunc(out[from:], func(x, y resourceKey) int {
			return cmp.Or(cmp.Compare(rows[x.name].at, rows[y.name].at), strings.Compare(x.name, y.name))
		})
	}
	return out
}

// versions are the resources of a type in force, for initial_resource_versions.
func (b *book) versions(typeURL string) map[string]string {
	k, _ := kindOf(typeURL)
	out := make(map[string]string, len(b.rows[k]))
	for name, row := range b.rows[k] {
		out[name] = row.version
	}
	return out
}

// decode reads a response, and names every fault of it. What is in force already is
// left out.
func (b *book) decode(r *discovery.DeltaDiscoveryResponse) ([]bookRow, error) {
	k, ok := kindOf(r.GetTypeUrl())
	if !ok {
		return nil, fmt.Errorf("type %q was not asked for", r.GetTypeUrl())
	}
	var errs []error
	rows := make([]bookRow, 0, len(r.GetResources())+len(r.GetRemovedResources()))
	seen := make(map[string]bool, len(r.GetResources()))
	for _, res := range r.GetResources() {
		key := resourceKey{k, res.GetName()}
		if seen[key.name] {
			errs = append(errs, fmt.Errorf("%s comes twice in one response", key))
			continue
		}
		seen[key.name] = true
		if have, ok := b.rows[k][key.name]; ok && have.version == res.GetVersion() {
			continue
		}
		if got := res.GetResource().GetTypeUrl(); got != r.GetTypeUrl() {
			errs = append(errs, fmt.Errorf("%s: it holds a message of type %q", key, got))
			continue
		}
		m, err := key.message(res.GetResource().GetValue())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, bookRow{key, res.GetVersion(), append([]byte{}, res.GetResource().GetValue()...), m})
	}
	for _, name := range r.GetRemovedResources() {
		if key := (resourceKey{k, name}); !seen[name] && b.has(key) {
			rows = append(rows, bookRow{key: key})
		}
	}
	return rows, errors.Join(errs...)
}

// message decodes a content, and checks that it is of this resource.
func (k resourceKey) message(body []byte) (proto.Message, error) {
	var m proto.Message
	var name func() string
	switch k.kind {
	case kindEndpoints:
		e := &state.ServiceEndpoints{}
		m, name = e, func() string { return e.GetNamespace() + "/" + e.GetName() }
	case kindService:
		s := &state.Service{}
		m, name = s, func() string { return s.GetNamespace() + "/" + s.GetName() }
	default:
		p := &state.PolicyObject{}
		m, name = p, func() string { return state.PolicyName(p) }
	}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("%s: it cannot be decoded: %v", k, err)
	}
	if got := name(); got != k.name {
		return nil, fmt.Errorf("%s: the message is of %q", k, got)
	}
	return m, nil
}

// read gives the content in force of a resource.
func (b *book) read(k resourceKey) (proto.Message, error) {
	row, ok := b.rows[k.kind][k.name]
	if !ok {
		return nil, fmt.Errorf("%s is not in force", k)
	}
	body := row.body
	if body == nil {
		var err error
		if body, err = b.log.read(row.at, row.size); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	return k.message(body)
}

// keep notes that rows are in force, and with heard that their type is complete.
func (b *book) keep(typeURL string, rows []bookRow, heard bool) {
	k, _ := kindOf(typeURL)
	complete := heard && !b.known[k]
	if heard {
		b.known[k], b.heard[k] = true, true
	}
	if len(rows) == 0 && !complete {
		return
	}
	records := make([]record, 0, len(rows)+1)
	for _, row := range rows {
		records = append(records, record{key: row.key, version: row.version, body: row.body, gone: row.body == nil})
	}
	if complete {
		records = append(records, record{key: resourceKey{kind: k}, complete: true})
	}
	at, written := b.log.append(records)
	for i, row := range rows {
		old, had := b.rows[k][row.key.name]
		if had {
			b.log.waste(old.size)
		}
		if row.body == nil {
			delete(b.rows[k], row.key.name)
			continue
		}
		next := heldAt{version: row.version, size: len(row.body)}
		if written {
			next.at = at[i]
		} else {
			next.body = row.body
		}
		b.rows[k][row.key.name] = next
	}
	if b.log.wantsRewrite(written) {
		b.rewrite()
	}
}

// drop forgets a resource, so that the next stream asks for it.
func (b *book) drop(k resourceKey) {
	if row, ok := b.rows[k.kind][k.name]; ok {
		b.log.waste(row.size)
		delete(b.rows[k.kind], k.name)
		b.log.append([]record{{key: k, gone: true}})
	}
}
