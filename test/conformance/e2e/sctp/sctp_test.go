// SPDX-License-Identifier: Apache-2.0

package sctp

import (
	"os"
	"testing"
	"time"
)

// TestAssociation: a client asks, the server answers, on the loopback address of each family.
func TestAssociation(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("raw sockets are root's: run it as root (make test-bpf)")
	}
	for name, at := range map[string]string{"IPv4": "127.0.0.1:9003", "IPv6": "[::1]:9004"} {
		t.Run(name, func(t *testing.T) {
			addr, err := ResolveSCTPAddr("sctp", at)
			if err != nil {
				t.Fatal(err)
			}
			l, err := ListenSCTP("sctp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.AcceptSCTP()
				if err != nil {
					return
				}
				b := make([]byte, 100)
				n, _ := c.Read(b)
				_, _ = c.Write(append([]byte("echo "), b[:n]...))
				_ = c.Close()
			}()
			c, err := DialSCTP("sctp", nil, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			if err != nil || string(b[:n]) != "echo hello" {
				t.Errorf("%q, %v", b[:n], err)
			}
		})
	}
}

// TestJunkIsNoPacket: whatever else the protocol's raw sockets receive.
func TestJunkIsNoPacket(t *testing.T) {
	whole := packet{from: 1, to: 2, kind: chunkInit, value: initiation(1, nil)}.encode()
	for n := range whole {
		if _, err := decode(whole[:n]); err == nil {
			t.Errorf("the first %d bytes of a packet pass for one", n)
		}
	}
	if p, err := decode(whole); err != nil || p.from != 1 || p.to != 2 || p.kind != chunkInit {
		t.Errorf("%+v, %v", p, err)
	}
}
