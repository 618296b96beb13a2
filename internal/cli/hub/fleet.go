// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
	"github.com/fairlead-io/fairlead/internal/cli/status"
)

// Query says what of the fleet is asked for.
type Query struct {
	// Namespace to look into; empty: all.
	Namespace string
	// Stack is the name of the only NetworkStack; empty: all.
	Stack string
}

// of is the query's request for a resource.
func (q Query) of(resource string) request {
	r := request{group: fairlead, namespace: q.Namespace, resource: resource, query: url.Values{}}
	switch {
	case q.Stack == "":
	case resource == networkStacks:
		r.query.Set("fieldSelector", "metadata.name="+q.Stack)
	default:
		r.query.Set("labelSelector", v1alpha1.NetworkStackLabel+"="+q.Stack)
	}
	return r
}

// row is what is shown of a ClusterStack; decoding stops there.
type row struct {
	Metadata struct {
		Namespace         string     `json:"namespace"`
		Name              string     `json:"name"`
		Generation        int64      `json:"generation"`
		ResourceVersion   string     `json:"resourceVersion"`
		CreationTimestamp time.Time  `json:"creationTimestamp"`
		DeletionTimestamp *time.Time `json:"deletionTimestamp"`
	} `json:"metadata"`
	Spec struct {
		NetworkStack string `json:"networkStack"`
		Wave         string `json:"wave"`
		Version      string `json:"version"`
		Pinned       bool   `json:"pinned"`
	} `json:"spec"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		Nodes              struct {
			Total        int32 `json:"total"`
			Acknowledged int32 `json:"acknowledged"`
		} `json:"nodes"`
		Update struct {
			Phase v1alpha1.UpdatePhase `json:"phase"`
		} `json:"update"`
		Proven struct {
			Version string `json:"version"`
		} `json:"proven"`
		Conditions []struct {
			Type    string                 `json:"type"`
			Status  metav1.ConditionStatus `json:"status"`
			Reason  string                 `json:"reason"`
			Message string                 `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

func (r *row) cluster() status.Cluster {
	out := status.Cluster{
		Namespace: r.Metadata.Namespace, Name: r.Metadata.Name, Stack: r.Spec.NetworkStack, Wave: r.Spec.Wave,
		Version: r.Spec.Version, Proven: r.Status.Proven.Version, Nodes: r.Status.Nodes.Total, Up: r.Status.Nodes.Acknowledged,
		Phase: r.Status.Update.Phase, Pinned: r.Spec.Pinned, Deleting: r.Metadata.DeletionTimestamp != nil, Created: r.Metadata.CreationTimestamp,
	}
	ready, reason, message := false, "", ""
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case v1alpha1.ConditionReady:
			ready, reason, message = c.Status == metav1.ConditionTrue, c.Reason, c.Message
		case v1alpha1.ConditionConnected:
			out.Away = c.Status == metav1.ConditionFalse
		}
	}
	out.Judge(ready, r.Status.ObservedGeneration == r.Metadata.Generation, reason, message)
	return out
}

// listMeta is the part of a list that a watch begins at.
type listMeta struct {
	ResourceVersion string `json:"resourceVersion"`
}

type stackList struct {
	Metadata listMeta                `json:"metadata"`
	Items    []v1alpha1.NetworkStack `json:"items"`
}

type rowList struct {
	Metadata listMeta `json:"metadata"`
	Items    []row    `json:"items"`
}

// Fleet reads stacks and clusters, by one list each, whole objects: Overview is ten times
// as quick where a time in words is enough.
func (c *Client) Fleet(ctx context.Context, q Query) (status.Fleet, error) {
	s, r, err := c.lists(ctx, q)
	if err != nil {
		return status.Fleet{}, err
	}
	f := status.Fleet{Stacks: make([]status.Stack, 0, len(s.Items)), Clusters: make([]status.Cluster, 0, len(r.Items))}
	for i := range s.Items {
		f.Stacks = append(f.Stacks, status.StackOf(&s.Items[i]))
	}
	for i := range r.Items {
		f.Clusters = append(f.Clusters, r.Items[i].cluster())
	}
	f.Sort()
	return f, nil
}

func (c *Client) lists(ctx context.Context, q Query) (*stackList, *rowList, error) {
	s, r := &stackList{}, &rowList{}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.do(ctx, q.of(networkStacks), s) })
	group.Go(func() error { return c.do(ctx, q.of(clusterStacks), r) })
	return s, r, group.Wait()
}
