// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/masquerade"
	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// machine is a network namespace of the test's own.
type machine struct {
	*netns.NS
	t *testing.T
}

func newMachine(t *testing.T) machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces: run it as root (make test-bpf)")
	}
	made := make(chan error, 1)
	var ns *netns.NS
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Current()
		}
		made <- err
	}()
	noError(t, <-made)
	t.Cleanup(func() { noError(t, ns.Close()) })
	return machine{ns, t}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a program in the machine with this input, and returns what it prints.
func (m machine) run(input string, command ...string) string {
	m.t.Helper()
	var out []byte
	noError(m.t, m.Do(func() (err error) {
		cmd := exec.Command(command[0], command[1:]...)
		cmd.Stdin = strings.NewReader(input)
		if out, err = cmd.CombinedOutput(); err != nil {
			err = fmt.Errorf("%v: %w: %s", command, err, out)
		}
		return err
	}))
	return string(out)
}

// listen makes a listening socket in the machine.
func (m machine) listen(address string) net.Listener {
	m.t.Helper()
	var l net.Listener
	noError(m.t, m.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	}))
	m.t.Cleanup(func() { l.Close() })
	return l
}

// tables are the names of all tables of nftables.
func (m machine) tables() string { return m.run("", "nft", "list", "tables") }

// nftablesMode is a Service as kube-proxy's nftables mode writes it, for a family.
func nftablesMode(family, vip, backend string) string {
	return fmt.Sprintf(`
table %[1]s kube-proxy {
	map service-ips {
		type %[4]s . inet_proto . inet_service : verdict
		elements = { %[2]s . tcp . 80 : goto service-ABC }
	}
	chain nat-prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		jump services
	}
	chain nat-output {
		type nat hook output priority -100; policy accept;
		jump services
	}
	chain services { %[1]s daddr . meta l4proto . th dport vmap @service-ips; }
	chain service-ABC { numgen random mod 1 vmap { 0 : goto endpoint-ABC }; }
	chain endpoint-ABC { meta l4proto tcp dnat to %[3]s; }
}
`, family, vip, backend, map[string]string{"ip": "ipv4_addr", "ip6": "ipv6_addr"}[family])
}

// iptablesMode is what its iptables mode writes beside rules of a kubelet and of others.
const iptablesMode = `*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-NWPLCY-1234 - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A INPUT -j KUBE-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -s 192.0.2.1/32 -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP
COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
:KUBE-SEP-ABC - [0:0]
:KUBE-POSTROUTING - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC -j KUBE-SEP-ABC
-A KUBE-SEP-ABC -s 192.0.2.9/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-ABC -p tcp -m tcp -j DNAT --to-destination 192.0.2.9:6443
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
`

func TestWhatIsRemovedAndWhatStays(t *testing.T) {
	m := newMachine(t)
	m.run(nftablesMode("ip", "10.96.0.1", "192.0.2.9:80")+nftablesMode("ip6", "fd00::1", "[2001:db8::9]:80")+"table inet somebody { }\n", "nft", "-f", "-")
	m.run(iptablesMode, "iptables-nft-restore")

	removed, err := Remove(m.NS)
	noError(t, err)
	if got := removed.String(); got != "nftables table ip kube-proxy, nftables table ip6 kube-proxy, 8 chains of iptables and 5 rules that led there" {
		t.Errorf("removed: %s", got)
	}
	if tables := m.tables(); strings.Contains(tables, "kube-proxy") || !strings.Contains(tables, "somebody") {
		t.Errorf("the tables that are left:\n%s", tables)
	}
	rules := m.run("", "iptables-nft-save")
	for _, stays := range []string{
		":KUBE-FIREWALL", "-A INPUT -j KUBE-FIREWALL", ":KUBE-NWPLCY-1234", ":KUBE-KUBELET-CANARY", "-A FORWARD -s 192.0.2.1/32 -j DROP",
		"-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE", "-A CNI-HOSTPORT-SETMARK -m comment", "-A KUBE-MARK-MASQ -j MARK",
	} {
		if !strings.Contains(rules, stays) {
			t.Errorf("%q is gone; left is\n%s", stays, rules)
		}
	}
	for _, goes := range []string{"KUBE-SERVICES", "KUBE-SVC-", "KUBE-SEP-", "KUBE-POSTROUTING", "KUBE-FORWARD", "KUBE-EXTERNAL", "KUBE-PROXY"} {
		if strings.Contains(rules, goes) {
			t.Errorf("%s is left in\n%s", goes, rules)
		}
	}
	if again, err := Remove(m.NS); err != nil || again.Rules != 0 || len(again.Tables) != 0 || !again.Empty() {
		t.Errorf("there is something to remove again: %+v, %v", again, err)
	}
}

// kube-proxy makes chains for every endpoint: more than fit one transaction.
func TestThousandsOfChains(t *testing.T) {
	m := newMachine(t)
	var text strings.Builder
	text.WriteString("*nat\n:KUBE-SERVICES - [0:0]\n")
	const services = 3000
	for i := range services {
		fmt.Fprintf(&text, ":KUBE-SVC-%d - [0:0]\n:KUBE-SEP-%d - [0:0]\n", i, i)
	}
	text.WriteString("-A PREROUTING -j KUBE-SERVICES\n")
	for i := range services {
		fmt.Fprintf(&text, "-A KUBE-SERVICES -d 10.96.%d.%d/32 -j KUBE-SVC-%d\n-A KUBE-SVC-%d -j KUBE-SEP-%d\n", i/250, i%250, i, i, i)
	}
	text.WriteString("COMMIT\n")
	m.run(text.String(), "iptables-nft-restore")
	removed, err := Remove(m.NS)
	noError(t, err)
	if removed.Chains != 2*services+1 || removed.Rules != 1 {
		t.Errorf("removed %s", removed)
	}
}

func TestKubeProxyIsKnownByItsHealthPort(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	for _, space := range []machine{m, other} {
		space.run("", "ip", "link", "set", "lo", "up")
	}
	other.listen("0.0.0.0:10256")
	m.listen("127.0.0.1:10249")
	is := func(want bool) {
		t.Helper()
		if running, err := Running(m.NS); err != nil || running != want {
			t.Fatalf("running: %t, %v; want %t", running, err, want)
		}
	}
	is(false)
	for _, address := range []string{"0.0.0.0:10256", "[::1]:10256", "127.0.0.1:10256"} {
		l := m.listen(address)
		is(true)
		noError(t, l.Close())
		is(false)
	}
}

// Connections that were translated go on when the rules are gone, because the masquerade's
// table keeps the kernel translating.
func TestConnectionsGoOn(t *testing.T) {
	node, client := newMachine(t), newMachine(t)
	join(t, node, client)
	node.run(nftablesMode("ip", "10.96.0.1", "192.0.2.1:8080")+nftablesMode("ip6", "fd00:96::1", "[2001:db8::1]:8080"), "nft", "-f", "-")
	noError(t, masquerade.Sync(node.FD(), masquerade.Rules{
		Pods: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}, Cluster: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, Tunnel: "fl_vxlan",
	}))
	go echo(node.listen("[::]:8080"))
	var conns []net.Conn
	for _, vip := range []string{"10.96.0.1:80", "[fd00:96::1]:80"} {
		noError(t, client.Do(func() error {
			c, err := net.DialTimeout("tcp", vip, 5*time.Second)
			if err == nil {
				conns = append(conns, c)
			}
			return err
		}))
	}
	say := func(words string) {
		t.Helper()
		for _, c := range conns {
			noError(t, c.SetDeadline(time.Now().Add(5*time.Second)))
			_, err := c.Write([]byte(words))
			noError(t, err)
			heard := make([]byte, len(words))
			if _, err := io.ReadFull(c, heard); err != nil || string(heard) != words {
				t.Fatalf("%s after %q: heard %q, %v", c.RemoteAddr(), words, heard, err)
			}
		}
	}
	say("with kube-proxy's rules")
	removed, err := Remove(node.NS)
	noError(t, err)
	if len(removed.Tables) != 2 {
		t.Fatalf("removed %s", removed)
	}
	say("without them")
	for _, c := range conns {
		noError(t, c.Close())
	}
	// The rules are really gone: nobody translates a new one.
	noError(t, client.Do(func() error {
		c, err := net.DialTimeout("tcp", "10.96.0.1:80", 200*time.Millisecond)
		if err == nil {
			c.Close()
			return fmt.Errorf("a new connection was translated")
		}
		return nil
	}))
}

// join connects two machines; the client's default routes are by the node.
func join(t *testing.T, node, client machine) {
	t.Helper()
	noError(t, node.Do(func() error {
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "eth0"})
		veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(vnetns.NsHandle(client.FD()))
		return netlink.LinkAdd(veth)
	}))
	for i, m := range []machine{node, client} {
		m.run("", "ip", "link", "set", "lo", "up")
		m.run("", "ip", "link", "set", "eth0", "up")
		m.run("", "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", i+1), "dev", "eth0")
		m.run("", "ip", "addr", "add", fmt.Sprintf("2001:db8::%d/64", i+1), "dev", "eth0", "nodad")
	}
	client.run("", "ip", "route", "add", "default", "via", "192.0.2.1")
	client.run("", "ip", "-6", "route", "add", "default", "via", "2001:db8::1")
}

func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

func TestLeftoversAreNamed(t *testing.T) {
	m := newMachine(t)
	if left := Leftovers(m.NS); len(left) != 0 {
		t.Errorf("an empty machine has %q", left)
	}
	m.run("", "iptables-legacy", "-t", "nat", "-N", "OTHERS")
	if left := Leftovers(m.NS); len(left) != 0 {
		t.Errorf("a table of others is taken for kube-proxy's: %q", left)
	}
	m.run("", "iptables-legacy", "-t", "nat", "-N", "KUBE-SERVICES")
	m.run("", "ip", "link", "add", "kube-ipvs0", "type", "bridge")
	left := Leftovers(m.NS)
	if len(left) != 2 || left[0] != "chains KUBE-* in table nat of iptables-legacy" || left[1] != "IPVS with device kube-ipvs0" {
		t.Errorf("got %q", left)
	}
}

// A keeper waits for kube-proxy's end, removes once, and says each thing once.
func TestTheKeeperWaitsForTheEnd(t *testing.T) {
	m := newMachine(t)
	m.run("", "ip", "link", "set", "lo", "up")
	m.run(nftablesMode("ip", "10.96.0.1", "192.0.2.9:80"), "nft", "-f", "-")
	proxy := m.listen("127.0.0.1:10256")
	var log bytes.Buffer
	k := keeper{ns: m.NS, log: slog.New(slog.NewTextHandler(&log, nil))}
	k.look()
	k.look()
	if !strings.Contains(m.tables(), "kube-proxy") || strings.Count(log.String(), "still runs") != 1 {
		t.Fatalf("while it runs: %s%s", m.tables(), log.String())
	}
	noError(t, proxy.Close())
	k.look()
	k.look()
	if strings.Contains(m.tables(), "kube-proxy") || strings.Count(log.String(), "nftables table ip kube-proxy") != 1 {
		t.Fatalf("when it has ended: %s%s", m.tables(), log.String())
	}
	m.run(nftablesMode("ip", "10.96.0.1", "192.0.2.9:80"), "nft", "-f", "-")
	k.look()
	if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "there again") {
		t.Errorf("when its rules come back: %s", log.String())
	}
}

func TestNothingHappensBeforeServicesAreInForce(t *testing.T) {
	m := newMachine(t)
	m.run(nftablesMode("ip", "10.96.0.1", "192.0.2.9:80"), "nft", "-f", "-")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	inForce := make(chan struct{})
	go func() { done <- Run(ctx, m.NS, inForce, slog.New(slog.DiscardHandler)) }()
	cancel()
	noError(t, <-done)
	if !strings.Contains(m.tables(), "kube-proxy") {
		t.Error("the table is gone")
	}
	ctx, cancel = context.WithCancel(context.Background())
	defer cancel()
	close(inForce)
	go func() { done <- Run(ctx, m.NS, inForce, slog.New(slog.DiscardHandler)) }()
	for deadline := time.Now().Add(10 * time.Second); strings.Contains(m.tables(), "kube-proxy"); {
		if time.Now().After(deadline) {
			t.Fatal("the table stays")
		}
	}
	cancel()
	noError(t, <-done)
}
