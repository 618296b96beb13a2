// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func example() Report {
	return Report{Node: "a", From: began, To: began.Add(time.Second), Samples: []Sample{
		{Probe: "peers", Peer: "node b by IPv4", Sent: 100, Lost: 2, Times: Times{40: 90, 41: 8}},
		{Probe: "dns", Peer: "the name servers", Sent: 2, Lost: 2},
	}}
}

func line(t testing.TB, r Report) string {
	t.Helper()
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAReportComesBackAsItWasWritten(t *testing.T) {
	want := example()
	got, err := Decode(strings.NewReader(line(t, want)))
	want.Format = formatVersion
	if err != nil || !reflect.DeepEqual(got, []Report{want}) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestNoPeersYet: a node that is alone reports, so that it is known to be alive.
func TestNoPeersYet(t *testing.T) {
	r := example()
	r.Samples = nil
	text := line(t, r)
	if !strings.Contains(text, `"samples":[]`) {
		t.Errorf("the line is %s", text)
	}
	if got, _ := Decode(strings.NewReader(text)); len(got) != 1 {
		t.Errorf("%d reports, want 1", len(got))
	}
}

func TestWhatIsNoReportIsPassedOver(t *testing.T) {
	good := line(t, example())
	with := func(change func(*Report)) string {
		r := example()
		change(&r)
		return line(t, r)
	}
	for name, bad := range map[string]string{
		"a message":                    `{"level":"INFO","msg":"probing"}` + "\n",
		"text":                         "panic: no\n",
		"an empty line":                "\n",
		"half a report":                good[:len(good)/2] + "\n",
		"a report of a later version":  strings.Replace(good, `"probeReport":1`, `"probeReport":2`, 1),
		"a line of a megabyte":         `{"node":"` + strings.Repeat("a", 1<<20) + `"}` + "\n",
		"a long line that begins well": strings.TrimSuffix(good, "\n") + strings.Repeat(" ", 1<<17) + "\n",
		"a long line that ends well":   strings.Repeat(" ", maxLine) + good,
		"more lost than sent":          with(func(r *Report) { r.Samples[0].Lost = 101 }),
		"less than nothing lost":       with(func(r *Report) { r.Samples[0].Lost = -1 }),
		"more answers than attempts":   with(func(r *Report) { r.Samples[0].Times[3] = 50 }),
		"a bucket that is none":        with(func(r *Report) { r.Samples[0].Times = Times{Buckets: 1} }),
		"a negative bucket":            with(func(r *Report) { r.Samples[0].Times = Times{-1: 1} }),
		"an empty bucket":              with(func(r *Report) { r.Samples[0].Times = Times{1: 0} }),
		"no time":                      with(func(r *Report) { r.To = r.From }),
		"a day":                        with(func(r *Report) { r.To = r.From.AddDate(0, 0, 1) }),
		"no node":                      with(func(r *Report) { r.Node = "" }),
		"a peer with a bell":           with(func(r *Report) { r.Samples[0].Peer = "b\a" }),
		"a thousand samples":           with(func(r *Report) { r.Samples = make([]Sample, 1000) }),
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := Decode(strings.NewReader(bad)); len(got) != 0 {
				t.Errorf("it is taken for %+v", got)
			}
			got, err := Decode(strings.NewReader(bad + good + bad + good + good[:20]))
			if err != nil || len(got) != 2 {
				t.Errorf("got %d reports and error %v, want the 2 good ones", len(got), err)
			}
		})
	}
}

func TestAnErrorKeepsWhatWasRead(t *testing.T) {
	broken := errors.New("connection lost")
	got, err := Decode(io.MultiReader(strings.NewReader(line(t, example())), failing{broken}))
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("got %d reports and error %v", len(got), err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzDecode: whatever a log has, what is believed of it is plausible and can be written again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(line(f, example())))
	f.Add([]byte("{\n" + line(f, example()) + `{"probeReport":1`))
	f.Add([]byte(`{"probeReport":1,"node":"a","from":"2026-01-01T00:00:00Z","to":"2026-01-01T00:00:01Z","samples":[{"probe":"p","peer":"q","sent":1,"times":{"9":1}}]}` + "\n"))
	f.Fuzz(func(t *testing.T, log []byte) {
		got, err := Decode(bytes.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got {
			for _, s := range r.Samples {
				if s.Lost < 0 || s.Lost > s.Sent || s.Times.Count() > s.Sent-s.Lost || s.Times.Quantile(1) < 0 {
					t.Fatalf("believed %+v", s)
				}
			}
			again, err := Decode(strings.NewReader(line(t, r)))
			if err != nil || len(again) != 1 || !again[0].To.Equal(r.To) {
				t.Fatalf("%+v is not read again: %+v, %v", r, again, err)
			}
		}
	})
}
