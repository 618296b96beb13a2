// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/internal/datapath/netns"
)

// Argument is the first command-line argument of a process that serves or makes load; the
// program's main must hand it over to Main.
const Argument = "fairlead-bench-load"

// slack is what a run may take beyond its duration.
const slack = 15 * time.Second

// Main is the main function of a load process: arguments after Argument in, one line of
// JSON out (a server says its port on a line before that). It returns the exit code.
func Main(args []string) int {
	if err := childMain(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func childMain(args []string) error {
	if len(args) != 6 {
		return fmt.Errorf("load: %d arguments, want role, case, address, port, duration and the server's ports", len(args))
	}
	a, err := netip.ParseAddr(args[2])
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(args[3], 10, 16)
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(args[4])
	if err != nil {
		return err
	}
	spec := Spec{Case: Case(args[1]), Server: a, Duration: d}
	if spec.Ports, err = parsePorts(args[5]); err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	debug.SetGCPercent(-1) // nothing of note is allocated, and a pause would be measured
	runtime.LockOSThread()
	var m Measurement
	switch args[0] {
	case "server":
		m, err = serve(spec, os.Stdout)
	case "client":
		m, err = request(spec, netip.AddrPortFrom(a, uint16(port)))
	default:
		err = fmt.Errorf("load: role %q, want server or client", args[0])
	}
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}

func formatPorts(ports []uint16) string {
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, ",")
}

func parsePorts(list string) ([]uint16, error) {
	var ports []uint16
	for word := range strings.SplitSeq(list, ",") {
		if word == "" {
			continue
		}
		p, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: %w", word, err)
		}
		ports = append(ports, uint16(p))
	}
	return ports, nil
}

func serve(spec Spec, ready io.Writer) (Measurement, error) {
	kind := unix.SOCK_STREAM
	if spec.Case == UDPRR || spec.Case == UDPPPS {
		kind = unix.SOCK_DGRAM
	}
	fds, port, err := listenAll(spec.Server, kind, spec.Ports)
	if err != nil {
		return nil, err
	}
	fd := fds[0] // the process closes them all when it ends
	if _, err := fmt.Fprintln(ready, port); err != nil {
		return nil, err
	}
	switch spec.Case {
	case TCPRR:
		return serveTCPRR(fds)
	case UDPRR:
		return serveUDPRR(fd)
	case TCPCRR:
		return serveConnections(fds)
	case UDPPPS:
		return serveDatagrams(fd)
	default:
		return serveStreams(fd, spec.streams())
	}
}

func request(spec Spec, to netip.AddrPort) (Measurement, error) {
	switch spec.Case {
	case TCPRR, UDPRR:
		return roundTrips(spec, to)
	case TCPCRR:
		return connections(spec, to)
	case UDPPPS:
		return sendDatagrams(spec, to)
	default:
		return sendStreams(spec, to)
	}
}

// Run runs a case from one namespace to another and returns what it measured. An error
// says which side failed and why.
func Run(ctx context.Context, client, server *netns.NS, spec Spec) (Measurement, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, spec.Duration+slack)
	defer cancel()
	clientCPU, serverCPU := spec.Case.cpus()
	far, err := start(ctx, server, serverCPU, "server", spec, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Case, err)
	}
	line, err := far.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Case, errors.Join(errors.New("the server did not start"), far.end(cancel)))
	}
	port, err := strconv.ParseUint(strings.TrimSpace(line), 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%s: the server's port: %w", spec.Case, errors.Join(err, far.end(cancel)))
	}
	to := spec
	if spec.Via.IsValid() {
		to.Server, port = spec.Via.Addr(), uint64(spec.Via.Port())
	}
	near, err := start(ctx, client, clientCPU, "client", to, uint16(port))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Case, errors.Join(err, far.end(cancel)))
	}
	m, err := near.result()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Case, errors.Join(err, far.end(cancel)))
	}
	theirs, err := far.result()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Case, err)
	}
	maps.Copy(m, theirs)
	return withLoss(m), nil
}

func withLoss(m Measurement) Measurement {
	if m[sent] > 0 {
		m[Loss] = 100 * (1 - m[received]/m[sent])
	}
	delete(m, sent)
	delete(m, received)
	return m
}

// process is a running load process.
type process struct {
	out    *bufio.Reader
	stderr *bytes.Buffer
	done   chan error
}

// start starts a load process in a namespace and on a CPU (-1: any). It inherits both from
// the thread that forks it, which waits for it: a process dies with the thread that
// started it.
func start(ctx context.Context, in *netns.NS, cpu int, role string, spec Spec, port uint16) (*process, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", Argument, role, string(spec.Case), spec.Server.String(), strconv.Itoa(int(port)), spec.Duration.String(), formatPorts(spec.Ports))
	cmd.Env = append(os.Environ(), "GOMAXPROCS=8") // by default Go counts the CPUs that it may use
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if role == "client" && spec.Cgroup != "" {
		group, err := os.Open(spec.Cgroup)
		if err != nil {
			return nil, fmt.Errorf("the client's cgroup: %w", err)
		}
		defer group.Close() //nolint:errcheck // a folder
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}
	p := &process{stderr: &bytes.Buffer{}, done: make(chan error, 1)}
	cmd.Stderr = p.stderr
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = write
	p.out = bufio.NewReader(read)
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := forkIn(in, cpu, cmd)
		write.Close() //nolint:errcheck // the child has it
		started <- err
		if err == nil {
			p.done <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		read.Close() //nolint:errcheck // nobody writes
		return nil, fmt.Errorf("start the %s: %w", role, err)
	}
	return p, nil
}

func forkIn(in *netns.NS, cpu int, cmd *exec.Cmd) error {
	if err := unix.Setns(in.FD(), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the namespace: %w", err)
	}
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("bind to CPU %d: %w", cpu, err)
		}
	}
	return cmd.Start()
}

// result waits for the process to end and returns what it measured.
func (p *process) result() (Measurement, error) {
	line, readErr := p.out.ReadBytes('\n')
	if err := <-p.done; err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(p.stderr.String()))
	}
	if readErr != nil {
		return nil, fmt.Errorf("no result: %w", readErr)
	}
	m := Measurement{}
	if err := json.Unmarshal(line, &m); err != nil {
		return nil, fmt.Errorf("result %q: %w", line, err)
	}
	return m, nil
}

// end kills the process and returns what it complained of.
func (p *process) end(kill context.CancelFunc) error {
	kill()
	<-p.done
	if said := strings.TrimSpace(p.stderr.String()); said != "" {
		return errors.New(said)
	}
	return nil
}
