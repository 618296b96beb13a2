// SPDX-License-Identifier: Apache-2.0

package link

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestClsactSparesOthers: the qdisc and the filters of another program of the node stay,
// ours comes before them.
func TestClsactSparesOthers(t *testing.T) {
	pins := newNamespace(t)
	use(t, Clsact)
	must(t, netlink.QdiscAdd(clsact(loopback)))
	sameHandle, later, ours := newCounter(t), newCounter(t), newCounter(t)
	// The defaults of everybody, our name included.
	stranger := place{loopback, Ingress}.filter("fairlead_not", sameHandle.prog)
	stranger.Handle = 1
	must(t, netlink.FilterAdd(stranger))
	other := place{loopback, Ingress}.filter("other", later.prog)
	other.Handle, other.Priority = 1, 7
	must(t, netlink.FilterAdd(other))

	pin := filepath.Join(pins, "lo_from")
	must(t, Attach(BestWay, pin, loopback, Ingress, ours.prog))
	n := send(t)
	expect(t, map[string]counter{"first": ours}, n)
	expect(t, map[string]counter{"other's": sameHandle, "other's later": later}, 0)
	must(t, Detach(pin))
	n = send(t)
	expect(t, map[string]counter{"detached": ours}, 0)
	expect(t, map[string]counter{"other's": sameHandle}, n)
	if filters, err := (place{loopback, Ingress}).filters(); err != nil || len(filters) != 2 {
		t.Errorf("of two filters of others %d are left (%v)", len(filters), err)
	}
}

// TestClsactQdiscGoesWithItsLastFilter: the qdisc is removed by whoever of us is the last,
// if one of us made it, and never below another's filter.
func TestClsactQdiscGoesWithItsLastFilter(t *testing.T) {
	pins := newNamespace(t)
	use(t, Clsact)
	from, to := filepath.Join(pins, "lo_from"), filepath.Join(pins, "lo_to")
	prog := newCounter(t).prog
	attachBoth := func() {
		must(t, Attach(BestWay, to, loopback, Egress, prog))
		must(t, Attach(BestWay, from, loopback, Ingress, prog))
		must(t, Attach(BestWay, to, loopback, Egress, prog)) // again: it must not forget who made the qdisc
	}
	attachBoth()
	must(t, Detach(to))
	must(t, CheckAttached(from, loopback, prog))
	must(t, Detach(from))
	nothingLeft(t, pins)

	attachBoth()
	other := place{loopback, Egress}.filter("other", prog)
	other.Priority = 2
	must(t, netlink.FilterAdd(other))
	must(t, Detach(from))
	must(t, Detach(to))
	if clsactQdiscs(t) != 1 {
		t.Error("the qdisc went, with the filter of another")
	}
}

func TestClsactSaysWhoIsInTheWay(t *testing.T) {
	t.Run("a filter of another kind", func(t *testing.T) {
		pin := filepath.Join(newNamespace(t), "lo_from")
		use(t, Clsact)
		must(t, netlink.QdiscAdd(clsact(loopback)))
		must(t, netlink.FilterAdd(&netlink.U32{FilterAttrs: netlink.FilterAttrs{
			LinkIndex: loopback, Parent: netlink.HANDLE_MIN_INGRESS, Priority: filterPriority, Protocol: unix.ETH_P_IP,
		}}))
		wantError(t, Attach(BestWay, pin, loopback, Ingress, newCounter(t).prog), pin, "priority 1 is taken by a filter of kind u32", "give that one a higher number")
	})
	t.Run("an ingress qdisc", func(t *testing.T) {
		pin := filepath.Join(newNamespace(t), "lo_to")
		use(t, Clsact)
		must(t, netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: loopback, Parent: netlink.HANDLE_INGRESS, Handle: netlink.MakeHandle(0xffff, 0)}}))
		wantError(t, Attach(BestWay, pin, loopback, Egress, newCounter(t).prog), pin, "kind ingress", "clsact is needed")
	})
	t.Run("a foreign symbolic link", func(t *testing.T) {
		pin := filepath.Join(newNamespace(t), "lo_to")
		use(t, Clsact)
		must(t, os.Symlink("elsewhere", pin))
		wantError(t, Attach(BestWay, pin, loopback, Egress, newCounter(t).prog), pin, `"elsewhere"`, "remove it")
	})
}

// TestDetachSparesTheNextOwnerOfAnIndex: a note may outlive its device.
func TestDetachSparesTheNextOwnerOfAnIndex(t *testing.T) {
	pins := newNamespace(t)
	use(t, Clsact)
	stale, live := filepath.Join(pins, "gone_from"), filepath.Join(pins, "lo_from")
	prog := newCounter(t).prog
	must(t, Attach(BestWay, live, loopback, Ingress, prog))
	must(t, os.Symlink(place{loopback, Ingress}.note(), stale))
	wantError(t, CheckAttached(stale, loopback, prog), "no filter of ours")
	must(t, Detach(stale))
	must(t, CheckAttached(live, loopback, prog))
	must(t, os.Symlink(place{4711, Ingress}.note(), stale))
	must(t, Detach(stale))
}

// TestAttachmentMovesToANewDevice: a device that was made anew has another index.
func TestAttachmentMovesToANewDevice(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			pin := filepath.Join(newNamespace(t), "dev_from")
			use(t, way)
			prog := newCounter(t).prog
			first := addVeth(t, "first")
			must(t, Attach(BestWay, pin, first.Attrs().Index, Ingress, prog))
			must(t, netlink.LinkDel(first))
			second := addVeth(t, "second")
			must(t, Attach(BestWay, pin, second.Attrs().Index, Ingress, prog))
			must(t, CheckAttached(pin, second.Attrs().Index, prog))
		})
	}
}

func TestDetachAll(t *testing.T) {
	pins := newNamespace(t)
	use(t, Clsact)
	prog := newCounter(t).prog
	for i, l := range []netlink.Link{addVeth(t, "one"), addVeth(t, "two")} {
		for _, dir := range []Direction{Ingress, Egress} {
			must(t, Attach(BestWay, filepath.Join(pins, fmt.Sprintf("lo_%d_%s", i, dir)), l.Attrs().Index, dir, prog))
		}
	}
	must(t, os.Remove(filepath.Join(pins, "lo_0_egress"))) // it needs no notes
	others := addVeth(t, "others")
	must(t, netlink.QdiscAdd(clsact(others.Attrs().Index)))
	filter := place{others.Attrs().Index, Egress}.filter("other", prog)
	must(t, netlink.FilterAdd(filter))
	for range 2 { // the second finds nothing
		must(t, DetachAll())
	}
	if n := clsactQdiscs(t); n != 1 {
		t.Errorf("%d clsact qdiscs are left, want that of another", n)
	}
	if filters, err := (place{others.Attrs().Index, Egress}).filters(); err != nil || len(filters) != 1 {
		t.Errorf("the filter of another: %v (%v)", filters, err)
	}
}

func addVeth(t *testing.T, name string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName = name + "-peer"
	must(t, netlink.LinkAdd(veth))
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}
