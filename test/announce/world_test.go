// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/agent/announce"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
	"github.com/fairlead-io/fairlead/internal/datapath/watch"
)

const memberEnv = "FAIRLEAD_TEST_MEMBER"

var (
	vip4 = netip.MustParseAddr("192.0.2.100")
	vip6 = netip.MustParseAddr("2001:db8::100")
)

func runMember() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var s announce.State
	if err := json.Unmarshal([]byte(os.Getenv(memberEnv)), &s); err != nil {
		panic(err)
	}
	name := os.Getenv("FAIRLEAD_TEST_NODE")
	for _, it := range s.Items {
		l, err := net.Listen("tcp", netip.AddrPortFrom(it.Address, 80).String())
		if err != nil {
			panic(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.WriteString(c, name) //nolint:errcheck // the client tries again
				c.Close()
			}
		}()
	}
	a := announce.New(announce.Config{Node: name, DevicesOf: watch.DevicesOf, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	a.Set(s)
	go func() { // tells what is announced, whenever it is asked
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println(len(a.Announced()))
		}
	}()
	if err := a.Run(ctx); err != nil {
		panic(err)
	}
	return 0
}

// space is a network namespace.
type space struct {
	*netns.NS
	*netlink.Handle
}

func newSpace(t *testing.T) space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces: run it as root (make test-bpf)")
	}
	type made struct {
		ns  *netns.NS
		err error
	}
	done := make(chan made)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{nil, err}
			return
		}
		ns, err := netns.Current()
		done <- made{ns, err}
	}()
	m := <-done
	must(t, m.err)
	nl, err := netlink.NewHandleAt(vnetns.NsHandle(m.ns.FD()), unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { nl.Close(); m.ns.Close() })
	s := space{m.ns, nl}
	s.up(t, "lo")
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s space) up(t *testing.T, device string, addresses ...string) {
	t.Helper()
	l, err := s.LinkByName(device)
	must(t, err)
	must(t, s.LinkSetUp(l))
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = unix.IFA_F_NODAD
		must(t, s.AddrAdd(l, addr))
	}
}

// member is a process that announces, in the namespace of a node.
type member struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Scanner
}

func (m *member) kill(s syscall.Signal) {
	m.t.Helper()
	must(m.t, m.cmd.Process.Signal(s))
	m.cmd.Wait() //nolint:errcheck // it was killed
}

// world is one segment: a bridge with some nodes and a client.
type world struct {
	t          *testing.T
	bridge     space
	client     space
	nodes      []space
	interfaces []string
	members    []*member
}

func newWorld(t *testing.T, n int) *world {
	w := &world{t: t, bridge: newSpace(t), client: newSpace(t), members: make([]*member, n)}
	must(t, w.bridge.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	w.bridge.up(t, "br0")
	w.plug(w.client, "client", "192.0.2.7/24", "2001:db8::7/64")
	for i := range n {
		s := newSpace(t)
		w.nodes = append(w.nodes, s)
		must(t, s.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/conf/all/arp_ignore", []byte("1"), 0o644) }))
		w.plug(s, fmt.Sprint("n", i), fmt.Sprintf("192.0.2.1%d/24", i), fmt.Sprintf("2001:db8::1%d/64", i))
		s.up(t, "lo", vip4.String()+"/32", vip6.String()+"/128")
	}
	return w
}

// plug gives a namespace a device eth0 on the bridge.
func (w *world) plug(s space, name string, addresses ...string) {
	w.t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(s.FD())}
	must(w.t, w.bridge.LinkAdd(veth))
	br, err := w.bridge.LinkByName("br0")
	must(w.t, err)
	must(w.t, w.bridge.LinkSetMaster(veth, br))
	w.bridge.up(w.t, name)
	s.up(w.t, "eth0", addresses...)
}

func (w *world) rename(i int, device string) {
	w.t.Helper()
	l, err := w.nodes[i].LinkByName("eth0")
	must(w.t, err)
	must(w.t, w.nodes[i].LinkSetName(l, device))
}

func (w *world) port(i int, set func(netlink.Link) error) {
	w.t.Helper()
	l, err := w.bridge.LinkByName(fmt.Sprint("n", i))
	must(w.t, err)
	must(w.t, set(l))
}

func (w *world) cut(i int)  { w.t.Helper(); w.port(i, w.bridge.LinkSetDown) }
func (w *world) heal(i int) { w.t.Helper(); w.port(i, w.bridge.LinkSetUp) }

func (w *world) startAll(vip netip.Addr) {
	for i := range w.nodes {
		w.start(i, vip)
	}
}

// start runs the process of a node.
func (w *world) start(i int, vip netip.Addr) {
	w.t.Helper()
	s := announce.State{Peers: map[string][]netip.Addr{}, Key: bytes.Repeat([]byte{7}, 32)}
	it := announce.Item{Address: vip, Interfaces: w.interfaces}
	for k := range w.nodes {
		name := fmt.Sprint("n", k)
		it.Nodes = append(it.Nodes, name)
		own := []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.0.2.1%d", k)), netip.MustParseAddr(fmt.Sprintf("2001:db8::1%d", k))}
		if k == i {
			s.Addresses = own
		} else {
			s.Peers[name] = own
		}
	}
	s.Items = []announce.Item{it}
	config, err := json.Marshal(s)
	must(w.t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), memberEnv+"="+string(config), fmt.Sprintf("FAIRLEAD_TEST_NODE=n%d", i))
	cmd.Stderr = writer{w.t, fmt.Sprint("n", i)}
	in, err := cmd.StdinPipe()
	must(w.t, err)
	out, err := cmd.StdoutPipe()
	must(w.t, err)
	must(w.t, w.nodes[i].Do(cmd.Start))
	m := &member{w.t, cmd, in, bufio.NewScanner(out)}
	w.members[i] = m
	w.t.Cleanup(func() {
		if m.cmd.ProcessState == nil {
			m.kill(syscall.SIGKILL)
		}
	})
}

// announcing names the nodes whose process says that it announces.
func (w *world) announcing() string {
	var names []string
	for i, m := range w.members {
		if m.cmd.ProcessState != nil {
			continue
		}
		if _, err := io.WriteString(m.in, "?\n"); err != nil || !m.out.Scan() {
			continue
		}
		if m.out.Text() != "0" {
			names = append(names, fmt.Sprint("n", i))
		}
	}
	return strings.Join(slices.Sorted(slices.Values(names)), " ")
}

// reach returns the name of the node that the client comes to by an address; empty: none.
func (w *world) reach(vip netip.Addr) (name string) {
	_ = w.client.Do(func() error { // nobody is there: the caller tries again
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(vip, 80).String(), 100*time.Millisecond)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			return err
		}
		b, err := io.ReadAll(c)
		name = string(b)
		return err
	})
	return name
}

// until waits for a condition and returns how long it took.
func (w *world) until(d time.Duration, what string, holds func() bool) time.Duration {
	w.t.Helper()
	start := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Since(start) > d {
			w.t.Fatalf("within %s it does not hold that %s; announcing: %q", d, what, w.announcing())
		}
		<-tick.C
	}
	return time.Since(start)
}

// writer is the log of a node's process.
type writer struct {
	t    *testing.T
	name string
}

func (w writer) Write(p []byte) (int, error) {
	w.t.Logf("%s: %s", w.name, bytes.TrimSpace(p))
	return len(p), nil
}
