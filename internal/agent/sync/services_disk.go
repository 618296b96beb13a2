// SPDX-License-Identifier: Apache-2.0

package sync

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/anypb"
)

// serviceFile holds the Services as a controller would send them, in the form of the state
// file, but one response for each resource: so it is written and read piece by piece. It is
// older than the state in force by up to serviceSaveInterval; what it lacks, controllers send.
const (
	serviceFile         = "services.pb"
	serviceFormat       = "fairlead-agent-services v1"
	serviceSaveInterval = 5 * time.Second
	maxServiceResource  = 16 << 20
)

func serviceHeader(cluster, node string) string {
	return fmt.Sprintf("%s cluster=%q node=%q\n", serviceFormat, cluster, node)
}

// writeServices replaces the file. A file that was cut off is not there: it is renamed when
// it is whole.
func writeServices(dir, cluster, node string, b *serviceBook) error {
	f, err := os.CreateTemp(dir, "."+serviceFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // a no-op once it is renamed
	w := bufio.NewWriter(f)
	_, err = w.WriteString(serviceHeader(cluster, node))
	for _, t := range serviceTypes {
		if !b.known[t] {
			continue
		}
		// An empty response says that the type is known.
		errs := []error{err, writeResponse(w, &discovery.DeltaDiscoveryResponse{TypeUrl: t})}
		for name, row := range b.rows[t] {
			errs = append(errs, writeResponse(w, &discovery.DeltaDiscoveryResponse{TypeUrl: t, Resources: []*discovery.Resource{{
				Name: name, Version: row.version, Resource: &anypb.Any{TypeUrl: t, Value: row.body},
			}}}))
		}
		err = errors.Join(errs...)
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, serviceFile))
}

func writeResponse(w io.Writer, r *discovery.DeltaDiscoveryResponse) error {
	_, err := protodelim.MarshalTo(w, r)
	return err
}

// readServices reads what writeServices wrote; a missing file is an empty book.
func readServices(dir, cluster, node string) (*serviceBook, error) {
	f, err := os.Open(filepath.Join(dir, serviceFile))
	if errors.Is(err, os.ErrNotExist) {
		return newServiceBook(), nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return decodeServices(cluster, node, f)
}

func decodeServices(cluster, node string, from io.Reader) (*serviceBook, error) {
	r := bufio.NewReader(from)
	header := make([]byte, len(serviceHeader(cluster, node)))
	if _, err := io.ReadFull(r, header); err != nil || string(header) != serviceHeader(cluster, node) {
		return nil, errForeign
	}
	b := newServiceBook()
	for {
		msg := &discovery.DeltaDiscoveryResponse{}
		err := (protodelim.UnmarshalOptions{MaxSize: maxServiceResource}).UnmarshalFrom(r, msg)
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, fmt.Errorf("a resource cannot be decoded: %w", err)
		}
		if !isServiceType(msg.GetTypeUrl()) {
			return nil, fmt.Errorf("type %q does not belong here", msg.GetTypeUrl())
		}
		change, err := b.read(msg)
		if err != nil {
			return nil, err
		}
		b.commit(change)
		b.known[msg.GetTypeUrl()] = true
	}
}

// saveServices writes the file behind the changes until ctx ends, and once more then.
func (c *Client) saveServices(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			select {
			case <-c.dirtyServices:
				c.saveServicesNow()
			default:
			}
			return
		case <-c.dirtyServices:
			c.saveServicesNow()
			sleep(ctx, nil, serviceSaveInterval)
		}
	}
}

func (c *Client) saveServicesNow() {
	c.saving.Lock()
	b := c.services.clone()
	c.saving.Unlock()
	if err := writeServices(c.cfg.StateDir, c.cfg.ClusterName, c.cfg.NodeName, b); err != nil {
		c.cfg.Log.Warn("the Services cannot be saved; a restart without a controller would start from older ones", "error", err)
	}
}
