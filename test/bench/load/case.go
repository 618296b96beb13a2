// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"net/netip"
	"time"
)

// Case is a kind of traffic.
type Case string

// The cases, and what they measure.
const (
	TCPRR     Case = "tcp_rr"       // one byte there and back on one connection
	UDPRR     Case = "udp_rr"       // the same in datagrams
	TCPCRR    Case = "tcp_crr"      // connect, one byte there and back, close
	TCPStream Case = "tcp_stream_1" // bulk on one connection
	TCPEight  Case = "tcp_stream_8" // bulk on eight connections
	UDPPPS    Case = "udp_pps"      // 64-byte datagrams as fast as they can be sent
)

// Cases are all of them, in the order of a report.
var Cases = []Case{TCPRR, UDPRR, TCPCRR, TCPStream, TCPEight, UDPPPS}

// Metric names a figure of a measurement.
type Metric string

// The metrics and their units.
const (
	P50        Metric = "p50"        // us a round trip
	P99        Metric = "p99"        // us a round trip
	Rate       Metric = "rate"       // connections or datagrams a second
	Throughput Metric = "throughput" // Gbit/s of payload
	CPU        Metric = "cpu"        // ms of CPU time of the whole machine a Gbit of payload

	// ProgramTime is what eBPF programs took for one packet, ns; package programs measures it.
	ProgramTime Metric = "program_time"
	Loss        Metric = "loss" // % of the datagrams that were sent
)

// Measurement is what one run of a case found.
type Measurement map[Metric]float64

// Spec is a run of a case.
type Spec struct {
	Case Case
	// Server is the address that the server listens at.
	Server netip.Addr
	// Duration is how long the client sends.
	Duration time.Duration
	// Via is where the client connects to, when that is not where the server listens: a
	// Service's address.
	Via netip.AddrPort
	// Ports are those of the server, for cases that connect; none: one that is free.
	Ports []uint16
	// Cgroup is the folder of the cgroup, of version 2, that the client is in; "" is ours.
	Cgroup string
}

// warmUp is how much of a request-response run goes by before anything is counted:
// neighbours are resolved, caches and flows are there.
func (s Spec) warmUp() time.Duration { return s.Duration / 10 }

func (s Spec) streams() int {
	switch s.Case {
	case TCPEight:
		return 8
	default:
		return 1
	}
}

// Validate names the field that is wrong.
func (s Spec) Validate() error {
	known := false
	for _, c := range Cases {
		known = known || c == s.Case
	}
	if !known {
		return fmt.Errorf("case %q: want one of %v", s.Case, Cases)
	}
	if !s.Server.IsValid() {
		return fmt.Errorf("case %s: the server has no address", s.Case)
	}
	if len(s.Ports) > 0 && s.Case != TCPRR && s.Case != TCPCRR {
		return fmt.Errorf("case %s: ports %v: only %s and %s have servers of several ports", s.Case, s.Ports, TCPRR, TCPCRR)
	}
	if s.Duration < time.Millisecond || s.Duration > time.Minute {
		return fmt.Errorf("case %s: duration %v: want 1ms to 1m", s.Case, s.Duration)
	}
	return nil
}

// cpus are those of the client and of the server: the same one for everything that waits
// for an answer, one each for one-way traffic; -1 is any.
func (c Case) cpus() (client, server int) {
	switch c {
	case TCPRR, UDPRR, TCPCRR:
		return 0, 0
	case TCPStream, UDPPPS:
		return 0, 1
	default:
		return -1, -1
	}
}
