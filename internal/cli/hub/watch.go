// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// settle is how long changes are gathered before they are shown: a rollout makes many.
const settle = 100 * time.Millisecond

// Watch calls show with the fleet, and again whenever it has changed, until ctx ends or
// show returns an error, which it returns. A watch that the API server ends is begun anew.
func (c *Client) Watch(ctx context.Context, q Query, show func(status.Fleet) error) error {
	for {
		err := c.watchOnce(ctx, q, show)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errOver) {
			return err
		}
	}
}

// errOver says that a watch has ended as they do, and that it takes another list to go on.
var errOver = errors.New("the watch is over")

// picture is the fleet as it is being watched.
type picture struct {
	stacks   map[string]status.Stack
	clusters map[string]status.Cluster
}

func (p *picture) fleet() status.Fleet {
	f := status.Fleet{Stacks: make([]status.Stack, 0, len(p.stacks)), Clusters: make([]status.Cluster, 0, len(p.clusters))}
	for _, s := range p.stacks {
		f.Stacks = append(f.Stacks, s)
	}
	for _, r := range p.clusters {
		f.Clusters = append(f.Clusters, r)
	}
	f.Sort()
	return f
}

// watchOnce lists, and follows what comes after.
func (c *Client) watchOnce(ctx context.Context, q Query, show func(status.Fleet) error) error {
	s, r, err := c.lists(ctx, q)
	if err != nil {
		return err
	}
	p := &picture{stacks: map[string]status.Stack{}, clusters: map[string]status.Cluster{}}
	for i := range s.Items {
		p.stacks[s.Items[i].Namespace+"/"+s.Items[i].Name] = status.StackOf(&s.Items[i])
	}
	for i := range r.Items {
		p.clusters[r.Items[i].Metadata.Namespace+"/"+r.Items[i].Metadata.Name] = r.Items[i].cluster()
	}
	events := make(chan func(*picture), 64)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return c.follow(ctx, q.of(networkStacks), s.Metadata.ResourceVersion, events, stackEvent)
	})
	group.Go(func() error {
		return c.follow(ctx, q.of(clusterStacks), r.Metadata.ResourceVersion, events, clusterEvent)
	})
	group.Go(func() error { return present(ctx, p, events, show) })
	return group.Wait()
}

// present shows the picture at once, and after changes when they have settled.
func present(ctx context.Context, p *picture, events <-chan func(*picture), show func(status.Fleet) error) error {
	if err := show(p.fleet()); err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	waiting := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case change := <-events:
			change(p)
			if !waiting {
				waiting = true
				timer.Reset(settle)
			}
		case <-timer.C:
			waiting = false
			if err := show(p.fleet()); err != nil {
				return err
			}
		}
	}
}

// follow sends what changes of a resource; it ends with errOver when the API server ends it.
func (c *Client) follow(ctx context.Context, r request, version string, events chan<- func(*picture), read func(gone bool, object []byte) (func(*picture), error)) error {
	r.query.Set("watch", "true")
	r.query.Set("resourceVersion", version)
	resp, err := c.open(ctx, r)
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			return errOver
		}
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	for dec := json.NewDecoder(resp.Body); ; {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := dec.Decode(&e); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return errOver
			}
			return fmt.Errorf("the watch of %s broke off: %w", r.resource, err)
		}
		if e.Type == "ERROR" {
			return watchError(e.Object)
		}
		change, err := read(e.Type == "DELETED", e.Object)
		if err != nil {
			return fmt.Errorf("the watch of %s said what cannot be read: %w; is this fairleadctl older than the operator?", r.resource, err)
		}
		select {
		case events <- change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// watchError is what an API server ends a watch with; one that is too old is listed anew.
func watchError(object []byte) error {
	var s metav1.Status
	if err := json.Unmarshal(object, &s); err != nil {
		return err
	}
	if err := apierrors.FromObject(&s); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
		return err
	}
	return errOver
}

func stackEvent(gone bool, object []byte) (func(*picture), error) {
	var s v1alpha1.NetworkStack
	if err := json.Unmarshal(object, &s); err != nil {
		return nil, err
	}
	key := s.Namespace + "/" + s.Name
	return func(p *picture) {
		if p.stacks[key] = status.StackOf(&s); gone {
			delete(p.stacks, key)
		}
	}, nil
}

func clusterEvent(gone bool, object []byte) (func(*picture), error) {
	var r row
	if err := json.Unmarshal(object, &r); err != nil {
		return nil, err
	}
	key := r.Metadata.Namespace + "/" + r.Metadata.Name
	return func(p *picture) {
		if p.clusters[key] = r.cluster(); gone {
			delete(p.clusters, key)
		}
	}, nil
}
