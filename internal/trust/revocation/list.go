// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// Key is where the list is in a Secret or a ConfigMap, and the name of its file.
	Key = "revoked"

	// MaxEntries bounds a list: it has to fit into a Secret, with room for the rest.
	MaxEntries = 4096
	maxText    = 1 << 20

	// outlive is how long an entry is kept beyond its certificate's end, for those whose
	// clock is behind.
	outlive = 24 * time.Hour

	header = "# CAs that are not accepted any more: SHA-256 of the public key, end of the certificate, cluster.\n"
)

// Fingerprint is the SHA-256 of an authority's public key (SubjectPublicKeyInfo, DER).
type Fingerprint [sha256.Size]byte

// String is the fingerprint in hexadecimal digits.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// ParseFingerprint reads what String writes.
func ParseFingerprint(text string) (f Fingerprint, err error) {
	if len(text) != hex.EncodedLen(len(f)) {
		return f, fmt.Errorf("%q is not a fingerprint of %d hexadecimal digits", text, hex.EncodedLen(len(f)))
	}
	if _, err := hex.Decode(f[:], []byte(text)); err != nil {
		return f, fmt.Errorf("%q is not a fingerprint of %d hexadecimal digits", text, hex.EncodedLen(len(f)))
	}
	return f, nil
}

// Of is the fingerprint of a certificate's key.
func Of(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// OfChains are the fingerprints of all certificates of some chains, each once.
func OfChains(chains [][]*x509.Certificate) []Fingerprint {
	var out []Fingerprint
	for _, chain := range chains {
		for _, c := range chain {
			if f := Of(c); !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

// Entry is one authority that is not accepted any more.
type Entry struct {
	Fingerprint Fingerprint
	// NotAfter is the end of its certificate, in whole seconds.
	NotAfter time.Time
	// Cluster is whose it was, "namespace/name"; it is for people only.
	Cluster string
}

// List is a set of entries. Its value never changes; the zero value is the empty list.
type List struct {
	entries []Entry // by fingerprint, each once
}

// Len is the number of entries.
func (l List) Len() int { return len(l.entries) }

// Entries are the entries, by fingerprint.
func (l List) Entries() []Entry { return slices.Clone(l.entries) }

// Equal says whether two lists are the same.
func (l List) Equal(other List) bool {
	return slices.EqualFunc(l.entries, other.entries, func(a, b Entry) bool {
		return a.Fingerprint == b.Fingerprint && a.NotAfter.Equal(b.NotAfter) && a.Cluster == b.Cluster
	})
}

func (l List) find(f Fingerprint) (int, bool) {
	return slices.BinarySearchFunc(l.entries, f, func(e Entry, f Fingerprint) int {
		return bytes.Compare(e.Fingerprint[:], f[:])
	})
}

// Holds says whether an authority is listed.
func (l List) Holds(f Fingerprint) bool {
	_, found := l.find(f)
	return found
}

// RevokedError says that somebody's chain has an authority of the list.
type RevokedError struct{ Entry Entry }

func (e *RevokedError) Error() string {
	return fmt.Sprintf("the CA of cluster %s with the key %s was revoked: a fleet admin takes the cluster back by removing the annotation at its ClusterStack", e.Entry.Cluster, e.Entry.Fingerprint)
}

// Check returns a *RevokedError when one of the authorities is listed.
func (l List) Check(authorities ...Fingerprint) error {
	for _, f := range authorities {
		if i, found := l.find(f); found {
			return &RevokedError{Entry: l.entries[i]}
		}
	}
	return nil
}

// With returns the list with more entries, and without those whose certificates ended
// before now. One that is listed already stays as it is.
func (l List) With(now time.Time, more ...Entry) (List, error) {
	var out []Entry
	for _, e := range slices.Concat(l.entries, more) {
		if !now.After(e.NotAfter.Add(outlive)) {
			out = append(out, e)
		}
	}
	out = sorted(out)
	if len(out) > MaxEntries {
		return l, fmt.Errorf("the list of revoked CAs would have %d entries, of at most %d: replace the root of the NetworkStack, which ends all of them", len(out), MaxEntries)
	}
	return List{entries: out}, nil
}

// sorted brings entries in order; of several of one key the first stays.
func sorted(entries []Entry) []Entry {
	slices.SortStableFunc(entries, func(a, b Entry) int { return bytes.Compare(a.Fingerprint[:], b.Fingerprint[:]) })
	return slices.CompactFunc(entries, func(a, b Entry) bool { return a.Fingerprint == b.Fingerprint })
}

// Encode is the list's text, the same for the same list; nil for the empty one.
func (l List) Encode() []byte {
	if len(l.entries) == 0 {
		return nil
	}
	b := bytes.NewBufferString(header)
	for _, e := range l.entries {
		fmt.Fprintf(b, "%s %s %s\n", e.Fingerprint, e.NotAfter.UTC().Format(time.RFC3339), cmp.Or(e.Cluster, "-"))
	}
	return b.Bytes()
}

// Parse reads what Encode writes. Lines that begin with # say nothing, and neither do
// further words of a line. Its errors name the line.
func Parse(text []byte) (List, error) {
	if len(text) > maxText {
		return List{}, fmt.Errorf("the list of revoked CAs is larger than %d bytes", maxText)
	}
	var out []Entry
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		e, err := parseEntry(words)
		if err != nil {
			return List{}, fmt.Errorf("line %d of the list of revoked CAs: %w", n, err)
		}
		out = append(out, e)
	}
	out = sorted(out)
	if len(out) > MaxEntries {
		return List{}, fmt.Errorf("the list of revoked CAs has %d entries, of at most %d", len(out), MaxEntries)
	}
	return List{entries: out}, nil
}

func parseEntry(words []string) (e Entry, err error) {
	if len(words) < 3 {
		return e, errors.New("it must have a fingerprint, a time and a cluster")
	}
	if e.Fingerprint, err = ParseFingerprint(words[0]); err != nil {
		return e, err
	}
	at, err := time.Parse(time.RFC3339, words[1])
	if err != nil {
		return e, fmt.Errorf("%q is not a time as in 2027-01-31T00:00:00Z", words[1])
	}
	e.NotAfter, e.Cluster = at.UTC().Truncate(time.Second), words[2]
	return e, nil
}
