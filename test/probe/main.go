// SPDX-License-Identifier: Apache-2.0

// Command probe is both ends of the connectivity matrix. "probe serve" answers
// HTTP on TCP and plain datagrams on UDP with the address that it sees its peer
// under; "probe dial" tries a list of targets and prints what became of each.
// "probe load-server" and "probe load" are both ends of a load (package continuity);
// "probe request-server" and "probe request" those of steady requests (package requests);
// "probe reach-server" and "probe reach" those of paths that are watched (package reach).
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// Target is one thing to reach.
type Target struct {
	Proto string `json:"proto"` // tcp, udp, icmp, dns
	Addr  string `json:"addr"`  // an address; for dns a name
	Port  int    `json:"port,omitempty"`
	Bytes int    `json:"bytes,omitempty"` // tcp: how many bytes to receive as well
}

// Outcome is what became of a Target.
type Outcome struct {
	OK     bool   `json:"ok"`
	Peer   string `json:"peer,omitempty"` // the dialler's address as the server saw it
	Host   string `json:"host,omitempty"` // the server's host name
	Error  string `json:"error,omitempty"`
	Micros int64  `json:"micros"`
}

const timeout = 3 * time.Second

func main() {
	if len(os.Args) < 2 {
		fail("usage: probe serve [HTTP-PORT [UDP-PORT]] | probe dial JSON-TARGETS | probe load-server PORT | probe load SERVER:PORT JSON-CONFIG | " +
			"probe request-server PORT | probe request JSON-CONFIG | probe reach-server PORT... | probe reach JSON-CONFIG | probe reach-seen PORT")
	}
	switch os.Args[1] {
	case "serve":
		tcp, udp := "8080", "8081"
		if len(os.Args) > 2 {
			tcp = os.Args[2]
		}
		if len(os.Args) > 3 {
			udp = os.Args[3]
		}
		fail(serve(tcp, udp).Error())
	case "dial":
		var targets []Target
		if len(os.Args) < 3 {
			fail("probe dial: an argument with a JSON list of targets is missing")
		}
		if err := json.Unmarshal([]byte(os.Args[2]), &targets); err != nil {
			fail("probe dial: " + err.Error())
		}
		if err := json.NewEncoder(os.Stdout).Encode(dialAll(targets)); err != nil {
			fail(err.Error())
		}
	case "load-server":
		fail(loadServer(os.Args[2:]).Error())
	case "load":
		if err := load(os.Args[2:]); err != nil {
			fail(err.Error())
		}
	case "request-server":
		if err := requestServer(os.Args[2:]); err != nil {
			fail(err.Error())
		}
	case "request":
		if err := request(os.Args[2:]); err != nil {
			fail(err.Error())
		}
	case "reach-server":
		fail(reachServer(os.Args[2:]).Error())
	case "reach":
		if err := watch(os.Args[2:]); err != nil {
			fail(err.Error())
		}
	case "reach-seen":
		if err := seen(os.Args[2:]); err != nil {
			fail(err.Error())
		}
	default:
		fail("probe: unknown command " + os.Args[1])
	}
}

func fail(msg string) {
	fmt.Fprintln(os.Stderr, msg)
	os.Exit(1)
}

func serve(tcpPort, udpPort string) error {
	host, _ := os.Hostname()
	answer := func(addr string) []byte {
		ap, _ := netip.ParseAddrPort(addr)
		b, _ := json.Marshal(Outcome{OK: true, Peer: ap.Addr().Unmap().WithZone("").String(), Host: host})
		return b
	}
	for _, addr := range listenAddresses() {
		pc, err := net.ListenPacket("udp", net.JoinHostPort(addr, udpPort))
		if err != nil {
			return err
		}
		go echo(pc, answer)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(answer(r.RemoteAddr)) })
	mux.HandleFunc("/bulk", func(w http.ResponseWriter, r *http.Request) {
		var n int64
		if _, err := fmt.Sscan(r.URL.Query().Get("n"), &n); err != nil || n < 0 || n > 1<<30 {
			http.Error(w, "n must be a number of bytes up to 2^30", http.StatusBadRequest)
			return
		}
		_, _ = io.CopyN(w, zeros{}, n)
	})
	srv := &http.Server{Addr: ":" + tcpPort, Handler: mux, ReadHeaderTimeout: timeout}
	return srv.ListenAndServe()
}

// listenAddresses returns where UDP is served: each of the pod's addresses by
// itself (POD_IPS), because a host with many addresses would answer from a socket
// on all of them with another address than the one that was asked.
func listenAddresses() []string {
	if ips := os.Getenv("POD_IPS"); ips != "" {
		return strings.Split(ips, ",")
	}
	return []string{""}
}

func echo(pc net.PacketConn, answer func(string) []byte) {
	buf := make([]byte, 65536)
	for {
		_, from, err := pc.ReadFrom(buf)
		if err != nil {
			fail(err.Error())
		}
		_, _ = pc.WriteTo(answer(from.String()), from)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func dialAll(targets []Target) []Outcome {
	out := make([]Outcome, len(targets))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, t := range targets {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			started := time.Now()
			o, err := dial(t, i)
			o.OK = err == nil
			if err != nil {
				o.Error = err.Error()
			}
			o.Micros = time.Since(started).Microseconds()
			out[i] = o
		})
	}
	wg.Wait()
	return out
}

func dial(t Target, seq int) (Outcome, error) {
	switch t.Proto {
	case "tcp":
		return dialHTTP(t)
	case "udp":
		return dialUDP(t)
	case "icmp":
		return Outcome{}, ping(t.Addr, seq)
	case "connect":
		c, err := net.DialTimeout("tcp", net.JoinHostPort(t.Addr, fmt.Sprint(t.Port)), timeout)
		if err == nil {
			_ = c.Close()
		}
		return Outcome{}, err
	case "dns":
		addrs, err := net.LookupHost(t.Addr)
		return Outcome{Peer: fmt.Sprint(addrs)}, err
	}
	return Outcome{}, fmt.Errorf("unknown protocol %q", t.Proto)
}

func dialHTTP(t Target) (o Outcome, err error) {
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	base := "http://" + net.JoinHostPort(t.Addr, fmt.Sprint(t.Port))
	resp, err := client.Get(base + "/")
	if err != nil {
		return o, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil {
		o, err = parseAnswer(body)
	}
	if err != nil {
		return o, err
	}
	if t.Bytes == 0 {
		return o, nil
	}
	client.Timeout = 10 * timeout
	bulk, err := client.Get(fmt.Sprintf("%s/bulk?n=%d", base, t.Bytes))
	if err != nil {
		return o, err
	}
	defer bulk.Body.Close() //nolint:errcheck // read to its end
	n, err := io.Copy(io.Discard, bulk.Body)
	if err == nil && n != int64(t.Bytes) {
		err = fmt.Errorf("received %d of %d bytes", n, t.Bytes)
	}
	return o, err
}

func dialUDP(t Target) (o Outcome, err error) {
	c, err := net.DialTimeout("udp", net.JoinHostPort(t.Addr, fmt.Sprint(t.Port)), timeout)
	if err != nil {
		return o, err
	}
	defer c.Close() //nolint:errcheck // a datagram socket
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.Write([]byte("hello")); err != nil {
		return o, err
	}
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		return o, err
	}
	return parseAnswer(buf[:n])
}

// parseAnswer reads what a probe answers, or the plain "address:port" of the lab's
// outside host.
func parseAnswer(b []byte) (o Outcome, err error) {
	if ap, err := netip.ParseAddrPort(strings.TrimSpace(string(b))); err == nil {
		return Outcome{Peer: ap.Addr().Unmap().String()}, nil
	}
	return o, json.Unmarshal(b, &o)
}

// ping sends one echo request from an unprivileged ICMP socket.
func ping(addr string, seq int) error {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return err
	}
	network, listen, proto := "udp4", "0.0.0.0", 1
	var request, reply icmp.Type = ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply
	if ip.Is6() {
		network, listen, proto = "udp6", "::", 58
		request, reply = ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	c, err := icmp.ListenPacket(network, listen)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // a datagram socket
	msg := icmp.Message{Type: request, Body: &icmp.Echo{Seq: seq, Data: []byte("fairlead")}}
	b, err := msg.Marshal(nil)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.WriteTo(b, &net.UDPAddr{IP: ip.AsSlice()}); err != nil {
		return err
	}
	buf := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := icmp.ParseMessage(proto, buf[:n])
		if err != nil {
			return err
		}
		if e, ok := m.Body.(*icmp.Echo); ok && m.Type == reply && e.Seq == seq {
			return nil
		}
	}
}
