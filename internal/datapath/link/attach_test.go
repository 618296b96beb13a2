// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const loopback = 1

var ways = map[string]Way{"tcx": TCX, "clsact": Clsact}

func TestAttach(t *testing.T) {
	for name, way := range ways {
		for _, dir := range []Direction{Ingress, Egress} {
			t.Run(fmt.Sprint(name, " ", dir), func(t *testing.T) {
				pins := newNamespace(t)
				use(t, way)
				pin := filepath.Join(pins, "lo_from")
				one, two := newCounter(t), newCounter(t)
				if err := CheckAttached(pin, loopback, one.prog); err == nil {
					t.Error("CheckAttached finds an attachment that was not made")
				}
				must(t, Attach(BestWay, pin, loopback, dir, one.prog))
				must(t, CheckAttached(pin, loopback, one.prog))
				expect(t, map[string]counter{"attached": one}, send(t))

				must(t, Attach(BestWay, pin, loopback, dir, two.prog))
				must(t, CheckAttached(pin, loopback, two.prog))
				wantError(t, CheckAttached(pin, loopback, one.prog), "has program")
				wantError(t, CheckAttached(pin, loopback+1, two.prog), "is to device 1, not 2")
				expect(t, map[string]counter{"exchanged": two}, send(t))

				for range 2 { // the second finds nothing
					must(t, Detach(pin))
				}
				awaitQuiet(t, two)
				expect(t, map[string]counter{"former": one}, 0)
				if err := CheckAttached(pin, loopback, two.prog); err == nil {
					t.Error("CheckAttached finds an attachment that was removed")
				}
				nothingLeft(t, pins)
			})
		}
	}
}

// TestExchangeMissesNoPacket sends while programs are exchanged: each packet meets one.
func TestExchangeMissesNoPacket(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			pins := newNamespace(t)
			use(t, way)
			pin := filepath.Join(pins, "lo_to")
			programs := []counter{newCounter(t), newCounter(t)}
			must(t, Attach(BestWay, pin, loopback, Egress, programs[0].prog))
			deaf, err := net.ListenPacket("udp", "127.0.0.1:0")
			must(t, err)
			defer deaf.Close()
			c, err := net.Dial("udp", deaf.LocalAddr().String())
			must(t, err)
			defer c.Close()
			done, sent := make(chan struct{}), make(chan uint64)
			go func() {
				var n uint64
				for {
					select {
					case <-done:
						sent <- n
						return
					default:
					}
					if _, err := c.Write([]byte("x")); err == nil {
						n++
					}
				}
			}()
			for i := range 1000 {
				if err := Attach(BestWay, pin, loopback, Egress, programs[(i+1)%2].prog); err != nil {
					t.Error(err)
				}
			}
			close(done)
			n := <-sent
			if got := programs[0].count(t) + programs[1].count(t); n == 0 || got != n {
				t.Errorf("%d packets were sent, programs saw %d", n, got)
			}
		})
	}
}

// TestChangeOfWay: an attachment that was made in one way is replaced in the other.
func TestChangeOfWay(t *testing.T) {
	for name, order := range map[string][2]Way{"tcx to clsact": {TCX, Clsact}, "clsact to tcx": {Clsact, TCX}} {
		t.Run(name, func(t *testing.T) {
			pins := newNamespace(t)
			pin := filepath.Join(pins, "lo_to")
			one, two := newCounter(t), newCounter(t)
			use(t, order[0])
			must(t, Attach(BestWay, pin, loopback, Egress, one.prog))
			use(t, order[1])
			must(t, CheckAttached(pin, loopback, one.prog))
			must(t, Attach(BestWay, pin, loopback, Egress, two.prog))
			must(t, CheckAttached(pin, loopback, two.prog))
			n := send(t)
			expect(t, map[string]counter{"former": one}, 0)
			expect(t, map[string]counter{"new": two}, n)
			must(t, Detach(pin))
			nothingLeft(t, pins)
		})
	}
}

func TestAttachNamesWhatIsWrong(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			pin := filepath.Join(newNamespace(t), "none_from")
			use(t, way)
			err := Attach(BestWay, pin, 4711, Ingress, newCounter(t).prog)
			wantError(t, err, pin, "device 4711")
			if !errors.Is(err, unix.ENODEV) {
				t.Errorf("error %v is not about a device that is missing", err)
			}
		})
	}
}

func TestHaveWay(t *testing.T) {
	newNamespace(t)
	must(t, HaveWay())
	must(t, haveClsact())
	if qdiscs := clsactQdiscs(t); qdiscs > 0 {
		t.Error("the probe left its qdisc")
	}
}

// newNamespace moves the test to a network namespace of its own, with a BPF file system
// whose directory it returns.
func newNamespace(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces and loads eBPF programs: run it as root (make test-bpf)")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	must(t, unix.Unshare(unix.CLONE_NEWNET))
	lo, err := netlink.LinkByIndex(loopback)
	must(t, err)
	must(t, netlink.LinkSetUp(lo))
	pins := t.TempDir()
	must(t, unix.Mount("bpf", pins, "bpf", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(pins, unix.MNT_DETACH)) })
	return pins
}

func use(t *testing.T, w Way) {
	UseWay(w)
	t.Cleanup(func() { UseWay(BestWay) })
}

// counter is a program that counts packets and lets them pass.
type counter struct {
	prog *ebpf.Program
	rows *ebpf.Map
}

func newCounter(t *testing.T) counter {
	t.Helper()
	rows, err := ebpf.NewMap(&ebpf.MapSpec{Name: "fl_test", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	must(t, err)
	t.Cleanup(func() { rows.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "fl_test", Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, rows.FD()),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("pass"),
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	return counter{prog, rows}
}

// count returns how many packets were seen since the last look.
func (c counter) count(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	must(t, c.rows.Lookup(uint32(0), &n))
	must(t, c.rows.Put(uint32(0), uint64(0)))
	return n
}

// send exchanges datagrams over lo and returns how many were sent.
func send(t *testing.T) uint64 {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := net.Dial("udp", l.LocalAddr().String())
	must(t, err)
	defer c.Close()
	const n = 5
	for range n {
		_, err := c.Write([]byte("x"))
		must(t, err)
		_, _, err = l.ReadFrom(make([]byte, 1))
		must(t, err)
	}
	return n
}

func expect(t *testing.T, counters map[string]counter, want uint64) {
	t.Helper()
	for name, c := range counters {
		if got := c.count(t); got != want {
			t.Errorf("the %s program saw %d packets, want %d", name, got, want)
		}
	}
}

// awaitQuiet sends until a program sees none of it: a tcx link ends some time after its
// last pin.
func awaitQuiet(t *testing.T, c counter) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		c.count(t)
		if send(t); c.count(t) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("a program that was detached goes on seeing packets")
		}
	}
}

func nothingLeft(t *testing.T, pins string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(pins, "lo_*"))
	must(t, err)
	if n := clsactQdiscs(t); len(left) > 0 || n > 0 {
		t.Errorf("left: pins %v, %d clsact qdiscs", left, n)
	}
}

func clsactQdiscs(t *testing.T) (n int) {
	t.Helper()
	qdiscs, err := netlink.QdiscList(nil)
	must(t, err)
	for _, q := range qdiscs {
		if q.Type() == "clsact" {
			n++
		}
	}
	return n
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("got error %v, want one with %q", err, w)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
