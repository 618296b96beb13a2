// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// connection is what there is for one connection to a cluster.
type connection struct {
	// raw is the cluster cache's own configuration, another one for each connection.
	raw    *rest.Config
	config *rest.Config
	live   client.Client
	mirror *mirror
}

// connection returns what there is for the connection that the cluster cache has now, and
// ends what there was for an earlier one.
func (f *Fleet) connection(key client.ObjectKey, raw *rest.Config) (*connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	former := f.connections[key]
	if former != nil && former.raw == raw && former.mirror.ctx.Err() == nil {
		return former, nil
	}
	if former != nil {
		former.mirror.end()
		delete(f.connections, key)
	}
	c, err := f.connect(key, raw)
	if err != nil {
		return nil, err
	}
	f.connections[key] = c
	return c, nil
}

// connect makes the clients of a connection; it sends nothing.
func (f *Fleet) connect(key client.ObjectKey, raw *rest.Config) (*connection, error) {
	c := &connection{raw: raw, config: rest.CopyConfig(raw)}
	// All clients of a cluster share its limit, and its TCP connection.
	c.config.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(qps, burst)
	h, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return nil, fmt.Errorf("a client for Cluster %s: %w", key, err)
	}
	others, err := apiutil.NewDynamicRESTMapper(c.config, h)
	if err != nil {
		return nil, fmt.Errorf("a client for Cluster %s: %w", key, err)
	}
	o := client.Options{Scheme: f.scheme, Mapper: mapper(others), HTTPClient: h}
	if c.live, err = client.New(c.config, o); err != nil {
		return nil, fmt.Errorf("a client for Cluster %s: %w", key, err)
	}
	lasting := rest.CopyConfig(c.config)
	lasting.Timeout = 0 // watches last
	if o.HTTPClient, err = rest.HTTPClientFor(lasting); err != nil {
		return nil, fmt.Errorf("a client for Cluster %s: %w", key, err)
	}
	watching, err := client.NewWithWatch(lasting, o)
	if err != nil {
		return nil, fmt.Errorf("a client for Cluster %s: %w", key, err)
	}
	c.mirror = &mirror{
		client: watching, scheme: f.scheme, cached: f.cached, kinds: map[kindKey]*kind{}, log: f.log.WithValues("cluster", key.String()),
		current: func() bool {
			now, err := f.cache.GetRESTConfig(f.ctx, key)
			return err == nil && now == raw
		},
	}
	c.mirror.ctx, c.mirror.end = context.WithCancel(f.ctx)
	return c, nil
}
