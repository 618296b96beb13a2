// SPDX-License-Identifier: Apache-2.0

// Command kernelmatrix runs the datapath on the kernels of other distributions' releases:
// it fetches Debian's kernel packages, which it unpacks and never installs, boots each in a
// virtual machine without hardware support, and lets its verifier see every program and
// its network carry packets between pods. docs/kernels.md tells what is run and why.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// smoke is what is run of the datapath's own tests: traffic of pods on one node and on two,
// of both families, over tunnels of both; services; programs that are exchanged below open
// connections; that nothing stays. Each must be there and pass.
var smoke = []testBinary{
	{"./internal/datapath", []string{
		"TestPaths", "TestBypass", "TestNoSuchPod", "TestServices", "TestCheckEndpoint",
		"TestServicesFromOutside", "TestServicesFromPods", "TestServiceWithoutBackends", "TestServicePathMTU",
		"TestSockets", "TestSocketProgramsAttached",
		"TestRestartKeepsFlows", "TestRestorePrunes",
		"TestCleanupLeavesNothing", "TestCleanupDetachesFromForeignDevices",
	}, ""},
	// Clsact on every kernel, since what is attached by tcx is in the tests above.
	{"./internal/datapath/link", []string{
		"TestAttach", "TestExchangeMissesNoPacket", "TestClsactSparesOthers", "TestClsactQdiscGoesWithItsLastFilter", "TestDetachAll",
	}, "/^clsact"},
}

type testBinary struct {
	pkg      string
	tests    []string
	subtests string // of those that have some, in the form of go test's flag -run
}

func main() {
	kernels := flag.String("kernels", "6.1,6.12", "the kernels' series, of which the newest is taken that apt offers")
	cache := flag.String("cache", ".cache/kernels", "where kernels are kept")
	out := flag.String("out", "out/kernel-matrix", "where each machine's console is kept")
	limit := flag.Duration("timeout", 4*time.Minute, "how long one machine may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*kernels, ","), *cache, *out, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "kernel-matrix:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kernels []string, cache, out string, limit time.Duration) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	programs, err := build(ctx, out)
	if err != nil {
		return err
	}
	var errs []error
	for _, series := range kernels {
		fmt.Printf("== Linux %s\n", series)
		start := time.Now()
		err := runOne(ctx, series, programs, cache, out, limit)
		verdict := "passed"
		if err != nil {
			verdict = "FAILED"
			errs = append(errs, fmt.Errorf("kernel %s: %w", series, err))
		}
		fmt.Printf("== Linux %s: %s in %.0f s\n", series, verdict, time.Since(start).Seconds())
	}
	return errors.Join(errs...)
}

func runOne(ctx context.Context, series string, programs []file, cache, out string, limit time.Duration) error {
	k, err := fetch(ctx, series, cache)
	if err != nil {
		return err
	}
	modules, err := k.modules(ctx, wanted)
	if err != nil {
		return fmt.Errorf("%s: %w", k.name, err)
	}
	fmt.Printf("%s, %d modules\n", k.name, len(modules))
	initramfs := filepath.Join(out, series+".cpio")
	if err := writeInitramfs(initramfs, append(modules, programs...)); err != nil {
		return err
	}
	defer os.Remove(initramfs)
	return machine{kernel: k.image, initramfs: initramfs, log: filepath.Join(out, series+".log"), limit: limit}.run(ctx)
}
