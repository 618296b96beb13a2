// SPDX-License-Identifier: Apache-2.0

package policydiff

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// What a letter is.
const (
	note     = iota // that is all
	question        // to be answered
	answer
)

// letter is a datagram of which there is one.
type letter struct {
	kind  byte
	nonce uint64
}

// arrival is where a letter was received, and from whom.
type arrival struct {
	at   *net.UDPConn
	from netip.AddrPort
}

// office knows which letters have arrived, and answers questions.
type office struct {
	mu      sync.Mutex
	arrived map[letter]arrival
	news    chan struct{}
	sent    uint64
	readers sync.WaitGroup
	conns   []*net.UDPConn
}

func newOffice(t *testing.T) *office {
	o := &office{arrived: map[letter]arrival{}, news: make(chan struct{}, 1)}
	t.Cleanup(func() {
		for _, c := range o.conns {
			c.Close()
		}
		o.readers.Wait()
	})
	return o
}

// open makes a socket in a namespace, whose letters the office reads.
func (o *office) open(t *testing.T, in space, at netip.AddrPort) *net.UDPConn {
	t.Helper()
	const room = 4 << 20
	var c *net.UDPConn
	must(t, in.Do(func() (err error) {
		local := &net.UDPAddr{Port: int(at.Port())} // of both families
		if at.Addr().IsValid() {
			local = net.UDPAddrFromAddrPort(at)
		}
		c, err = net.ListenUDP("udp", local)
		return err
	}))
	must(t, c.SetReadBuffer(room))
	o.conns = append(o.conns, c)
	o.readers.Go(func() { o.read(c) })
	return c
}

func (o *office) read(c *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != 9 { // of what was sent before
			continue
		}
		l := letter{buf[0], binary.BigEndian.Uint64(buf[1:])}
		o.mu.Lock()
		o.arrived[l] = arrival{c, from}
		o.mu.Unlock()
		select {
		case o.news <- struct{}{}:
		default:
		}
		if l.kind == question {
			_ = post(c, from, letter{answer, l.nonce}) // that it is missing will be noticed
		}
	}
}

func post(c *net.UDPConn, to netip.AddrPort, l letter) error {
	_, err := c.WriteToUDPAddrPort(binary.BigEndian.AppendUint64([]byte{l.kind}, l.nonce), to)
	return err
}

// next is a letter that there was not before.
func (o *office) next(kind byte) letter {
	o.sent++
	return letter{kind, o.sent}
}

func (o *office) has(l letter) (arrival, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.arrived[l]
	return a, ok
}

// await waits for the letters that must arrive; then none of the others may have.
func (o *office) await(want map[letter]bool, patience time.Duration) (wrong letter, err error) {
	deadline := time.After(patience)
	for l, must := range want {
		for must {
			if _, ok := o.has(l); ok {
				break
			}
			select {
			case <-o.news:
			case <-deadline:
				return l, fmt.Errorf("it has not arrived within %s, and the model allows it", patience)
			}
		}
	}
	for l, must := range want {
		if _, ok := o.has(l); ok && !must {
			return l, errors.New("it has arrived, and the model does not allow it")
		}
	}
	return letter{}, nil
}
