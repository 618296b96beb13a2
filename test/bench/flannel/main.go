// SPDX-License-Identifier: Apache-2.0

// Command flannel runs flannel's VXLAN backend for the benchmark: `store` is an etcd
// with the network's configuration in it, `node` is a node's daemon. It drives flannel's
// own packages, since flanneld as a whole needs a cloud provider's module that the
// module proxy does not have.
//
// It writes no firewall rules: the benchmark compares forwarding.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan" // registers itself
	"github.com/flannel-io/flannel/pkg/ip"
	flanneletcd "github.com/flannel-io/flannel/pkg/subnet/etcd"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

const (
	prefix      = "/flannel"
	renewMargin = 60 // minutes before a lease's end
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "flannel:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 {
		return fmt.Errorf("usage: flannel store|node [flags]")
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	store := fs.String("store", "", "URL of the etcd")
	dir := fs.String("dir", "", "store: folder of its data")
	network := fs.String("network", "", "store: range of all pods")
	device := fs.String("iface", "", "node: its uplink")
	file := fs.String("file", "", "file that is written once all is ready; a node's names its range")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "store":
		return runStore(ctx, *store, *dir, *network, *file)
	case "node":
		return runNode(ctx, *store, *device, *file)
	}
	return fmt.Errorf("command %q: want store or node", args[0])
}

func runStore(ctx context.Context, at, dir, network, file string) error {
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.UnsafeNoFsync = dir, "error", true
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*u}, []url.URL{*u}
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-ctx.Done():
		return ctx.Err()
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{at}, DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // the process ends
	config := fmt.Sprintf(`{"Network":%q,"Backend":{"Type":"vxlan","VNI":1,"Port":8472}}`, network)
	if _, err := client.Put(ctx, prefix+"/config", config); err != nil {
		return fmt.Errorf("etcd: %w", err)
	}
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func runNode(ctx context.Context, store, device, file string) error {
	manager, err := flanneletcd.NewLocalManager(ctx, &flanneletcd.EtcdConfig{Endpoints: []string{store}, Prefix: prefix}, ip.IP4Net{}, ip.IP6Net{}, renewMargin)
	if err != nil {
		return err
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	uplink, err := externalInterface(device)
	if err != nil {
		return err
	}
	be, err := backend.NewManager(ctx, manager, uplink).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	netw, err := be.RegisterNetwork(ctx, &wg, config)
	if err != nil {
		return err
	}
	if err := manager.HandleSubnetFile(file, config, false, netw.Lease().Subnet, netw.Lease().IPv6Subnet, netw.MTU()); err != nil {
		return err
	}
	netw.Run(ctx)
	return nil
}

// externalInterface describes the uplink by its first IPv4 address.
func externalInterface(device string) (*backend.ExternalInterface, error) {
	iface, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("uplink %s: %w", device, err)
	}
	addresses, err := iface.Addrs()
	if err != nil {
		return nil, fmt.Errorf("uplink %s: %w", device, err)
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil {
			return &backend.ExternalInterface{Iface: iface, IfaceName: device, IfaceAddr: n.IP.To4(), ExtAddr: n.IP.To4()}, nil
		}
	}
	return nil, fmt.Errorf("uplink %s has no IPv4 address: give it one", device)
}
