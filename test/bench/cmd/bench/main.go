// SPDX-License-Identifier: Apache-2.0

// Command bench measures Fairlead's datapath beside the kernel's own paths and flannel,
// in one run on this machine, in network namespaces that it makes. `make bench` and
// `make bench-short` run it; docs/bench.md says how to read what comes of it.
//
// Exit codes: 0 all was measured (and, with -short, every gate passed); 1 an error;
// 2 wrong usage; 3 a gate failed; 4 a subject could not be built and is missing from the
// report; 130 interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead-io/fairlead/test/bench/load"
)

// Exit codes; see the command's documentation.
const (
	exitError       = 1
	exitUsage       = 2
	exitGate        = 3
	exitMissing     = 4
	exitInterrupted = 130
)

// inside names, in the environment, the folder that the process in the mount namespace
// may use.
const inside = "FAIRLEAD_BENCH_INSIDE"

func main() {
	if len(os.Args) > 1 && os.Args[1] == load.Argument {
		os.Exit(load.Main(os.Args[2:]))
	}
	cfg, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(exitUsage)
	}
	if os.Getenv(inside) == "" {
		os.Exit(reexec())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, cfg, os.Getenv(inside))
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing was written")
		code = exitInterrupted
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		code = exitError
	}
	os.Exit(code)
}

// config is what the command line says.
type config struct {
	short    bool
	rounds   int
	only     *regexp.Regexp
	out      string
	docs     string
	docsOnly bool
	flannel  string
	cniDir   string
	kubeDir  string
}

func parse(args []string) (config, error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var c config
	fs.BoolVar(&c.short, "short", false, "few cases, few rounds, and fail when a ratio misses its gate; writes no file")
	fs.IntVar(&c.rounds, "rounds", 0, "rounds; 0 is 9, with -short 5")
	only := fs.String("run", "", "measure only `case/subject` that match this regular expression, for example 'tcp_rr/' or '/fairlead'")
	fs.StringVar(&c.out, "o", "out/bench.json", "`file` of the figures; rows of other areas in it are kept")
	fs.StringVar(&c.docs, "docs", "", "Markdown `file` whose tables are made anew from the figures")
	fs.BoolVar(&c.docsOnly, "docs-only", false, "measure nothing; make the tables of -docs from what -o has")
	fs.StringVar(&c.flannel, "flannel", "", "`program` built from test/bench/flannel; without it flannel is missing")
	fs.StringVar(&c.cniDir, "cni", "", "`folder` with fairlead, fairlead-agent, fairlead-cni, bridge and host-local; without it ADD and agents are missing")
	fs.StringVar(&c.kubeDir, "kubernetes", "", "`folder` with etcd, kube-apiserver and kube-proxy; without it kube-proxy is missing")
	if err := fs.Parse(args); err != nil {
		return c, err
	}
	if fs.NArg() > 0 {
		return c, fmt.Errorf("argument %q: there are only flags", fs.Arg(0))
	}
	if c.docsOnly && c.docs == "" {
		return c, errors.New("-docs-only needs -docs")
	}
	if c.rounds < 0 {
		return c, fmt.Errorf("-rounds %d: want 1 or more, or 0 for the default", c.rounds)
	}
	if c.rounds == 0 {
		c.rounds = 9
		if c.short {
			c.rounds = 5
		}
	}
	var err error
	if c.only, err = regexp.Compile(*only); err != nil {
		return c, fmt.Errorf("-run: %w", err)
	}
	return c, nil
}

// reexec runs this program again in a mount namespace of its own, so that what is mounted
// goes with it however it ends. The folder that it works in is removed here.
func reexec() int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: makes network namespaces and loads eBPF programs: run it as root")
		return exitError
	}
	dir, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitError
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder
	runtime.LockOSThread()  // the child dies with the thread that started it
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitError
	}
	go func() {
		for range signals {
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended meanwhile
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitError
	}
	return 0
}
