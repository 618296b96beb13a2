// SPDX-License-Identifier: Apache-2.0

package datapath_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/bpf"
	"github.com/fairlead-io/fairlead/internal/datapath"
)

// TestServicesAreTakenOver: connections that the host's stack translates, as kube-proxy has told it to,
// go on when Services are turned on below them; new ones are translated here.
func TestServicesAreTakenOver(t *testing.T) {
	w := newShapedWorld(t, 2, shape{})
	one, two := w.nodes[0], w.nodes[1]
	a, b, c := one.addPod(), one.addPod(), two.addPod()
	var open []net.Conn
	for _, f := range families {
		for i, backend := range []*pod{b, c} {
			service := serviceIP(f, byte(i+1))
			one.addService(t, service, backend.ip(f))
			echoServer(t, backend.space, netip.AddrPortFrom(backend.ip(f), 7500))
			var conn net.Conn
			must(t, a.Do(func() (err error) {
				conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(service, 7500).String(), patience)
				return err
			}))
			t.Cleanup(func() { conn.Close() })
			checkEcho(t, conn)
			open = append(open, conn)
		}
	}
	must(t, one.dp.Close())
	one.opts.Services, one.opts.CgroupRoot = true, newCgroup(t) // this process is none of the node's
	one.open()
	lost, err := one.dp.RestoreEndpoints(t.Context(), []datapath.Endpoint{a.ep, b.ep})
	if err != nil || len(lost) > 0 {
		t.Fatalf("endpoints %v are lost (%v)", lost, err)
	}
	one.syncPeers(t)
	one.setServices(t) // the programs wait until they are known
	rows := one.serviceRows(t)
	for _, f := range families {
		for i, backend := range []*pod{b, c} {
			pool := rows.pool(toPod(backend, f, 7500))
			rows.publish(netip.AddrPortFrom(serviceIP(f, byte(i+1)), 7500), bpf.Frontend{Inside: pool, Outside: pool, Flags: bpf.FrontendClusterIP})
		}
	}
	for _, conn := range open {
		checkEcho(t, conn)
	}
	if n := count(t, one, "from_pod", "service"); n > 0 {
		t.Errorf("%d packets of connections that the stack has were taken from it", n)
	}
	for _, f := range families {
		for i := range 2 {
			var conn net.Conn
			must(t, a.Do(func() (err error) {
				conn, err = net.DialTimeout("tcp", netip.AddrPortFrom(serviceIP(f, byte(i+1)), 7500).String(), patience)
				return err
			}))
			checkEcho(t, conn)
			conn.Close()
		}
	}
	if count(t, one, "from_pod", "service") == 0 {
		t.Error("new connections were left to the stack")
	}
}

// echoServer returns every line.
func echoServer(t *testing.T, s space, at netip.AddrPort) {
	t.Helper()
	var l net.Listener
	must(t, s.Do(func() (err error) {
		l, err = net.Listen("tcp", at.String())
		return err
	}))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
}

func checkEcho(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c, "all is well\n")
	must(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || line != "all is well\n" {
		t.Errorf("%s: the answer is %q (%v)", c.RemoteAddr(), line, err)
	}
}
