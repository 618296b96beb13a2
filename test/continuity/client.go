// SPDX-License-Identifier: Apache-2.0

package continuity

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Config says how much load there is. The zero value of a field means none of that kind.
type Config struct {
	// Flows are the established TCP connections.
	Flows int `json:"flows"`
	// Rest is how long a connection is idle between two exchanges.
	Rest time.Duration `json:"rest"`
	// DatagramRate is the datagrams of the stream in each second.
	DatagramRate int `json:"datagramRate"`
	// Connects lets new connections be made one after another.
	Connects bool `json:"connects"`
	// ConnectRest is how long it rests between two new connections; 0 leaves the machine to
	// nothing else.
	ConnectRest time.Duration `json:"connectRest"`
}

// Result is what came of a load.
type Result struct {
	// Exchanges are those of established connections, Broken the connections that ended.
	Exchanges int64 `json:"exchanges"`
	Broken    int64 `json:"broken"`
	// Sent and Received are datagrams, Refused those that could not even be sent.
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
	Refused  int64 `json:"refused"`
	// Connected are new connections with an exchange each, Failed those without, Slow
	// those whose first packet was lost: the kernel sent it again, a second later.
	Connected int64 `json:"connected"`
	Failed    int64 `json:"failed"`
	Slow      int64 `json:"slow"`
	// FirstError is the first thing that went wrong.
	FirstError string `json:"firstError,omitempty"`
}

// Lost are the datagrams that were sent and did not arrive.
func (r Result) Lost() int64 { return r.Sent - r.Received }

// Err returns an error that says what was lost or broken, nil when nothing was.
func (r Result) Err() error {
	if r.Broken == 0 && r.Lost() == 0 && r.Refused == 0 && r.Failed == 0 && r.Slow == 0 {
		return nil
	}
	return fmt.Errorf("%d connections broken, %d of %d datagrams lost and %d refused, %d of %d new connections failed and %d were slow; first: %s",
		r.Broken, r.Lost(), r.Sent, r.Refused, r.Failed, r.Connected+r.Failed, r.Slow, r.FirstError)
}

// giveUp is how long an exchange may take; TCP has sent a lost packet several times by then.
const giveUp = 10 * time.Second

// Namespace runs a function in the client's network namespace.
type Namespace func(func() error) error

// Here is the namespace of the process.
func Here(fn func() error) error { return fn() }

// Client is a load on the path to a server.
type Client struct {
	server netip.AddrPort
	in     Namespace
	cfg    Config
	stream uint64

	end   context.CancelFunc
	ctx   context.Context
	flows []net.Conn
	work  sync.WaitGroup

	exchanges, broken, sent, refused, connected, failed, slow atomic.Int64

	mu    sync.Mutex
	first error
}

// Start opens all connections and puts the load on the path. An error says what could not
// be opened.
func Start(server netip.AddrPort, in Namespace, cfg Config) (*Client, error) {
	c := &Client{server: server, in: in, cfg: cfg, stream: rand.Uint64() | isStream}
	c.ctx, c.end = context.WithCancel(context.Background())
	if err := in(c.open); err != nil {
		c.closeFlows()
		return nil, fmt.Errorf("continuity: %w", err)
	}
	for _, flow := range c.flows {
		c.work.Go(func() { c.use(flow) })
	}
	if cfg.DatagramRate > 0 {
		c.work.Go(func() { c.note(in(c.send)) })
	}
	if cfg.Connects {
		c.work.Go(func() { c.note(in(c.connectAgainAndAgain)) })
	}
	return c, nil
}

func (c *Client) open() error {
	for range c.cfg.Flows {
		flow, err := net.DialTimeout("tcp", c.server.String(), giveUp)
		if err != nil {
			return err
		}
		c.flows = append(c.flows, flow)
	}
	return nil
}

// use exchanges on one connection until the end, the first time at a random moment so
// that the connections do not go in step.
func (c *Client) use(flow net.Conn) {
	rest := time.NewTimer(time.Duration(rand.Int64N(int64(c.cfg.Rest) + 1)))
	defer rest.Stop()
	for n := uint64(0); ; n++ {
		select {
		case <-c.ctx.Done():
			// Every connection is used once more, so that none is dead unnoticed.
			c.judge(exchange(flow, n))
			return
		case <-rest.C:
		}
		if !c.judge(exchange(flow, n)) {
			return
		}
		rest.Reset(c.cfg.Rest)
	}
}

func (c *Client) judge(err error) bool {
	if err != nil {
		c.broken.Add(1)
		c.note(err)
		return false
	}
	c.exchanges.Add(1)
	return true
}

// exchange sends a number and expects it back.
func exchange(flow net.Conn, n uint64) error {
	got, err := ask(flow, n&^isStream)
	if err == nil && got != n&^isStream {
		err = fmt.Errorf("connection from %s: got %d back for %d", flow.LocalAddr(), got, n)
	}
	return err
}

func ask(flow net.Conn, n uint64) (uint64, error) {
	var message [8]byte
	binary.BigEndian.PutUint64(message[:], n)
	if err := flow.SetDeadline(time.Now().Add(giveUp)); err != nil {
		return 0, err
	}
	if _, err := flow.Write(message[:]); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(flow, message[:]); err != nil {
		return 0, fmt.Errorf("connection from %s: %w", flow.LocalAddr(), err)
	}
	return binary.BigEndian.Uint64(message[:]), nil
}

// send sends the stream, as many datagrams each time as are due.
func (c *Client) send() error {
	u, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(c.server))
	if err != nil {
		return err
	}
	defer u.Close()
	datagram := make([]byte, recordSize)
	binary.BigEndian.PutUint64(datagram, c.stream)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for begin, number := time.Now(), int64(0); ; {
		due := int64(time.Since(begin).Seconds() * float64(c.cfg.DatagramRate))
		// After a pause of the machine no burst follows that no buffer could hold.
		due = min(due, number+int64(c.cfg.DatagramRate/50)+1)
		for ; number < due; number++ {
			binary.BigEndian.PutUint64(datagram[8:], uint64(number))
			if _, err := u.Write(datagram); err != nil {
				c.refused.Add(1)
				c.note(err)
				continue
			}
			c.sent.Add(1)
		}
		select {
		case <-c.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Client) connectAgainAndAgain() error {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return nil
		case <-rest.C:
		}
		rest.Reset(c.cfg.ConnectRest)
		began := time.Now()
		again, err := c.connect()
		if err != nil {
			c.failed.Add(1)
			c.note(err)
			continue
		}
		c.connected.Add(1)
		if again > 0 {
			c.slow.Add(1)
			c.note(fmt.Errorf("a new connection took %s: its first packet was sent %d times", time.Since(began), again+1))
		}
	}
}

// connect makes a connection with one exchange, and tells how often its first packet was
// sent again. The connection is reset at the end, so that its port is free again at once.
func (c *Client) connect() (again uint32, err error) {
	dialed, err := net.DialTimeout("tcp", c.server.String(), giveUp)
	if err != nil {
		return 0, err
	}
	flow := dialed.(*net.TCPConn)
	// The time that it took says less: a busy machine takes its time, too.
	again, err = sentAgain(flow)
	return again, errors.Join(err, exchange(flow, 1), flow.SetLinger(0), flow.Close())
}

// sentAgain is how many packets of a connection were sent more than once.
func sentAgain(flow *net.TCPConn) (n uint32, err error) {
	raw, err := flow.SyscallConn()
	if err != nil {
		return 0, err
	}
	var opt error
	err = raw.Control(func(fd uintptr) {
		var info *unix.TCPInfo
		if info, opt = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); opt == nil {
			n = info.Total_retrans
		}
	})
	return n, errors.Join(err, opt)
}

func (c *Client) note(err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first == nil {
		c.first = err
	}
}

// Sent is how many datagrams have been sent until now.
func (c *Client) Sent() int64 { return c.sent.Load() }

// Await returns when the load has gone on for another while: as many exchanges as there
// are connections, a second's datagrams, and ten new connections more than now.
func (c *Client) Await(ctx context.Context) error {
	exchanges, sent, connected := c.exchanges.Load()+int64(c.cfg.Flows), c.sent.Load()+int64(c.cfg.DatagramRate), c.connected.Load()
	if c.cfg.Connects {
		connected += 10
	}
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for c.exchanges.Load() < exchanges || c.sent.Load() < sent || c.connected.Load() < connected {
		select {
		case <-ctx.Done():
			return fmt.Errorf("continuity: the load is at %d of %d exchanges, %d of %d datagrams, %d of %d new connections: %w",
				c.exchanges.Load(), exchanges, c.sent.Load(), sent, c.connected.Load(), connected, ctx.Err())
		case <-poll.C:
		}
	}
	return nil
}

// Stop ends the load and returns what came of it. The error says that the server could
// not be asked what it has received.
func (c *Client) Stop() (Result, error) {
	c.end()
	c.work.Wait()
	c.closeFlows()
	r := Result{
		Exchanges: c.exchanges.Load(), Broken: c.broken.Load(), Sent: c.sent.Load(), Refused: c.refused.Load(),
		Connected: c.connected.Load(), Failed: c.failed.Load(), Slow: c.slow.Load(),
	}
	var err error
	if c.cfg.DatagramRate > 0 {
		r.Received, err = c.received(r.Sent)
	}
	if c.first != nil {
		r.FirstError = c.first.Error()
	}
	return r, err
}

func (c *Client) closeFlows() {
	for _, flow := range c.flows {
		flow.Close()
	}
}

// received asks the server how many datagrams it has, until it has all, or no more come.
func (c *Client) received(sent int64) (int64, error) {
	var flow net.Conn
	err := c.in(func() (err error) {
		flow, err = net.DialTimeout("tcp", c.server.String(), giveUp)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("continuity: ask the server: %w", err)
	}
	defer flow.Close()
	var last int64
	changed := time.Now()
	for {
		n, err := ask(flow, c.stream)
		if err != nil {
			return 0, fmt.Errorf("continuity: ask the server: %w", err)
		}
		if int64(n) != last {
			last, changed = int64(n), time.Now()
		}
		if last >= sent || time.Since(changed) > time.Second {
			return last, nil
		}
		if err := unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return last, err
		}
	}
}
