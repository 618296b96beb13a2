// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"testing"
	"time"

	"github.com/fairlead-io/fairlead/internal/trust/revocation"
)

// revoke lists the CA that a cluster holds.
func revoke(t *testing.T, root *Root, c *Cluster, now time.Time) {
	t.Helper()
	var err error
	root.Revoked, err = root.Revoked.With(now, revocation.Entry{
		Fingerprint: revocation.Of(c.Intermediate), NotAfter: c.Intermediate.NotAfter, Cluster: "ns/alpha",
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestARevokedCAIsNotKept(t *testing.T) {
	root := newRoot(t, "ns/lab", start)
	first := next(t, root, nil, start)
	if first.Revoked != nil {
		t.Errorf("nobody is revoked, and the list is %q", first.Revoked)
	}
	revoke(t, root, first, start)
	listed := root.Revoked
	second := next(t, root, first.CA, start)
	if bytes.Equal(second.CA[KeyCertificate], first.CA[KeyCertificate]) {
		t.Error("the revoked CA was kept")
	}
	if again := next(t, root, second.CA, start); !bytes.Equal(again.CA[KeyCertificate], second.CA[KeyCertificate]) {
		t.Error("the CA that followed was not kept")
	}
	if l, err := revocation.Parse(second.Revoked); err != nil || !l.Holds(revocation.Of(first.Intermediate)) {
		t.Errorf("got %q, %v", second.Revoked, err)
	}

	t.Run("the Secret keeps the list", func(t *testing.T) {
		data, err := root.Data()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseRoot(data)
		if err != nil || !read.Revoked.Equal(root.Revoked) {
			t.Errorf("got %+v, %v", read.Revoked, err)
		}
		data[revocation.Key] = []byte("rubbish")
		if _, err := ParseRoot(data); err == nil {
			t.Error("a root whose list cannot be read was accepted: who was revoked would be trusted again")
		}
	})
	t.Run("the next root keeps it until its entries end", func(t *testing.T) {
		soon, err := NextRoot("ns/lab", root, root.RenewAt())
		if err != nil || soon.Revoked.Len() != 0 {
			t.Errorf("got %+v, %v: the entry ended years ago", soon.Revoked, err)
		}
		live := next(t, root, nil, root.RenewAt())
		revoke(t, root, live, root.RenewAt())
		if soon, err = NextRoot("ns/lab", root, root.RenewAt()); err != nil || !soon.Revoked.Holds(revocation.Of(live.Intermediate)) {
			t.Errorf("got %+v, %v", soon.Revoked, err)
		}
	})
	t.Run("one that is of a former root does not wait", func(t *testing.T) {
		other := newRoot(t, "ns/lab", start)
		other.Revoked = listed
		if c := next(t, other, first.CA, start); c.Moving || c.Intermediate.CheckSignatureFrom(other.Authority.Certificate) != nil {
			t.Error("the revoked CA was kept until the new root settles")
		}
	})
}

// TestAClusterThatComesFromAnotherStack trusts that stack's root until it ends, and so
// needs that stack's list as long.
func TestAClusterThatComesFromAnotherStack(t *testing.T) {
	former, root := newRoot(t, "ns/former", start), newRoot(t, "ns/lab", start)
	held, thief := next(t, former, nil, start), next(t, former, nil, start)
	revoke(t, former, thief, start)
	list := former.Revoked.Encode()

	moved, err := Next("ns/alpha", root, Held{CA: held.CA, Bundle: held.Bundle, Revoked: list}, start)
	if err != nil || !bytes.Equal(moved.Revoked, list) {
		t.Errorf("got %q, %v", moved.Revoked, err)
	}
	if got := Spread(root, Held{CA: moved.CA, Revoked: moved.Revoked}, start); !bytes.Equal(got, list) {
		t.Errorf("got %q", got)
	}
	own := next(t, root, nil, start)
	if got := Spread(root, Held{CA: own.CA, Revoked: list}, start); got != nil {
		t.Errorf("what somebody wrote into the cluster stays: %q", got)
	}
	late := former.Authority.Certificate.NotAfter.Add(time.Hour)
	if got := Spread(root, Held{CA: moved.CA, Revoked: list}, late); got != nil {
		t.Errorf("the list of a root that ended stays: %q", got)
	}
}
