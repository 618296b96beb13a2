// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func entry(name string, notAfter time.Time) Entry {
	return Entry{Fingerprint: sha256.Sum256([]byte(name)), NotAfter: notAfter, Cluster: "fleet/" + name}
}

func with(t *testing.T, l List, now time.Time, more ...Entry) List {
	t.Helper()
	l, err := l.With(now, more...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestAListGrowsUntilItsEntriesEnd(t *testing.T) {
	alpha, bravo := entry("alpha", start.Add(time.Hour)), entry("bravo", start.Add(1000*time.Hour))
	l := with(t, with(t, List{}, start, alpha), start, bravo, alpha)
	if l.Len() != 2 || !l.Holds(alpha.Fingerprint) || !l.Holds(bravo.Fingerprint) {
		t.Fatalf("got %+v", l.Entries())
	}
	var revoked *RevokedError
	if err := l.Check(entry("charlie", start).Fingerprint, bravo.Fingerprint); !errors.As(err, &revoked) || !strings.Contains(err.Error(), "fleet/bravo") {
		t.Errorf("got %v", err)
	}
	if err := l.Check(entry("charlie", start).Fingerprint); err != nil {
		t.Errorf("one that is not listed is refused: %v", err)
	}
	if l = with(t, l, alpha.NotAfter.Add(time.Hour)); !l.Holds(alpha.Fingerprint) {
		t.Error("it went before clocks that are behind have come to its end")
	}
	if l = with(t, l, alpha.NotAfter.Add(outlive+time.Second)); l.Holds(alpha.Fingerprint) || !l.Holds(bravo.Fingerprint) {
		t.Errorf("got %+v, want bravo alone", l.Entries())
	}
}

func TestAListIsBounded(t *testing.T) {
	var all []Entry
	for i := range MaxEntries + 1 {
		all = append(all, entry(big.NewInt(int64(i)).String(), start.Add(time.Hour)))
	}
	l := with(t, List{}, start, all[:MaxEntries]...)
	if n := len(l.Encode()); n > maxText/2 {
		t.Errorf("a full list takes %d bytes of the %d that a Secret holds", n, maxText)
	}
	kept, err := l.With(start, all[MaxEntries])
	if err == nil || !kept.Equal(l) {
		t.Errorf("it grew beyond its bound: %v", err)
	}
}

func TestAListIsReadAsItWasWritten(t *testing.T) {
	l := with(t, List{}, start, entry("alpha", start), entry("bravo", start.Add(time.Hour)))
	got, err := Parse(l.Encode())
	if err != nil || !got.Equal(l) {
		t.Errorf("got %+v, %v", got, err)
	}
	if (List{}).Encode() != nil {
		t.Error("the empty list has a text")
	}
	fp := entry("alpha", start).Fingerprint.String()
	for _, tc := range []struct{ name, text, words string }{
		{"two words", fp + " 2027-01-01T00:00:00Z\n", "line 1"},
		{"a short fingerprint", "# x\n" + fp[2:] + " 2027-01-01T00:00:00Z fleet/alpha\n", "line 2"},
		{"no fingerprint", strings.Repeat("x", 64) + " 2027-01-01T00:00:00Z fleet/alpha\n", "hexadecimal"},
		{"no time", fp + " tomorrow fleet/alpha\n", `"tomorrow" is not a time`},
		{"far too long", strings.Repeat("#", maxText+1), "larger than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := Parse([]byte(tc.text)); err == nil || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got %v, want %q", err, tc.words)
			}
		})
	}
	t.Run("a later operator's further words", func(t *testing.T) {
		if got, err := Parse([]byte("\n" + fp + " 2027-01-01T00:00:00Z fleet/alpha because\n")); err != nil || got.Len() != 1 {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

// TestACertificateThatIsWrittenAnotherWay takes a CA's certificate and writes the same
// signature in its other form, as anybody can who has the certificate: it is as good as
// the first, and must be refused as the first is.
func TestACertificateThatIsWrittenAnotherWay(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: start, NotAfter: start.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var parts struct {
		TBS, Algorithm asn1.RawValue
		Signature      asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &parts); err != nil {
		t.Fatal(err)
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(parts.Signature.Bytes, &sig); err != nil {
		t.Fatal(err)
	}
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	if parts.Signature.Bytes, err = asn1.Marshal(sig); err != nil {
		t.Fatal(err)
	}
	parts.Signature.BitLength = 8 * len(parts.Signature.Bytes)
	other, err := asn1.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	first, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	second, err := x509.ParseCertificate(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.CheckSignatureFrom(first); err != nil || sha256.Sum256(der) == sha256.Sum256(other) {
		t.Fatalf("the story is another: %v", err)
	}
	l := with(t, List{}, start, Entry{Fingerprint: Of(first), NotAfter: first.NotAfter})
	if l.Check(OfChains([][]*x509.Certificate{{second}})...) == nil {
		t.Error("it is accepted")
	}
}

func FuzzParse(f *testing.F) {
	l, err := List{}.With(start, entry("alpha", start), entry("bravo", start))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.Encode())
	f.Add([]byte(entry("alpha", start).Fingerprint.String() + " 2027-01-31T10:00:00.5+02:00 -\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := Parse(text)
		if err != nil {
			if l.Len() != 0 {
				t.Error("an error and a list")
			}
			return
		}
		again, err := Parse(l.Encode())
		if err != nil || !again.Equal(l) {
			t.Errorf("%q was read as %+v, and that as %+v, %v", text, l, again, err)
		}
		for _, e := range l.Entries() {
			if l.Check(e.Fingerprint) == nil {
				t.Errorf("%s is listed and accepted", e.Fingerprint)
			}
		}
	})
}
