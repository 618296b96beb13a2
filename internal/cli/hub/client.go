// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/fairlead-io/fairlead/api/v1alpha1"
)

// FieldManager owns the fields that fairleadctl applies.
const FieldManager = "fairleadctl"

const (
	networkStacks = "networkstacks"
	clusterStacks = "clusterstacks"
)

// fairlead and clusterAPI are the groups, at the versions that this program knows.
const (
	fairlead   = "apis/fairlead.io/v1alpha1"
	clusterAPI = "apis/cluster.x-k8s.io/v1beta2"
)

// Client speaks to one management cluster.
type Client struct {
	http *http.Client
	base *url.URL
}

// New makes a client; nothing is asked yet.
func New(cfg *rest.Config) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	// To compress takes the API server longer than the bytes take on the way.
	cfg.DisableCompression = true
	if cfg.UserAgent == "" {
		cfg.UserAgent = FieldManager
	}
	transport, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{http: transport, base: base}, nil
}

// request is one request to the API server.
type request struct {
	method, group, namespace, resource, name string
	query                                    url.Values
	accept, contentType                      string
	body                                     []byte
}

func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	u := *c.base
	parts := []string{u.Path, "/", r.group}
	if r.namespace != "" {
		parts = append(parts, "namespaces", r.namespace)
	}
	u.Path = path.Join(append(parts, r.resource, r.name)...)
	u.RawQuery = r.query.Encode()
	method := r.method
	if method == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if r.contentType != "" {
		req.Header.Set("Content-Type", r.contentType)
	}
	resp, err := c.send(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("the management cluster's API server does not answer: %w; are --context and --server right?", unwrapURL(err))
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close() //nolint:errcheck // it was read
		return nil, refusal(resp, r)
	}
	return resp, nil
}

// tries bounds how often an API server that is busy is asked again.
const tries = 5

// send sends a request, and again when the API server says when to come back.
func (c *Client) send(ctx context.Context, req *http.Request) (*http.Response, error) {
	for i := 1; ; i++ {
		resp, err := c.http.Do(req)
		if err != nil || resp.StatusCode != http.StatusTooManyRequests || i == tries {
			return resp, err
		}
		after, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil {
			return resp, nil
		}
		resp.Body.Close() //nolint:errcheck // it is not read
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
		timer := time.NewTimer(time.Duration(after) * time.Second)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
}

// unwrapURL takes away the request's address, which is long and says nothing to a person.
func unwrapURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// maxRefusal bounds what is read of a refusal, in bytes.
const maxRefusal = 1 << 20

// refusal is what an API server said no with, so that apierrors can tell what it is.
func refusal(resp *http.Response, r request) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return err
	}
	var s metav1.Status
	if json.Unmarshal(body, &s) != nil || s.Kind != "Status" {
		return fmt.Errorf("the management cluster's API server says %s to %s; is --server an API server?", resp.Status, r.resource)
	}
	failure := apierrors.FromObject(&s)
	if s.Reason == metav1.StatusReasonNotFound && (s.Details == nil || s.Details.Name == "") {
		return fmt.Errorf("this cluster has no %s: %w; is it the management cluster (--context), and is Fairlead's operator installed there?", r.resource, failure)
	}
	return failure
}

// do decodes the answer to a request.
func (c *Client) do(ctx context.Context, r request, into any) error {
	resp, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := readAll(resp)
	if err != nil {
		return fmt.Errorf("the answer about %s broke off: %w", r.resource, err)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer about %s cannot be read: %w; is this fairleadctl older than the operator?", r.resource, err)
	}
	return nil
}

// readAll reads a body into memory of the right size at once.
func readAll(resp *http.Response) ([]byte, error) {
	var b bytes.Buffer
	if resp.ContentLength > 0 {
		b.Grow(int(resp.ContentLength) + bytes.MinRead)
	}
	_, err := b.ReadFrom(resp.Body)
	return b.Bytes(), err
}

// Stack reads one NetworkStack.
func (c *Client) Stack(ctx context.Context, namespace, name string) (*v1alpha1.NetworkStack, error) {
	s := &v1alpha1.NetworkStack{}
	err := c.do(ctx, request{group: fairlead, namespace: namespace, resource: networkStacks, name: name}, s)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("there is no NetworkStack %s in namespace %s: name another one, or its namespace (-n); `fairleadctl status -A` shows all: %w", name, namespace, err)
	}
	return s, err
}
