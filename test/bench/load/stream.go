// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streamBuffer is what one call of a stream reads or writes, in bytes.
const streamBuffer = 128 << 10

// serveStreams receives on n connections until all are closed.
func serveStreams(listener, n int) (Measurement, error) {
	fds := make([]int, n)
	for i := range fds {
		fd, _, err := unix.Accept(listener)
		if err != nil {
			return nil, fmt.Errorf("accept: %w", err)
		}
		fds[i] = fd
	}
	busy, err := busyTime()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	total, err := onEach(fds, receive)
	took := time.Since(start)
	if err != nil {
		return nil, err
	}
	after, err := busyTime()
	if err != nil {
		return nil, err
	}
	gbit := float64(total) * 8 / 1e9
	if gbit == 0 {
		return nil, errors.New("nothing was received")
	}
	return Measurement{Throughput: gbit / took.Seconds(), CPU: float64((after - busy).Microseconds()) / 1e3 / gbit}, nil
}

// sendStreams sends on all connections of the spec for its duration.
func sendStreams(spec Spec, to netip.AddrPort) (Measurement, error) {
	fds := make([]int, spec.streams())
	for i := range fds {
		fd, err := dial(to, unix.SOCK_STREAM)
		if err != nil {
			return nil, err
		}
		fds[i] = fd
	}
	end := time.Now().Add(spec.Duration)
	_, err := onEach(fds, func(fd int) (int64, error) { return send(fd, end) })
	return Measurement{}, err
}

func onEach(fds []int, do func(fd int) (int64, error)) (int64, error) {
	var mu sync.Mutex
	var total int64
	var errs []error
	var wg sync.WaitGroup
	for _, fd := range fds {
		wg.Go(func() {
			defer unix.Close(fd) //nolint:errcheck // the figure is made
			n, err := do(fd)
			mu.Lock()
			defer mu.Unlock()
			total += n
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return total, errors.Join(errs...)
}

func receive(fd int) (total int64, err error) {
	buf := make([]byte, streamBuffer)
	for {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return total, err
		}
		total += int64(n)
	}
}

func send(fd int, end time.Time) (total int64, err error) {
	buf := make([]byte, streamBuffer)
	for time.Now().Before(end) {
		n, err := unix.Write(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total, err
		}
		total += int64(n)
	}
	return total, nil
}

// jiffy is the unit of /proc/stat, which is 10 ms on every architecture.
const jiffy = 10 * time.Millisecond

// busyTime is how long all CPUs together have worked since the machine's start. Idle, I/O
// wait and what a hypervisor took are not work; guests' time is in user time already.
func busyTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(first)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: first line is %q, want that of all CPUs", first)
	}
	var total time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		total += time.Duration(n) * jiffy
	}
	return total, nil
}
